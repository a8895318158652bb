"""Answers without a score graded by a judge: which ones, what it will cost, and the work itself.

The judge is any `Scorer`; its confidence becomes the label. What is done is kept as it comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import msgspec

from ..errors import RequestError
from ..intake import make_request
from ..labels import Label
from ..ports import Client, Scorer
from ..traffic_log import TrafficLog, is_decision_log
from ..types import Answer, Attempt, ModelCall, Request, Score, Usage
from .skips import Skips

__all__ = ["CountingClient", "Judged", "Unlabelled", "WithFields", "judge", "unlabelled"]

MESSAGE_TOKENS = 7
"""Tokens that a chat with one message costs beside its text, by OpenAI's count."""

FAILURES_IN_A_ROW = 20
"""After so many answers in a row without a verdict a judge is taken to be down, or to be none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlabelled:
    """One answer without a score.

    Attributes:
        id: Id of its request in the log.
        model: Who answered.
        log: File name of its traffic log; None when it is from a decision log.
        request: What was asked.
        text: The answer.
    """

    id: str
    model: str
    log: str | None
    request: Request
    text: str

    def attempt(self) -> Attempt:
        """Return the answer as a scorer takes it."""
        answer = Answer(text=self.text, model=self.model)
        return Attempt(
            rung=0, model=self.model, provider="log", verdict="accepted", reason="", answer=answer
        )


@dataclass(slots=True, kw_only=True)
class Judged:
    """How far a judge has come.

    Attributes:
        labels: Labels given.
        cost_usd: What the calls cost whose cost is known, US dollars.
        cost_unknown: Calls whose cost is not known.
        failures: Why there is no label → answers.
        stopped: Whether the work was given up after `FAILURES_IN_A_ROW`.
    """

    labels: int = 0
    cost_usd: float = 0.0
    cost_unknown: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    stopped: bool = False


def unlabelled(path: Path, skips: Skips, *, limit: int | None = None) -> Iterator[Unlabelled]:
    """Yield the answers of a log that have neither a score nor a label, in the order of the log.

    Args:
        path: A decision log that keeps text, a traffic log, or a folder of either.
        skips: Told of the answers that cannot be judged: no text, no question, no id to name them by.
        limit: Most answers to yield; None for all.

    Raises:
        LogError: The log cannot be read; names file and line.
    """
    found = 0
    for file in TrafficLog(paths=[path]).files():
        name = None if is_decision_log(file) else file.name
        log = TrafficLog(paths=[file])
        for row in log:
            open_ones = [r for r in row.responses if r.score is None]
            if not open_ones:
                continue
            place = f"{file}, id {row.id}"
            try:
                request = make_request(row.messages or row.prompt)
            except RequestError as exc:
                why = "the log keeps no text" if not row.prompt else "a chat that cannot be sent"
                for _ in open_ones:
                    skips.add(why, place, str(exc) if row.prompt else "")
                continue
            for response in open_ones:
                if not row.id:
                    skips.add("a row without an id", str(file))
                elif not response.text or response.text.isspace():
                    skips.add("an answer without text", place)
                else:
                    if limit is not None and found >= limit:
                        return
                    found += 1
                    yield Unlabelled(
                        id=row.id,
                        model=response.model,
                        log=name,
                        request=request,
                        text=response.text,
                    )
        for reason, count in log.skipped.items():
            skips.counts[reason] += count
            skips.first.setdefault(reason, log.first_skipped[reason])


async def judge(
    answers: Iterable[Unlabelled],
    scorer: Scorer,
    write: Callable[[Label], object],
    judged: Judged,
    *,
    at_once: int,
) -> None:
    """Grade answers, several at once, and write each label as soon as it is there.

    A judge that does not reply, or with no verdict, gives no label: the reason is counted. After
    `FAILURES_IN_A_ROW` answers without a verdict the rest is left.

    Args:
        answers: What to grade; taken as calls become free, never all at once.
        scorer: The judge.
        write: Takes the labels.
        judged: Told of every step, and true at any moment: when the work is cancelled it says how
            far it came.
        at_once: Most calls in flight, >= 1.
    """
    send, receive = anyio.create_memory_object_stream[Unlabelled](0)
    without = 0  # answers in a row

    async def work() -> None:
        nonlocal without
        with receive.clone() as mine:
            async for one in mine:
                label = await _label(one, scorer, judged)
                without = 0 if label is not None else without + 1
                if label is not None:
                    write(label)
                    judged.labels += 1
                elif without >= FAILURES_IN_A_ROW:
                    judged.stopped = True
                    tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks, receive, send:
            for _ in range(at_once):
                tasks.start_soon(work)
            for one in answers:
                await send.send(one)
            send.close()
    except ExceptionGroup as group:
        raise _first(group) from group


async def _label(one: Unlabelled, scorer: Scorer, judged: Judged) -> Label | None:
    """Ask the judge, count what it cost, and return its label, or None with the reason counted."""
    try:
        score = await scorer.score(one.request, [one.attempt()])
    except RequestError:
        score = Score(confidence=None, why_unknown="the answer cannot be sent")
    if score.cost_usd is None:
        judged.cost_unknown += 1
    else:
        judged.cost_usd += score.cost_usd
    if score.confidence is None or not 0.0 <= score.confidence <= 1.0:
        judged.failures[_kind(score.why_unknown)] += 1
        return None
    return Label(id=one.id, score=score.confidence, model=one.model, log=one.log, by=scorer.version)


def _first(group: ExceptionGroup[Exception]) -> Exception:
    first: Exception = group
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first


def _kind(why: str | None) -> str:
    """Return the reason without what differs from call to call (``the judge …: RateLimited: …``)."""
    return ": ".join((why or "no verdict").split(": ")[:2])


class CountingClient:
    """Calls nobody and counts the tokens that calls would take: what a judge is going to cost.

    Args:
        count: Text → tokens.
    """

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self.calls = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0

    async def complete(self, call: ModelCall) -> Answer:
        """Return no text, with the usage of the prompt and all the output that is allowed."""
        text = "\n".join(m.content for m in call.request.messages if isinstance(m.content, str))
        usage = Usage(
            prompt_tokens=self._count(text) + MESSAGE_TOKENS,
            completion_tokens=call.request.max_tokens or call.max_tokens or 0,
        )
        self.calls += 1
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        return Answer(text="", model=call.model, usage=usage)

    async def aclose(self) -> None:
        """Nothing is open."""


class WithFields:
    """A client that sends the extra request fields of a rung with every call.

    Args:
        client: Performs the calls.
        fields: The fields; those of a call win over them.
    """

    def __init__(self, client: Client, fields: Mapping[str, Any]) -> None:
        self._client = client
        self._fields = fields

    async def complete(self, call: ModelCall) -> Answer:
        """Perform the call with the fields."""
        extra = {**self._fields, **call.extra}
        return await self._client.complete(msgspec.structs.replace(call, extra=extra))

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()
