"""Ten thousand streams through a real server process with faults mixed in: is any draft ever leaked?

Every text that a model says begins each of its pieces with a tag of its own, so that whatever a reader
is given can be told by where it came from.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from cascade import (
    Answer,
    Attempt,
    Cascade,
    CascadeError,
    Ladder,
    Price,
    Request,
    Rung,
    Score,
    StreamBroken,
    StreamRule,
    TextDelta,
)
from cascade.clients.openai import OpenAIClient
from cascade.resilience import Retrying, RetryPolicy
from cascade.rules import NotEmpty, NotRefusal
from tests.upstream_server import running_server
from tests.upstream_streams import plan

__all__ = ["Leaks", "count_leaks"]

MODELS = ("small", "middle", "large")
FAULTS = ("cut", "reset", "open", "bad_json", "bad_utf8", "error")
FAULTY = 0.25
"""Share of the calls that end badly."""
LEAVES = 0.1
"""Share of the readers that leave in the middle."""
IN_FLIGHT = 24


@dataclass
class Leaks:
    """What became of the streams.

    Attributes:
        streams: How many were read.
        leaked: Those of which something was read that is not the answer's.
        ends: How they ended: answered, broken, failed, left.
        modes: What was done with their drafts.
        first: The first leak in words, if there was one.
        seconds: Wall seconds.
    """

    streams: int = 0
    leaked: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    first: str | None = None
    seconds: float = 0.0


class ByLogprob:
    """Scores answers and beginnings by the mean of their log-probabilities."""

    version = "by-logprob"

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        """Return the confidence of the newest answer."""
        answer = attempts[-1].answer if attempts else None
        return _score(answer)

    async def score_prefix(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        prefix: Answer,
        *,
        rung: int,
        tokens: int,
    ) -> Score:
        """Return that of a beginning."""
        return _score(prefix)


def _score(answer: Answer | None) -> Score:
    if answer is None or answer.logprobs is None:
        return Score(confidence=None, why_unknown="nothing to measure")
    values = answer.logprobs.logprobs
    return Score(confidence=max(0.0, 1.0 + sum(values) / len(values)))


def _question(number: int, chance: random.Random) -> tuple[str, dict[str, str]]:
    """Return a prompt that says what each model streams, and the texts."""
    plans, texts = {}, {}
    for model in MODELS:
        count = chance.randint(1, 24)
        pieces = [f"<{model}-{number}-{i}>" for i in range(count)]
        level = -chance.random()
        logprobs = [min(0.0, level + chance.uniform(-0.3, 0.3)) for _ in pieces]
        said = {"pieces": pieces, "logprobs": logprobs}
        if chance.random() < FAULTY:
            said["end"] = chance.choice(FAULTS)
        if chance.random() < 0.05:
            said["crumbs"] = True
        plans[model], texts[model] = said, "".join(pieces)
    return plan(by_model=plans), texts


def _ladder(url: str) -> Cascade:
    early = StreamRule(mode="early", accept=0.75, reject=0.3, checkpoints=(2, 4, 8, 16))
    rungs = tuple(
        Rung(model=model, provider="p", accept=0.7, price=Price(input=1.0, output=2.0))
        for model in MODELS
    )
    client = Retrying(
        OpenAIClient("p", url, logprobs=True),
        RetryPolicy(attempts=2, backoff_s=0.0, max_backoff_s=0.0, share=1.0),
        rng=random.Random(1),
    )
    return Cascade(
        Ladder(name="leaks", rungs=rungs),
        {"p": client},
        scorer=ByLogprob(),
        prefix_scorer=ByLogprob(),
        gates=[NotEmpty(), NotRefusal()],
        stream_rules=[early, StreamRule(mode="hold"), StreamRule()],
    )


async def count_leaks(streams: int, seed: int = 0) -> Leaks:
    """Read so many streams, and check each against what the models said."""
    chance, found = random.Random(seed), Leaks()
    questions = [_question(i, chance) for i in range(streams)]
    leaves = [chance.randint(0, 12) if chance.random() < LEAVES else None for _ in questions]
    began = time.perf_counter()
    with running_server() as server:
        async with _ladder(server.url("stream")) as ladder:
            todo = iter(zip(questions, leaves, strict=True))

            async def work() -> None:
                for (prompt, texts), leaves_at in todo:
                    await _read(ladder, prompt, texts, leaves_at, found)

            async with anyio.create_task_group() as tasks:
                for _ in range(IN_FLIGHT):
                    tasks.start_soon(work)
    found.seconds = time.perf_counter() - began
    return found


async def _read(
    ladder: Cascade, prompt: str, texts: dict[str, str], leaves_at: int | None, found: Leaks
) -> None:
    """Read one stream, and note how it ended and whether anything in it is of another draft."""
    told, events, model = "", 0, None
    end = "left"
    try:
        async with ladder.stream(prompt) as stream:
            async for event in stream:
                events += 1
                if isinstance(event, TextDelta):
                    told += event.text
                if events == leaves_at:
                    break
            else:
                end, model = "answered", stream.result.model
                for attempt in stream.result.attempts:
                    if attempt.streamed is not None:
                        found.modes[attempt.streamed.mode] += 1
    except StreamBroken as exc:
        end, model = "broken", exc.model
    except CascadeError:
        end = "failed"
    found.streams += 1
    found.ends[end] += 1
    why = _leak(told, texts, end, model)
    if why is not None:
        found.leaked += 1
        found.first = found.first or f"{why}: {told[:200]}"


def _leak(told: str, texts: dict[str, str], end: str, model: str | None) -> str | None:
    """Return what is wrong with what was told, or None."""
    if end == "failed" and told:
        return "something was told of an ask that failed before its first byte"
    if end == "answered" and told != texts[model or ""]:
        return "it is not the whole of the answer"
    if model is not None and not texts[model].startswith(told):
        return "it is not of the model that answered"
    if not any(text.startswith(told) for text in texts.values()):
        return "it is of no single model"
    return None
