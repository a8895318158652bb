"""`cascade train-pairs`: fits the scorer that verifies near-duplicates on one's own labelled pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from cascade.clock import SystemClock

from .embed_option import EmbedOption, embedder_for
from .pair_files import read_pair_files, tell_pairs_skipped
from .pair_fitting import fit_scorer, promise_in_words
from .train import progress

__all__ = ["train_pairs_command"]


def train_pairs_command(
    pairs: Annotated[
        list[Path],
        typer.Argument(
            help='Labelled pairs, {"a", "b", "duplicate"} a line (.jsonl, .jsonl.gz, .parquet).',
            metavar="PAIRS…",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the scorer.")],
    embed: EmbedOption = None,
    false_hits: Annotated[
        float,
        typer.Option(min=0.0001, max=0.5, help="Share of hits that may be wrong."),
    ] = 0.01,
    confidence: Annotated[
        float,
        typer.Option(min=0.5, max=0.999, help="With which that share is not passed."),
    ] = 0.95,
    general: Annotated[
        bool,
        typer.Option(
            "--general", help="For traffic unlike these pairs: no words are learnt, only likeness."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and pairs: same scorer.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train the scorer that says whether two prompts have the same answer.

    Example: cascade train-pairs pairs.jsonl.gz -o scorers/same
    """
    from scorers.pair_artifact import check_pairs_target, save_pairs

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    check_pairs_target(output)
    embedder = embedder_for(embed, console)
    found = read_pair_files(pairs)
    tell_pairs_skipped(console, found)
    with progress(console) as tell:
        fitted = fit_scorer(
            found,
            embedder=embedder,
            false_hits=false_hits,
            confidence=confidence,
            general=general,
            seed=seed,
            progress=tell,
        )
    facts = {
        "rows": fitted.rows,
        "duplicates": fitted.duplicates,
        "allowed": fitted.allowed,
        "auroc": round(fitted.auroc, 4),
        "general": general,
        "seed": seed,
    }
    version = save_pairs(
        output,
        fitted.model,
        fitted.certified,
        facts=facts,
        created=SystemClock().now_iso(),
        embedder=embedder,
    )
    told = {
        "scorer": str(output),
        "version": version,
        **facts,
        "threshold": fitted.certified.threshold,
    }
    told |= {"promised": fitted.certified.rate, "hits": fitted.certified.hits}
    told |= {"wrong": fitted.certified.wrong}
    if json:
        print(msgspec.json.encode(told).decode())
        return
    lines = Console(soft_wrap=True, highlight=False)
    lines.print(
        f"{fitted.rows:,} pairs, {fitted.duplicates:,} duplicates; the guards leave "
        f"{fitted.allowed:,}; AUROC {fitted.auroc:.3f} on rows kept apart"
    )
    lines.print(promise_in_words(fitted.certified, false_hits))
    lines.print(f"saved {escape(str(output))} ({escape(version)})")
