"""`cascade demo`: the whole story on real local models, no key needed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer
from rich.console import Console

from cascade.clock import SystemClock
from cascade.traffic_log import TrafficLog

if TYPE_CHECKING:
    from cascade.demo.learn import Fitted

__all__ = ["demo_command"]

KEPT = 0.97
"""Share of the strongest model's quality that `--train` tunes for."""


def demo_command(
    cache: Annotated[
        Path | None,
        typer.Option(help="Where the models are kept. Default: the user's cache folder."),
    ] = None,
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            help="Then collect and label a log of the demo's own, train a scorer on it, and ask again.",
        ),
    ] = False,
    lessons: Annotated[
        int, typer.Option(min=5, max=20, help="Training questions of each of the ten kinds.")
    ] = 10,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Leave the servers running at the end, until Ctrl-C, and tell how to ask them.",
        ),
    ] = False,
) -> None:
    """Install small open models, ask them checkable questions, and show what the ladder saved.

    Example: cascade demo --train
    """
    from cascade.build import cache_folder
    from cascade.demo import run_demo
    from cascade.demo.training import training_questions

    run = partial(
        run_demo,
        Console(),
        cache or cache_folder(),
        keep=keep,
        train=_train if train else None,
        lessons=training_questions(per_kind=lessons),
    )
    raise typer.Exit(anyio.run(_until_told_to_end, run))


async def _until_told_to_end(run: Callable[[], Awaitable[int]]) -> int:
    """Return what `run` returns, or 143 after SIGTERM: then it is cancelled, so that it cleans up."""
    if sys.platform == "win32":  # no such signal there
        return await run()
    code = 128 + signal.SIGTERM
    with anyio.open_signal_receiver(signal.SIGTERM) as told:
        async with anyio.create_task_group() as tasks:

            async def cancel_when_told() -> None:
                async for _ in told:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(cancel_when_told)
            code = await run()
            tasks.cancel_scope.cancel()
    return code


def _train(log: Path, folder: Path, models: Sequence[str]) -> Fitted:
    """Train on the demo's labelled log, and tune a policy on the same rows' out-of-fold scores."""
    from cascade.demo.learn import Fitted
    from cascade.replay.policy_file import policy_yaml, write_whole
    from cascade.replay.table import make_table
    from cascade.replay.tune import Goal, tune
    from cascade.replay.words import name_of
    from scorers.dataset import collect
    from scorers.training import train

    trained = train(collect(TrafficLog(paths=[log])), models)
    version = trained.save(folder, created=SystemClock().now_iso())
    data, rows = trained.dataset, trained.oof.rows
    table = make_table(
        models=data.models,
        ids=[data.ids[i] for i in rows],
        score=data.score[rows],
        cost=data.cost[rows],
        q=trained.oof.q,
        same=data.blocks.same[rows],
    )
    tuned = tune(table, Goal(quality=KEPT))
    policy = folder.parent / "policy.yaml"
    write_whole(
        policy,
        policy_yaml(tuned.chosen.policy, scorer=version, provenance={}, told="the demo's own"),
    )
    told = [
        f"{m.name}: right {m.base_rate:.0%} of {m.n}; AUROC {m.auroc:.2f}, ECE {m.ece:.3f}"
        for m in trained.report.models
    ]
    told.append(
        f"tuned to keep {KEPT:.0%} of {tuned.strongest}'s quality: {name_of(tuned.chosen.policy)}; on the "
        f"training questions {tuned.chosen.quality:.0%} right for {tuned.saving or 0:.0%} less money"
    )
    return Fitted(folder=folder, policy=policy, told=told)
