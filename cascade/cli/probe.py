"""`cascade probe`: the same prompts plain and compressed, bought for a paired test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec
import typer
from rich.console import Console

from cascade.clock import SystemClock
from cascade.errors import ConfigError
from cascade.exchange.probe_about import (
    ProbeAbout,
    StageAbout,
    about_path,
    journal_path,
    read_about,
)
from cascade.exchange.probe_journal import Journal
from cascade.exchange.probe_plan import (
    Candidate,
    Purchase,
    read_candidates,
    sample,
    split_for_fitting,
    variants_of,
)
from cascade.exchange.probe_price import mean_output, price_of, purchases_of
from cascade.exchange.probe_scores import SCORINGS, best_answer, choose_scoring, score_rows
from cascade.exchange.probe_work import Progress, buy
from cascade.exchange.skips import Skips
from cascade.exchange.traffic_file import output_problem, write_traffic
from cascade.intake import make_request
from cascade.records import TrafficRow
from cascade.types import Request

from .probe_told import tell_end, tell_price
from .tables import names_of

if TYPE_CHECKING:
    from cascade.compress.clusters import TaskClusters
    from cascade.compress.pipeline import Stage
    from cascade.compressing import RungCompression
    from cascade.config import LadderConfig
    from cascade.ladder import Ladder, Rung

__all__ = ["probe_command"]

_CLOSING_S = 5.0


def probe_command(
    logs: Annotated[
        list[Path],
        typer.Argument(
            help="Logs with prompts: traffic logs, or decision logs that keep text.", metavar="LOG…"
        ),
    ],
    variants: Annotated[
        str,
        typer.Option(
            help="What to buy, separated by commas: plain; compressed (all stages together); a lossy "
            "stage by its name (alone, with the lossless ones)."
        ),
    ] = "compressed,plain",
    count: Annotated[
        int, typer.Option("--sample", min=1, help="Prompts to ask, kinds of task in turn.")
    ] = 500,
    config: Annotated[
        Path | None,
        typer.Option(
            "-c", "--config", help="Ladder file. Default: $CASCADE_CONFIG, or ./cascade.yaml."
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The log to write; what is in it is not bought again."),
    ] = Path("probe.jsonl"),
    models: Annotated[
        str | None,
        typer.Option(
            help="Rungs to ask, separated by commas. Default: those that are sent shorter prompts: the "
            "first, and with `escalate: compressed` those above it."
        ),
    ] = None,
    clusters: Annotated[
        int, typer.Option(min=1, max=20, help="Kinds of task to tell apart at most; 1: none.")
    ] = 3,
    tasks: Annotated[
        bool, typer.Option(help="Take the log's own tasks for kinds of task, where it names them.")
    ] = True,
    score_by: Annotated[
        str, typer.Option(help=f"How answers are scored: {', '.join(SCORINGS)}.")
    ] = "auto",
    temperature: Annotated[
        float | None, typer.Option(min=0, help="Sampling temperature. Default: the provider's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and log: same sample.")] = 0,
    at_once: Annotated[int, typer.Option(min=1, help="Most calls in flight.")] = 8,
    yes: Annotated[
        bool, typer.Option("--yes", help="Buy; without it only the price is told.")
    ] = False,
) -> None:
    """Ask a sample of logged prompts both plain and compressed; `cascade tune --compress` reads the result.

    The price is told first. Stopped at any moment, it goes on where it was.

    Example: cascade probe logs/ --variants compressed,plain --sample 200 -c ladder.yaml -o probe.jsonl --yes
    """
    from cascade import build
    from cascade.build_compress import probed_stages
    from cascade.build_parts import same_claim
    from cascade.catalogue import catalogue_price

    if score_by not in SCORINGS:
        raise ConfigError(f"--score-by: {score_by!r:.40} given; allowed: {', '.join(SCORINGS)}")
    problem = output_problem(output, logs)
    if problem:
        raise ConfigError(f"-o {problem}")
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    file = config or build.default_config_path()
    settings = build.ladder_settings(file)
    ladder = settings.to_ladder(catalogue_price)
    compressing = probed_stages(settings, ladder)
    rungs = _rungs(ladder, compressing, names_of(models))
    names = [name.strip() for name in variants.split(",") if name.strip()]
    chosen = {
        index: variants_of(compressing[index][0], names, rung.model)
        for index, rung in rungs.items()
    }
    stages = {
        rung.model: {
            v.name: [StageAbout(name=s.name, version=s.version) for s in v.lossy]
            for v in chosen[index]
        }
        for index, rung in rungs.items()
    }
    skips = Skips()
    candidates = read_candidates(logs, skips, seed=seed)
    for line in skips.told():
        console.print(line, markup=False)
    before = _before(output, stages, temperature)
    kinds, fresh = _kinds(before, output, candidates, clusters, tasks, seed)
    from cascade.tokens import TokenCounter

    counter = TokenCounter()
    asked = sample(
        fresh,
        kinds,
        chosen,
        rungs,
        count,
        counter=counter,
        pays=lambda index, done: compressing[index][1].pays(done),
        temperature=temperature,
    )
    if not asked:
        raise ConfigError(
            "no prompt of the log is sent shorter by a lossy stage (`min_saving_usd` counts too): "
            "there is nothing to prove"
        )
    scoring = choose_scoring(score_by, candidates, same_claim)
    purchases = purchases_of(asked)
    journal = Journal(journal_path(output))
    seen = mean_output(candidate.row for candidate in candidates)
    prices = price_of(purchases, rungs, journal.answers, seen)
    how = {rung.model: counter.how(rung.model) for rung in rungs.values()}
    tell_price(asked, count, kinds, prices, scoring, how)
    if not yes and any(price.calls for price in prices):
        print("nothing was asked; add --yes to go on")
        raise typer.Exit(1)
    about = ProbeAbout(
        variants=stages,
        clusters=kinds.to_json().decode(),
        seed=seed,
        logs=[path.name for path in logs],
        scored=scoring.told,
        temperature=temperature,
    )
    _write_about(output, about if before is None else before.joined(about))
    progress = Progress()
    try:
        with journal:
            for one in asked:
                journal.note_prompt(one, best_answer(one.candidate.row))
            anyio.run(partial(_buy, settings, purchases, rungs, journal, progress, at_once))
    finally:
        rows = score_rows(journal.rows(), scoring, _request)
        write_traffic(output, ((str(output), row) for row in rows), Skips())
        tell_end(progress, rows, rungs, chosen, scoring, output)
    if progress.stopped or any(p.key not in journal.answers for p in purchases):
        raise typer.Exit(1)


def _rungs(
    ladder: Ladder,
    stages: Mapping[int, tuple[Sequence[Stage], RungCompression]],
    names: Sequence[str] | None,
) -> dict[int, Rung]:
    """Return the rungs to ask: those named, else those that are sent shorter prompts at all."""
    if not stages:
        raise ConfigError(
            "the ladder file sets no compression; allowed: `compress: [extract: {budget: 2000}]`, see "
            "docs/compression.md"
        )
    if names is None:
        found = {i for i, (_, one) in stages.items() if i == 0 or one.escalated} or {min(stages)}
        return {i: rung for i, rung in enumerate(ladder.rungs) if i in found}
    known = [ladder.rungs[i].model for i in sorted(stages)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"--models: {unknown[0]!r:.60} given; allowed, as they have `compress`: {', '.join(known)}"
        )
    return {i: ladder.rungs[i] for i in sorted(stages) if ladder.rungs[i].model in names}


def _before(
    output: Path, stages: dict[str, dict[str, list[StageAbout]]], temperature: float | None
) -> ProbeAbout | None:
    """Return what the log is about that this probe goes on with, or None for a new one."""
    if not about_path(output).exists():
        return None
    about = read_about(output)
    changed = about.stages_problem(stages)
    if about.temperature != temperature:
        changed = f"it was begun with --temperature {about.temperature}"
    if changed:
        raise ConfigError(f"-o {output}: {changed}; give another file")
    return about


def _kinds(
    before: ProbeAbout | None,
    output: Path,
    candidates: list[Candidate],
    count: int,
    tasks: bool,
    seed: int,
) -> tuple[TaskClusters, list[Candidate]]:
    """Return the kinds of task, and the prompts that may be asked: none that kinds were fitted on.

    A probe that goes on keeps the kinds it began with.
    """
    from cascade.compress.clusters import ONE_CLUSTER, task_text
    from cascade.replay.task_clusters import fit_clusters

    fitting, fresh = split_for_fitting(candidates)
    if before is not None:
        kinds = before.task_clusters(about_path(output))
    elif count == 1:
        kinds = ONE_CLUSTER
    else:
        kinds = fit_clusters(
            [task_text(c.request.messages) for c in fitting],
            [c.row.task for c in fitting] if tasks else None,
            count=count,
            seed=seed,
        )
    return kinds, candidates if len(kinds.names) == 1 else fresh


def _request(row: TrafficRow) -> Request:
    return make_request(row.messages or row.prompt)


def _write_about(output: Path, about: ProbeAbout) -> None:
    from cascade.replay.policy_file import write_whole

    text = msgspec.json.format(msgspec.json.encode(about), indent=1).decode()
    write_whole(about_path(output), text + "\n")


async def _buy(
    settings: LadderConfig,
    purchases: Sequence[Purchase],
    rungs: dict[int, Rung],
    journal: Journal,
    progress: Progress,
    at_once: int,
) -> None:
    from cascade.build_clients import provider_clients

    used = tuple(r for i, r in enumerate(settings.ladder) if i in rungs)
    clients = provider_clients(settings.model_copy(update={"ladder": used}))
    try:
        await buy(
            purchases,
            clients,
            {index: rung.price for index, rung in rungs.items()},
            journal,
            progress,
            SystemClock(),
            at_once=at_once,
        )
    finally:
        with anyio.move_on_after(_CLOSING_S, shield=True):
            for client in clients.values():
                await client.aclose()
