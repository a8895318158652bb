"""The second half of `cascade demo --train`: a log of the demo's own, labelled, and a scorer fitted on it.

Training questions come from templates and are other questions than the demo asks; right and wrong
are decided by the templates' own answers, so no label is bought or guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..engine import Cascade
from ..policy import Decision, State
from ..traffic_log import TrafficLog
from .tasks import Question, is_right, messages, response_format

__all__ = ["AskAll", "Fitted", "TrainOn", "collect", "learn"]


class Fitted(NamedTuple):
    """A scorer that was trained on the demo's log.

    Attributes:
        folder: Where it was saved.
        policy: File of the policy that was tuned for it.
        told: What the training printed, as lines.
    """

    folder: Path
    policy: Path
    told: Sequence[str]


TrainOn = Callable[[Path, Path, Sequence[str]], Fitted]
"""Trains on a labelled traffic log: (log, folder for the scorer, models cheapest first)."""


class AskAll:
    """A policy that calls every rung, to collect what each of them says."""

    version = "ask-all/1"
    needs_forecast = False

    def decide(self, state: State) -> Decision:
        """Call the next rung while there is one."""
        if state.open:
            return Decision(rung=state.open[0], reason="every rung is asked")
        return Decision(rung=None, reason="every rung was asked")


async def learn(
    console: Console,
    log: Path,
    questions: Sequence[Question],
    models: Sequence[str],
    folder: Path,
    train: TrainOn,
) -> Fitted:
    """Label the log of the training questions, and train on it.

    Args:
        console: Where progress goes.
        log: A decision log with text.
        questions: What was asked in it.
        models: The ladder's models, cheapest first.
        folder: Where the labelled log and the scorer are put.
        train: Trains a scorer.
    """
    labelled = folder / "training.jsonl"
    count = await anyio.to_thread.run_sync(label, log, questions, labelled)
    console.print(f"{count} answers of the demo's own log are labelled; training on them")
    fitted = await anyio.to_thread.run_sync(train, labelled, folder / "scorer", models)
    for line in fitted.told:
        console.print(line, highlight=False, markup=False)
    return fitted


async def collect(console: Console, engine: Cascade, questions: Sequence[Question]) -> None:
    """Ask every rung every question; the engine's log keeps what they said."""
    with Progress(
        TextColumn("asking every rung the training questions"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bars:
        task = bars.add_task("questions", total=len(questions))
        for question in questions:
            await engine.ask(
                messages(question),
                response_format=response_format(question),
                temperature=0.0,
                policy=AskAll(),
            )
            bars.advance(task)


def label(log: Path, questions: Sequence[Question], labelled: Path) -> int:
    """Write the decision log as a traffic log with scores; return how many answers have one."""
    by_prompt = {question.prompt: question for question in questions}
    encode = msgspec.json.Encoder().encode
    count = 0
    with labelled.open("wb") as out:
        for row in TrafficLog(paths=[log]):
            question = by_prompt.get(row.prompt)
            if question is None:
                continue
            for response in row.responses:
                response.score = float(is_right(question, response.text or ""))
                count += 1
            row.split = "train"
            out.write(encode(row) + b"\n")
    return count
