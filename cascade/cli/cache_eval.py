"""`cascade cache eval`: how the near-duplicate stage would treat labelled pairs, before it is switched on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from .embed_option import EmbedCommand, EmbedOption, embedder_for
from .pair_files import LabelledPairs, likenesses, read_pair_files, tell_pairs_skipped
from .pair_fitting import fit_scorer, promise_in_words
from .train import progress

if TYPE_CHECKING:
    from scorers.pairs import SameAnswer

__all__ = ["EvalCommand", "eval_command", "evaluate"]


class EvalCommand(EmbedCommand):
    """Reads `--fit A B` as two files of one option: all up to the next option belong to it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat `--fit` before each of its files."""
        given: list[str] = []
        in_fit = False
        for arg in args:
            if arg == "--fit":
                in_fit = True
            elif in_fit and not arg.startswith("-"):
                given += ["--fit", arg]
            else:
                in_fit = False
                given.append(arg)
        if in_fit and "--fit" not in given:
            given.append("--fit")  # without a file: an error that names it
        return super().parse_args(ctx, given)


def eval_command(
    pairs: Annotated[
        list[Path],
        typer.Argument(
            help='Labelled pairs, {"a", "b", "duplicate"} a line: `a` is cached, `b` is asked.',
            metavar="PAIRS…",
        ),
    ],
    embed: EmbedOption = None,
    fit: Annotated[
        list[Path] | None,
        typer.Option(
            help="Fit a scorer on these pairs first; give PAIRS before it. Absent: the scorer "
            "given, or the one that comes with cascade.",
            metavar="TRAIN_PAIRS…",
        ),
    ] = None,
    scorer: Annotated[
        Path | None, typer.Option(help="A scorer that `cascade train-pairs` wrote.")
    ] = None,
    false_hits: Annotated[
        float,
        typer.Option(min=0.0001, max=0.5, help="With --fit: share of hits that may be wrong."),
    ] = 0.01,
    confidence: Annotated[
        float,
        typer.Option(min=0.5, max=0.999, help="With --fit: with which that share is not passed."),
    ] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Of the fit.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Try the near-duplicate stage on labelled pairs.

    Example: cascade cache eval mine.jsonl.gz --fit earlier.jsonl.gz --json
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if fit and scorer is not None:
        raise typer.BadParameter("give one of --fit and --scorer", param_hint="--scorer")
    embedder = embedder_for(embed, console)
    asked = read_pair_files(pairs)
    tell_pairs_skipped(console, asked)
    if fit:
        from scorers.pairs import SameAnswer

        learnt = read_pair_files(fit)
        tell_pairs_skipped(console, learnt)
        _tell_shared(console, asked, learnt)
        with progress(console) as tell:
            fitted = fit_scorer(
                learnt,
                embedder=embedder,
                false_hits=false_hits,
                confidence=confidence,
                seed=seed,
                progress=tell,
            )
        judge = SameAnswer(
            fitted.model, version="fitted", certified=fitted.certified, embedder=embedder
        )
    else:
        from scorers.pair_artifact import load_default_pairs, load_pairs

        judge = (
            load_default_pairs(embedder=embedder)
            if scorer is None
            else load_pairs(scorer, embedder=embedder)
        )
    console.print(escape(promise_in_words(judge.certified, false_hits if fit else None)))
    told = evaluate(asked, judge)
    if json:
        print(msgspec.json.encode(told).decode())
        return
    _print(told)


def evaluate(pairs: LabelledPairs, judge: SameAnswer) -> dict[str, Any]:
    """Return what would have come of these pairs.

    A pair is a hit if the likeness reaches the index's floor, no guard refuses and the score reaches the
    threshold. `recall` = hits among duplicates / duplicates; `false_hit_rate` = hits that are no
    duplicates / all hits, with its exact 95 % interval: without a hit 0, in [0, 1]. Without a duplicate
    the recall is None.
    """
    from cascade.cache.near import FLOOR
    from scorers.pair_bounds import clopper_pearson

    hits = right = 0
    refused: Counter[str] = Counter()
    near, margin = likenesses(pairs)
    for (cached, asked), same, like, apart in zip(
        pairs.texts, pairs.same, near, margin, strict=True
    ):
        verdict = judge.judge(cached, asked, similarity=like, margin=apart)
        refused.update(verdict.refused_by)
        p_same = verdict.p_same
        if p_same is not None and like >= FLOOR and p_same >= judge.threshold:
            hits += 1
            right += same
    duplicates = sum(pairs.same)
    wrong = hits - right
    return {
        "n": len(pairs.texts),
        "duplicates": duplicates,
        "hits": hits,
        "recall": right / duplicates if duplicates else None,
        "false_hit_rate": wrong / hits if hits else 0.0,
        "false_hit_ci": list(clopper_pearson(wrong, hits)) if hits else [0.0, 1.0],
        "refused_by": dict(refused.most_common()),
    }


def _tell_shared(console: Console, asked: LabelledPairs, learnt: LabelledPairs) -> None:
    known = {text for pair in learnt.texts for text in pair}
    shared = sum(a in known or b in known for a, b in asked.texts)
    if shared:
        console.print(
            f"[yellow]{shared:,} of {len(asked.texts):,} pairs share a text with the training "
            "pairs:[/] what is measured is better than on new ones"
        )


def _print(told: dict[str, Any]) -> None:
    lines = Console(soft_wrap=True, highlight=False)
    lines.print(f"{told['n']:,} pairs, {told['duplicates']:,} of them duplicates")
    recall = "-" if told["recall"] is None else f"{told['recall']:.2%}"
    lines.print(f"hits {told['hits']:,}, recall {recall} of the duplicates")
    if told["hits"]:
        low, high = told["false_hit_ci"]
        lines.print(
            f"false hits {told['false_hit_rate']:.2%} of the hits, 95 % interval {low:.2%} to {high:.2%}"
        )
    for name, count in told["refused_by"].items():
        lines.print(f"  refused by {name}: {count:,}")
