"""Doubles for tests of code that uses cascade: no network, no sleep, no patching.

>>> import anyio, cascade
>>> from cascade.testing import ScriptedClient, reply
>>> async def main():
...     rungs = (cascade.Rung(model="small", provider="p", accept=0.8),
...              cascade.Rung(model="large", provider="p"))
...     client = ScriptedClient({"small": [reply("4?", confidence=0.3)], "large": [reply("4")]})
...     ladder = cascade.Ladder(name="test", rungs=rungs)
...     async with cascade.Cascade(ladder, {"p": client}, scorer=ScriptedScorer()) as engine:
...         return await engine.ask("What is 2 + 2?")
>>> anyio.run(main).text
'4'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from .assembly import Assembly
from .ports import Listener
from .types import Answer, Attempt, Chunk, ModelCall, Request, Score, TokenLogprobs, Usage

__all__ = ["FakeClock", "ListSink", "ScriptedClient", "ScriptedScorer", "reply"]


def reply(
    text: str | None = "",
    *,
    confidence: float | None = None,
    finish_reason: str | None = "stop",
    prompt_tokens: int | None = 10,
    completion_tokens: int | None = 5,
    logprobs: Sequence[float] | None = None,
    tool_calls: Sequence[Mapping[str, Any]] = (),
    refusal: str | None = None,
) -> Answer:
    """Return an answer for a `ScriptedClient`.

    Args:
        text: The answer's text.
        confidence: What `ScriptedScorer` is to say of it, in [0, 1]; None: unknown.
        finish_reason: Why the model stopped.
        prompt_tokens: Input tokens.
        completion_tokens: Output tokens.
        logprobs: Token log-probabilities, or None for none.
        tool_calls: Tool calls.
        refusal: The provider's refusal text.
    """
    return Answer(
        text=text,
        model="scripted",
        finish_reason=finish_reason,
        usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens),
        tool_calls=tool_calls,
        refusal=refusal,
        logprobs=None
        if logprobs is None
        else TokenLogprobs(tokens=[""] * len(logprobs), logprobs=list(logprobs)),
        p_true=confidence,
    )


class ScriptedClient:
    """Answers from a script: for each model a list, played in order and then again from its end.

    Args:
        script: Model → answers or exceptions. A string stands for `reply(string)`.
        delay_s: How long each call takes, seconds.
        chunk_chars: Characters of a chunk (one token) where a stream is read; None: answers are whole.
            With as many log-probabilities as chunks, each chunk has its own.
        chunk_s: How long each chunk takes, seconds.

    Attributes:
        calls: Every call made, in order.
        closed: Whether `aclose` was called.
    """

    def __init__(
        self,
        script: Mapping[str, Sequence[Answer | str | Exception]],
        *,
        delay_s: float = 0.0,
        chunk_chars: int | None = None,
        chunk_s: float = 0.0,
    ) -> None:
        self._chunk_chars = chunk_chars
        self._chunk_s = chunk_s
        self._script = {model: list(answers) for model, answers in script.items()}
        self._delay_s = delay_s
        self.calls: list[ModelCall] = []
        self.closed = False

    async def complete(self, call: ModelCall) -> Answer:
        """Return or raise what the script holds next for this model."""
        self.calls.append(call)
        await anyio.sleep(self._delay_s)
        answers = self._script[call.model]
        said = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(said, Exception):
            raise said
        answer = reply(said) if isinstance(said, str) else said
        if call.listener is None or self._chunk_chars is None:
            return answer
        return await self._say(answer, call.listener, self._chunk_chars)

    async def _say(self, answer: Answer, listener: Listener, size: int) -> Answer:
        """Tell an answer piece by piece; return it, or what was told of it when that was enough."""
        listener.begin()
        text, said = answer.text or "", Assembly()
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        logprobs = answer.logprobs
        for i, piece in enumerate(pieces):
            own = None
            if logprobs is not None and len(logprobs.logprobs) == len(pieces):
                own = TokenLogprobs(tokens=[piece], logprobs=[logprobs.logprobs[i]])
            chunk = Chunk(text=piece, logprobs=own)
            said.add(chunk)
            if not await listener.take(chunk):
                cut = answer.usage
                usage = replace(cut, completion_tokens=said.tokens, estimated=True)
                return said.answer(answer.model, usage=usage)
            await anyio.sleep(self._chunk_s)
        return answer

    async def aclose(self) -> None:
        """Note that the engine has closed."""
        self.closed = True


class ScriptedScorer:
    """Says of each answer what its `reply` was given as confidence."""

    version = "scripted"

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        """Return the scripted confidence of the newest answer."""
        answer = attempts[-1].answer if attempts else None
        confidence = None if answer is None else answer.p_true
        return Score(
            confidence=confidence, why_unknown="not scripted" if confidence is None else None
        )


class ListSink:
    """Keeps decision records in a list.

    Attributes:
        records: What was written, in order.
        started: Whether the engine has opened it.
        closed: Whether the engine has closed it.
    """

    def __init__(self) -> None:
        self.records: list[Mapping[str, Any]] = []
        self.started = False
        self.closed = False

    def start(self) -> None:
        """Note that the engine has opened."""
        self.started = True

    async def write(self, record: Mapping[str, Any]) -> None:
        """Keep the record."""
        self.records.append(record)

    def write_nowait(self, record: Mapping[str, Any]) -> None:
        """Keep the record."""
        self.records.append(record)

    def close(self) -> None:
        """Note that the engine has closed."""
        self.closed = True


class FakeClock:
    """A clock that moves only when told to, or when somebody sleeps on it.

    Attributes:
        seconds: What `monotonic` says.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def monotonic(self) -> float:
        """Return the fake time, seconds."""
        return self.seconds

    def now_iso(self) -> str:
        """Return a fixed day at the fake time."""
        minutes, seconds = divmod(self.seconds, 60)
        return f"2026-01-01T00:{int(minutes) % 60:02d}:{seconds:06.3f}Z"

    async def sleep(self, seconds: float) -> None:
        """Move the time on and let other tasks run."""
        self.seconds += seconds
        await anyio.lowlevel.checkpoint()
