"""A traffic row: one prompt and what several models answered to it, with scores where they are known.

It is the common form of every log that is trained on or replayed. Decision records become traffic
rows too (`row_from_record`), with the models that were called and, if somebody labelled them, scores.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from ..errors import LogError
from ..types import Message, Request

__all__ = [
    "Response",
    "RowReader",
    "TrafficRow",
    "attempt_score",
    "decode_row",
    "row_from_record",
    "row_problems",
]

MOST_NAMES = 100
"""Unknown fields that are counted each by its name; a log may be made to hold a new one in every row."""

_Count = Annotated[int, msgspec.Meta(ge=0)]


class Response(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True):
    """What one model answered.

    Attributes:
        model: Name of the model.
        text: Its answer; None where the log does not keep it.
        score: Quality in [0, 1]: 1 right, 0 wrong, or a judge's grade; None when unknown.
        prompt_tokens: Input tokens, or None.
        completion_tokens: Output tokens, or None.
        logprobs: Natural-log probabilities of the chosen tokens, or None. Shape (n_tokens,).
        top_logprobs: Those of the best alternatives, best first, or None. Shape (n_tokens, k).
        latency_s: Wall seconds, or None.
        finish_reason: Why it stopped, or None.
        cost_usd: What was paid, US dollars; None: prices times tokens.
        p_true: The model's own probability that its answer is right, in [0, 1], or None.
        confidence: What the engine's scorer said when the answer was given, or None.
    """

    model: str
    text: str | None = None
    score: float | None = None
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    logprobs: list[float] | None = None
    top_logprobs: list[list[float]] | None = None
    latency_s: float | None = None
    finish_reason: str | None = None
    cost_usd: float | None = None
    p_true: float | None = None
    confidence: float | None = None


class TrafficRow(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True):
    """One prompt and its answers.

    Attributes:
        prompt: The user's text.
        responses: One a model.
        id: Unique in the log; "" when it has none.
        task: Where the prompt comes from; "" when unknown.
        split: ``train`` or ``test``; "" when the log is not split.
        messages: The whole chat where it is more than the prompt, or None. Where the prompt is "", it
            is read from here.
        reference: The gold answer, or None.
    """

    prompt: str
    responses: list[Response]
    id: str = ""
    task: str = ""
    split: str = ""
    messages: list[dict[str, Any]] | None = None
    reference: Any = None


_decoder = msgspec.json.Decoder(TrafficRow)
_row_names = frozenset(TrafficRow.__struct_fields__)
_response_names = frozenset(Response.__struct_fields__)
_OTHERS = "…"


class RowReader:
    """Reads lines of traffic logs; fields that this version does not know are passed over and counted.

    Attributes:
        ignored: Name of an unknown field → rows that had it; ``responses[].name`` inside an answer.
            Names beyond the first hundred are counted together as ``…``.
    """

    def __init__(self) -> None:
        self.ignored: Counter[str] = Counter()

    def read(self, line: bytes) -> TrafficRow:
        """Return the row on one line.

        Raises:
            LogError: It is not a row; says which field is wrong.
        """
        try:
            row = self._decoded(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            lenient = self._lenient(line)
            if lenient is None:
                why = str(exc) if isinstance(exc, msgspec.DecodeError) else type(exc).__name__
                raise LogError(f"not a row of a traffic log: {why}") from exc
            row = lenient
        if not row.prompt and row.messages:
            row.prompt = _prompt(row.messages)
        return row

    def _decoded(self, line: bytes) -> TrafficRow:
        try:
            return _decoder.decode(line)
        except msgspec.ValidationError:  # only such rows are read again: others cost nothing more
            return msgspec.convert(self._known(msgspec.json.decode(line)), TrafficRow)

    def _lenient(self, line: bytes) -> TrafficRow | None:
        """Read what Python's own writer makes of NaN, so that `row_problems` can name it."""
        if b"NaN" not in line and b"Infinity" not in line:
            return None
        try:
            return msgspec.convert(self._known(json.loads(line)), TrafficRow)
        except (ValueError, RecursionError):
            return None

    def _known(self, fields: Any) -> Any:
        """Return a row as this version writes it: without unknown fields, which are counted, and nulls."""
        if not isinstance(fields, dict):
            return fields
        unknown = dict.fromkeys(name for name in fields if name not in _row_names)
        known = {
            name: value
            for name, value in fields.items()
            if name in _row_names and value is not None
        }
        if type(known.get("id")) is int:
            known["id"] = str(known["id"])
        if "messages" in known:
            known.setdefault("prompt", "")  # it is read from them
        responses = known.get("responses")
        if isinstance(responses, list) and all(isinstance(r, dict) for r in responses):
            for r in responses:
                unknown |= {
                    f"responses[].{name}": None for name in r if name not in _response_names
                }
                if _has_null(r.get("logprobs")) or _has_null(r.get("top_logprobs")):
                    unknown["responses[].logprobs (with null in them)"] = None
            known["responses"] = [_known_response(r) for r in responses]
        self._count(unknown)
        return known

    def _count(self, names: Iterable[str]) -> None:
        for name in names:
            whole = len(self.ignored) >= MOST_NAMES and name not in self.ignored
            self.ignored[_OTHERS if whole else name] += 1


def _known_response(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer without unknown fields, its numbers as tables and other writers hold them read."""
    known = {name: value for name, value in fields.items() if name in _response_names}
    if type(known.get("score")) is bool:
        known["score"] = float(known["score"])
    for name in ("prompt_tokens", "completion_tokens"):
        count = known.get(name)
        if isinstance(count, float):  # a column with gaps is one of floats
            known[name] = None if math.isnan(count) else int(count) if count % 1 == 0 else count
    for name in ("logprobs", "top_logprobs"):
        if _has_null(known.get(name)):
            known[name] = None
    return known


def _has_null(values: Any) -> bool:
    return isinstance(values, list) and any(
        value is None or (isinstance(value, list) and None in value) for value in values
    )


def decode_row(line: bytes) -> TrafficRow:
    """Return the row on one line of a traffic log; fields this version does not know are passed over.

    Raises:
        LogError: It is not a row; says which field is wrong.
    """
    return RowReader().read(line)


def row_problems(row: TrafficRow) -> list[str]:
    """Return what is wrong with the numbers of a row; empty when it can be used as it is."""
    found = []
    seen: set[str] = set()
    for r in row.responses:
        if r.model in seen:
            found.append(f"model {r.model!r} twice")
        seen.add(r.model)
        for name, value, high in (
            ("score", r.score, 1.0),
            ("p_true", r.p_true, 1.0),
            ("cost_usd", r.cost_usd, math.inf),
            ("latency_s", r.latency_s, math.inf),
        ):
            # NaN fails the comparison; infinity is no cost and no time either.
            if value is not None and not (0.0 <= value <= high and value != math.inf):
                found.append(f"{name} {value!r} of {r.model!r} is not in [0, {high:g}]")
        # NaN here too: the greatest of numbers and NaN is not to be relied on, a sum is.
        if r.logprobs and not (max(r.logprobs) <= 1e-4 and sum(r.logprobs) <= math.inf):
            found.append(f"a log-probability of {r.model!r} is above 0 or not a number")
    return found


def row_from_record(
    record: Mapping[str, Any], labels: Mapping[tuple[str, str | None], float] | None = None
) -> TrafficRow:
    """Return a decision record as a traffic row: the rungs that were called and what they answered.

    A draft that a stream ended early is no answer, and left out.

    Without `log.text` the row has no prompt and no answers: it serves for costs and confidences, not
    for training. Scores come from `labels`, by (id, model), else from the record; a label without a
    model is about the answer that was returned.
    """
    labels = labels or {}
    id = str(record.get("id", ""))
    kept = record.get("model")
    messages = record.get("messages") or None
    responses = [
        Response(
            model=attempt["model"],
            text=attempt.get("text"),
            score=attempt_score(labels, id, attempt, returned=attempt["model"] == kept),
            prompt_tokens=attempt.get("prompt_tokens"),
            completion_tokens=attempt.get("completion_tokens"),
            logprobs=attempt.get("logprobs"),
            top_logprobs=attempt.get("top_logprobs"),
            latency_s=attempt.get("latency_s"),
            finish_reason=attempt.get("finish_reason"),
            cost_usd=attempt.get("cost_usd"),
            confidence=attempt.get("confidence"),
        )
        for attempt in record.get("attempts", ())
        if attempt.get("verdict") not in ("failed", "skipped") and not _was_ended(attempt)
    ]
    return TrafficRow(
        id=id,
        prompt=_prompt(messages or ()),
        messages=None if messages is None or _is_plain(messages) else messages,
        responses=responses,
    )


def _was_ended(attempt: Mapping[str, Any]) -> bool:
    streaming = attempt.get("streaming")
    return isinstance(streaming, Mapping) and streaming.get("stopped_at_tokens") is not None


def _prompt(messages: Iterable[Mapping[str, Any]]) -> str:
    """Return the prompt of a logged chat, as live: the text of the last user message, parts joined."""
    chat = [Message(role=m.get("role", ""), content=_content(m.get("content"))) for m in messages]
    return Request(messages=tuple(chat)).prompt


def _content(content: Any) -> str | list[Mapping[str, Any]] | None:
    if isinstance(content, list):
        return [part for part in content if isinstance(part, Mapping)]
    return content if isinstance(content, str) else None


def _is_plain(messages: list[Mapping[str, Any]]) -> bool:
    """Whether the prompt says all there is; content in parts may hold more than text."""
    return len(messages) == 1 and isinstance(messages[0].get("content"), str)


def attempt_score(
    labels: Mapping[tuple[str, str | None], float],
    id: str,
    attempt: Mapping[str, Any],
    *,
    returned: bool,
) -> float | None:
    """Return the score of one attempt of a record: its label, else what the record says.

    Args:
        labels: (id, model or None for the answer returned) → score.
        id: Id of the record.
        attempt: One of its attempts.
        returned: Whether its answer is the one that was returned.
    """
    own: float | None = attempt.get("score")
    if returned:
        own = labels.get((id, None), own)
    return labels.get((id, str(attempt.get("model"))), own)
