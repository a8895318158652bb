"""A traffic log served as models, so that a ladder runs without a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
import msgspec
from msgspec.structs import replace

from ..assembly import CHARACTERS_PER_TOKEN, Assembly
from ..clock import SystemClock
from ..errors import LogError, NotRecorded
from ..log_lines import numbered_lines
from ..ports import Clock, Listener
from ..types import Answer, Chunk, Message, ModelCall, Request, TokenLogprobs, Usage

__all__ = ["RecordedClient", "Survey", "names_of", "survey_log"]

_MODELS_NAMED = 12
"""Most models that an error lists."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Cost = Annotated[float, msgspec.Meta(ge=0)]
_Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Logprob = Annotated[float, msgspec.Meta(le=0)]


class _Response(msgspec.Struct, gc=False):
    model: str
    text: str | None = None
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    logprobs: list[_Logprob] | None = None
    top_logprobs: list[list[_Logprob]] | None = None
    finish_reason: str | None = None
    cost_usd: _Cost | None = None
    p_true: _Probability | None = None


class _Row(msgspec.Struct, gc=False):
    prompt: str
    responses: list[_Response]
    messages: list[dict[str, Any]] | None = None


_row_decoder = msgspec.json.Decoder(_Row)
_message_encoder = msgspec.json.Encoder(order="sorted")


@dataclass(slots=True, kw_only=True)
class Survey:
    """What the beginning of a traffic log holds.

    Attributes:
        rows: Rows read.
        models: The models in them, in the order they first appear.
        mistakes: Line from 1 and what is wrong there, of every line that is no row.
        whole: Whether that was all of the log.
    """

    rows: int = 0
    models: dict[str, None] = field(default_factory=dict)
    mistakes: list[tuple[int, str]] = field(default_factory=list)
    whole: bool = True


@dataclass(slots=True)
class _Log:
    """A whole log in memory; the values are responses by model, the first of each model.

    Attributes:
        by_prompt: By the whole prompt.
        padded: The prompts with white space around them, by what is left without it.
        by_messages: By the whole chat, as JSON.
    """

    by_prompt: dict[str, dict[str, _Response]] = field(default_factory=dict)
    padded: dict[str, set[str]] = field(default_factory=dict)
    by_messages: dict[bytes, dict[str, _Response]] = field(default_factory=dict)
    models: dict[str, None] = field(default_factory=dict)
    rows: int = 0


class RecordedClient:
    """Answers with what a traffic log holds.

    A request is found by its whole chat, or, when it is one user message, by its text alone, and
    then white space around it does not matter unless two prompts of the log differ in nothing else.
    Where rows share a prompt, the first answer of each model counts. A model whose text the log does not
    keep (`text: null`) answers with `text=None`, usage and log-probabilities: the gate `not_empty`
    refuses it, unless the ladder leaves that gate out. Scores and references stay in the log.

    A stream is told the answer token by token. A log keeps no token strings: each token has an equal
    share of the text's characters.
    """

    def __init__(
        self,
        name: str,
        path: str | Path,
        *,
        first_token_s: float = 0.0,
        token_s: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        """Make a client; the log is read at the first use, in a worker thread, once.

        Args:
            name: The provider's name in the ladder, for errors.
            path: A traffic log: JSON lines, gzipped or not.
            first_token_s: Seconds that an answer takes until its first token.
            token_s: Seconds that each further token takes.
            clock: Time source: what the seconds are slept on.
        """
        self.name = name
        self._first_token_s = first_token_s
        self._token_s = token_s
        self._clock = clock or SystemClock()
        self._path = Path(path)
        self._log: _Log | None = None
        self._reading = anyio.Lock()

    def __repr__(self) -> str:
        return f"RecordedClient(name={self.name!r}, path={str(self._path)!r})"

    async def complete(self, call: ModelCall) -> Answer:
        """Return what the model of this name answered when the log was made.

        Raises:
            NotRecorded: The log lacks the prompt, or this model's answer to it.
            LogError: The log cannot be read; names the file and the line.
        """
        log = self._log or await self._read()
        answers = _find(log, call.request)
        response = answers.get(call.model)
        if response is None:
            raise NotRecorded(
                self._why_missing(log, answers, call.model), provider=self.name, model=call.model
            )
        answer = _answer(response)
        if call.listener is not None:
            return await self._tell(answer, call.listener)
        if self._first_token_s or self._token_s:
            further = max(0, _tokens_of(answer) - 1)
            await self._clock.sleep(self._first_token_s + further * self._token_s)
        return answer

    async def _tell(self, answer: Answer, listener: Listener) -> Answer:
        """Tell an answer token by token; return it, or what was told of it when that was enough."""
        listener.begin()
        said = Assembly()
        for i, chunk in enumerate(_chunks(answer)):
            if seconds := self._token_s if i else self._first_token_s:
                await self._clock.sleep(seconds)
            said.add(chunk)
            if not await listener.take(chunk):
                usage = replace(answer.usage, completion_tokens=said.tokens, estimated=True)
                return said.answer(answer.model, usage=usage)
        return answer

    async def models(self) -> tuple[str, ...]:
        """Return the models the log holds, in the order they first appear.

        Raises:
            LogError: The log cannot be read; names the file and the line.
        """
        return tuple((self._log or await self._read()).models)

    async def aclose(self) -> None:
        """Forget the log; it is read again if the client is used again."""
        self._log = None

    async def _read(self) -> _Log:
        async with self._reading:
            if self._log is None:
                self._log = await anyio.to_thread.run_sync(_read_log, self._path)
            return self._log

    def _why_missing(self, log: _Log, answers: dict[str, _Response], model: str) -> str:
        if model not in log.models:
            return f"{self._path.name} holds no answers of {model}; it holds {names_of(log.models)}"
        if not answers:
            return f"this prompt is not among the {log.rows:,} of {self._path.name}"
        return f"{self._path.name} has this prompt answered by {names_of(answers)} only"


def survey_log(path: Path, *, max_bytes: int) -> Survey:
    """Return what the first `max_bytes` of a log hold, unpacked, without keeping them in memory.

    Raises:
        LogError: The file cannot be read; names the file.
    """
    found, size = Survey(), 0
    for number, line in numbered_lines(path):
        size += len(line)
        if size > max_bytes:
            found.whole = False
            break
        try:
            row = _decoded(line)
        except ValueError as exc:
            found.mistakes.append((number, str(exc)))
            continue
        found.rows += 1
        found.models.update(dict.fromkeys(response.model for response in row.responses))
    return found


def names_of(models: Iterable[str]) -> str:
    """Return the names of models, as many as an error lists."""
    listed = sorted(models)
    more = len(listed) - _MODELS_NAMED
    return ", ".join(listed[:_MODELS_NAMED]) + (f" and {more} more" if more > 0 else "")


def _find(log: _Log, request: Request) -> dict[str, _Response]:
    messages = request.messages
    found = None
    if len(messages) == 1 and messages[0].role == "user" and not messages[0].extra:
        content = messages[0].content
        found = _by_text(log, content) if isinstance(content, str) else None
    if found is None and log.by_messages:
        found = log.by_messages.get(_request_key(messages))
    return found or {}


def _by_text(log: _Log, text: str) -> dict[str, _Response] | None:
    found = log.by_prompt.get(text)
    if found is not None:
        return found
    bare = text.strip()
    alike = [*log.padded.get(bare, ()), *((bare,) if bare in log.by_prompt else ())]
    return log.by_prompt[alike[0]] if len(alike) == 1 else None


def _request_key(messages: Sequence[Message]) -> bytes:
    try:
        return _key([{**m.extra, "role": m.role, "content": m.content} for m in messages])
    except (TypeError, UnicodeEncodeError):
        return b""  # what is not JSON is in no log


def _key(messages: list[dict[str, Any]]) -> bytes:
    return _message_encoder.encode(messages)


def _answer(response: _Response) -> Answer:
    logprobs = response.logprobs
    top = response.top_logprobs
    return Answer(
        text=response.text,
        model=response.model,
        finish_reason=response.finish_reason,
        usage=Usage(
            prompt_tokens=response.prompt_tokens, completion_tokens=response.completion_tokens
        ),
        logprobs=TokenLogprobs(
            tokens=[""] * len(logprobs),
            logprobs=logprobs,
            top=top if top and len(top) == len(logprobs) else None,
        )
        if logprobs
        else None,
        cost_usd=response.cost_usd,
        p_true=response.p_true,
    )


def _tokens_of(answer: Answer) -> int:
    """Return how many tokens an answer has: counted, or a quarter of its characters."""
    if answer.logprobs is not None:
        return len(answer.logprobs.logprobs)
    counted = answer.usage.completion_tokens
    return counted or len(answer.text or "") // CHARACTERS_PER_TOKEN or 1


def _chunks(answer: Answer) -> Iterator[Chunk]:
    """Yield an answer's tokens; those that have no share of a short text come with the one after."""
    text, count, logprobs = answer.text or "", _tokens_of(answer), answer.logprobs
    waiting = 0
    for i in range(count):
        piece = text[len(text) * i // count : len(text) * (i + 1) // count]
        waiting += 1
        if not piece and i + 1 < count:
            continue
        of = slice(i + 1 - waiting, i + 1)
        own = None
        if logprobs is not None:
            own = TokenLogprobs(
                tokens=logprobs.tokens[of],
                logprobs=logprobs.logprobs[of],
                top=None if logprobs.top is None else logprobs.top[of],
            )
        yield Chunk(text=piece, logprobs=own, tokens=waiting)
        waiting = 0


def _read_log(path: Path) -> _Log:
    log = _Log()
    for number, line in numbered_lines(path):
        try:
            row = _decoded(line)
        except ValueError as exc:
            raise LogError(f"{path}:{number}: not a row of a traffic log: {exc}") from exc
        log.rows += 1
        _add(log, row)
    if not log.rows:
        raise LogError(f"{path}: empty; allowed: a traffic log of one row or more")
    return log


def _decoded(line: bytes) -> _Row:
    """Return the row in a line, or raise a `ValueError` that says why there is none."""
    try:
        return _row_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        why = str(exc) if isinstance(exc, msgspec.DecodeError) else type(exc).__name__
        raise ValueError(why) from exc


def _add(log: _Log, row: _Row) -> None:
    answers = log.by_prompt.setdefault(row.prompt, {})
    bare = row.prompt.strip()
    if bare != row.prompt:
        log.padded.setdefault(bare, set()).add(row.prompt)
    chat = log.by_messages.setdefault(_key(row.messages), {}) if row.messages else answers
    for response in row.responses:
        log.models.setdefault(response.model)
        answers.setdefault(response.model, response)
        chat.setdefault(response.model, response)
