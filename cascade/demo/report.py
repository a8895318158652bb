"""Put what the demo saw into words: the path of each question, and the tables at the end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from ..explain import format_usd
from ..local.catalogue import LocalModel
from ..local.server import LocalServer
from ..types import Attempt, Result
from .tasks import Question, is_right

__all__ = ["Asked", "RungAnswer", "before_and_after", "keep_lines", "question_lines", "summary"]

_PROMPT_CHARS = 100
_ANSWER_CHARS = 54
_EXAMPLE = "What is the capital of Norway?"


@dataclass(frozen=True, slots=True, kw_only=True)
class RungAnswer:
    """What one rung said to one question, whether the ladder asked it or not.

    Attributes:
        text: Its answer; "" when it gave none.
        right: Whether the question's check passes.
        cost_usd: What the call cost at the reference price, or None if that is unknown.
    """

    text: str
    right: bool
    cost_usd: float | None

    @classmethod
    def of(cls, question: Question, attempt: Attempt) -> Self:
        """Return what a call of the rung brought."""
        text = (attempt.answer.text if attempt.answer else None) or ""
        return cls(text=text, right=is_right(question, text), cost_usd=attempt.cost_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question, how the ladder answered it, and what each rung said.

    Attributes:
        question: What was asked.
        result: What the ladder answered.
        rungs: What each rung of the ladder said, in order.
    """

    question: Question
    result: Result
    rungs: tuple[RungAnswer, ...]

    @property
    def right(self) -> bool:
        """Whether the ladder's answer passes the question's check."""
        return is_right(self.question, self.result.text)


def question_lines(question: Question, result: Result, *, number: int, of: int) -> list[str]:
    """Return the question, a line for each rung that was tried, and how it ended, as markup."""
    lines = [
        f"\n[bold]{number}/{of}[/] [dim]{question.kind}[/] {escape(_short(question.prompt, _PROMPT_CHARS))}"
    ]
    for attempt in result.attempts:
        text = attempt.answer.text if attempt.answer else None
        said = _short(text or "(nothing)", _ANSWER_CHARS)
        lines.append(f"  {escape(f'{attempt.model:<20} {said}')}")
        lines.append(f"  {'':<20} [dim]{attempt.verdict}: {escape(attempt.reason)}[/]")
    right = is_right(question, result.text)
    verdict = "[green]right[/]" if right else f"[red]wrong[/], wanted {_wanted(question)}"
    lines.append(f"  → {verdict}  [dim]{format_usd(result.cost_usd)}, {result.latency_s:.2f} s[/]")
    return lines


def keep_lines(ladder: Path, servers: Sequence[LocalServer]) -> list[str]:
    """Return how the running servers are asked from another terminal, as plain lines.

    Args:
        ladder: The file of the demo's own ladder.
        servers: Cheapest first; the last two take the places of `configs/local.yaml`.
    """
    small, large = (urlsplit(server.base_url).port for server in servers[-2:])
    return [
        "",
        "The servers keep running until Ctrl-C. Ask them from another terminal, all of them:",
        f'  cascade ask -c {shlex.quote(str(ladder))} "{_EXAMPLE}"',
        "or the last two, in a clone, through a file of your own to change:",
        f"  export SMALL_PORT={small} LARGE_PORT={large}",
        f'  cascade ask -c configs/local.yaml "{_EXAMPLE}"',
    ]


def summary(asked: Sequence[Asked], models: Sequence[LocalModel]) -> list[RenderableType]:
    """Return the tables at the end: what each rung did, and the ladder against single models."""
    return [
        "",
        _rung_table(asked, models),
        _comparison_table(asked, models),
        f"[dim]{len(asked)} questions are few: the shares of right answers are good to about "
        f"±{100 / len(asked) ** 0.5:.0f} points. Costs are tokens used × the reference price of the "
        "model's size class; running it here costs nothing of the kind.[/]",
    ]


def before_and_after(before: Sequence[Asked], after: Sequence[Asked]) -> Table:
    """Return the ladder with untrained confidence beside the ladder with the trained scorer."""
    table = Table(title="Before and after training, on the same questions", title_justify="left")
    for column in ("confidence", "right", "cost of 1,000 questions", "saving", "strong calls"):
        table.add_column(column, justify="left" if column == "confidence" else "right")
    strongest = _mean_cost([one.rungs[-1].cost_usd for one in before])
    for name, asked in (("log-probability, untrained", before), ("trained scorer", after)):
        top = len(asked[0].rungs) - 1
        strong = sum(a.rung == top for one in asked for a in one.result.attempts)
        costs = [one.result.cost_usd for one in asked]
        row = _row(sum(one.right for one in asked), costs, strongest)
        table.add_row(name, *row, f"{strong / len(asked):.0%}")
    return table


def _rung_table(asked: Sequence[Asked], models: Sequence[LocalModel]) -> Table:
    table = Table(title="What each rung did", title_justify="left")
    table.add_column("rung", no_wrap=True)
    for column in ("asked", "answered", "share", "right", "of all"):
        table.add_column(column, justify="right")
    for rung, model in enumerate(models):
        kept = [one for one in asked if one.result.rung == rung]
        tried = sum(attempt.rung == rung for one in asked for attempt in one.result.attempts)
        table.add_row(
            model.name,
            str(tried),
            str(len(kept)),
            f"{len(kept) / len(asked):.0%}",
            f"{sum(one.right for one in kept)}/{len(kept)}",
            f"{sum(one.rungs[rung].right for one in asked)}/{len(asked)}",
        )
    return table


def _comparison_table(asked: Sequence[Asked], models: Sequence[LocalModel]) -> Table:
    table = Table(title="The ladder against a single model", title_justify="left")
    for column in ("way", "right", "cost of 1,000 questions", "saving"):
        table.add_column(column, justify="left" if column == "way" else "right")
    strongest = _mean_cost([one.rungs[-1].cost_usd for one in asked])
    for rung, model in enumerate(models):
        place = {0: " (cheapest)", len(models) - 1: " (strongest)"}.get(rung, "")
        table.add_row(
            f"always {model.name}{place}",
            *_row(
                sum(one.rungs[rung].right for one in asked),
                [one.rungs[rung].cost_usd for one in asked],
                strongest,
            ),
        )
    costs = [one.result.cost_usd for one in asked]
    row = _row(sum(one.right for one in asked), costs, strongest)
    table.add_row("the ladder", *row, style="bold")
    return table


def _row(right: int, costs: Sequence[float | None], strongest: float | None) -> list[str]:
    mean = _mean_cost(costs)
    saving = "unknown" if mean is None or not strongest else f"{1 - mean / strongest:.0%}"
    thousand = None if mean is None else 1000 * mean
    return [f"{right}/{len(costs)}", format_usd(thousand), saving]


def _mean_cost(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) / len(known) if costs and len(known) == len(costs) else None


def _wanted(question: Question) -> str:
    if question.fields is not None:
        return escape(str(dict(question.fields)))
    return escape(" or ".join(question.accepted))


def _short(text: str, chars: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= chars else f"{line[: chars - 1]}…"
