"""Several independent questions as one message, and the numbered answers read back out of the reply. Pure.

The reply is to be one JSON object, its keys the questions' numbers. What cannot be read with
certainty is not read: an answer that goes to the wrong question is worse than none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .types import Answer, Message, Request, TokenLogprobs

__all__ = ["Part", "Together", "joint_format", "joint_max_tokens", "put_together", "take_apart"]

TOKENS_AROUND = 12
"""Output tokens that number, quotes and comma of one answer take at most."""

INSTRUCTION = (
    "There are {count} questions below. Answer every one of them exactly as you would if it was the "
    "only one.\nReply with one JSON object and nothing else, which maps the number of each question "
    "to its answer{kind}:\n{example}"
)


class Together(Message, frozen=True, kw_only=True):
    """The message that asks several questions at once.

    Attributes:
        alone: The request that each of them would be if it was asked alone, in their order.
    """

    alone: tuple[Request, ...]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What a reply says to one of the questions.

    Attributes:
        answer: The answer, with the log-probabilities of its own tokens where the reply has them and
            they can be told apart; None when it cannot be read.
        why_not: Why it cannot be read, in words; None when it can.
        why_no_logprobs: Why the reply's log-probabilities say nothing of this answer; None when they
            do, and when the reply has none.
    """

    answer: Answer | None = None
    why_not: str | None = None
    why_no_logprobs: str | None = None


def put_together(alone: Sequence[Request]) -> Together:
    """Return one message for the last user messages of these requests, numbered from 1.

    The lines of a question that follow its first are indented, so that none of them can pass for
    the next question.
    """
    count = len(alone)
    as_json = _wants_json(alone[0])
    value: Any = {"…": "…"} if as_json else "…"
    example = json.dumps({str(n): value for n in range(1, count + 1)}, ensure_ascii=False)
    kind = " as a JSON object" if as_json else ""
    lines = [INSTRUCTION.format(count=count, kind=kind, example=example)]
    for n, request in enumerate(alone, start=1):
        margin = " " * (len(str(n)) + 2)
        lines.append(f"{n}. " + f"\n{margin}".join(request.prompt.splitlines()))
    return Together(role="user", content="\n\n".join(lines), alone=tuple(alone))


def joint_format(alone: Sequence[Request], *, structured: bool) -> Mapping[str, Any] | None:
    """Return the `response_format` of the joint request: a schema with one property a question.

    Args:
        alone: The single requests; a `response_format` of theirs becomes that of each value.
        structured: Whether the reply is held to numbered texts where they have none.

    Returns:
        None when nothing is demanded of the reply.
    """
    wanted = alone[0].response_format
    each: Mapping[str, Any] = {"type": "string"}
    if wanted is not None and _wants_json(alone[0]):
        body = wanted.get("json_schema")
        schema = body.get("schema") if isinstance(body, Mapping) else None
        each = schema if isinstance(schema, Mapping) else {"type": "object"}
    elif not structured:
        return None
    numbers = [str(n) for n in range(1, len(alone) + 1)]
    schema = {
        "type": "object",
        "properties": dict.fromkeys(numbers, each),
        "required": numbers,
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "answers", "strict": True, "schema": schema},
    }


def _wants_json(request: Request) -> bool:
    wanted = request.response_format
    return wanted is not None and wanted.get("type") in ("json_object", "json_schema")


def joint_max_tokens(limits: Sequence[int | None], count: int) -> int | None:
    """Return the output limit of the joint request: room for as many answers as there are questions.

    Args:
        limits: What one answer may take: the caller's own limit alone, or those of the rungs.
        count: Questions.

    >>> joint_max_tokens([None, 64], 4), joint_max_tokens([None], 4)
    (316, None)
    """
    known = [limit for limit in limits if limit is not None]
    return (max(known) + TOKENS_AROUND) * count + TOKENS_AROUND if known else None


def take_apart(reply: Answer, alone: Sequence[Request]) -> tuple[Part, ...]:
    """Return what the reply says to each question.

    A text is an answer as it stands, a number or a truth value as it is written; `null`, and lists
    and objects where no JSON was asked for, are none. A reply with a number that no question has, or
    one number twice with different answers, is not trusted with any answer, or with that one.

    >>> asked = Request(messages=(Message(role="user", content="?"),))
    >>> parts = take_apart(Answer(text='{"1": "Oslo", "2": 7', model="m"), [asked, asked])
    >>> parts[0].answer.text, parts[1].why_not
    ('Oslo', 'the reply was cut off before it')
    """
    if reply.refusal:
        return (Part(why_not="the model refused"),) * len(alone)
    text = reply.text or ""
    found, strange, whole = _read(text)
    numbers = {str(n) for n in range(1, len(alone) + 1)}
    if strange or not numbers.issuperset(found):
        return (Part(why_not="the answers are numbered otherwise"),) * len(alone)
    parts = []
    for n, request in enumerate(alone, start=1):
        values = found.get(str(n), [])
        if not values:
            why = "the reply has no answer to it" if whole else "the reply was cut off before it"
            parts.append(Part(why_not=why))
        elif len({text[start:end] for start, end, _ in values}) > 1:
            parts.append(Part(why_not="the reply answers it twice"))
        else:
            parts.append(_part(reply, text, values[0], request))
    return tuple(parts)


_Value = tuple[int, int, Any]  # where it begins and ends in the reply, and what it is
_OPENING = re.compile(r"\{\s*(?=[\"\d])")
_NUMBER = re.compile(r"[0-9]{1,6}")
_COLON = re.compile(r"\s*:\s*")
_BETWEEN = re.compile(r"[\s,]*")
_decoder = json.JSONDecoder(strict=False)


def _read(text: str) -> tuple[dict[str, list[_Value]], bool, bool]:
    """Return the values by number, whether a key is none, and whether the reply came to its end.

    Prose and code fences around the object do no harm, and several objects are read as one. Reading
    stops at the first thing that is no JSON.
    """
    found: dict[str, list[_Value]] = {}
    at = 0
    while (opening := _OPENING.search(text, at)) is not None:
        at = opening.end()
        while not text.startswith("}", at):
            key, at = _key(text, at)
            colon = _COLON.match(text, at)
            if key is None or colon is None:
                return found, False, False
            start = colon.end()
            try:
                value, end = _decoder.raw_decode(text, start)
            except (ValueError, RecursionError):
                return found, False, False
            # A number at the very end may have lost its last digits.
            if end == len(text) and isinstance(value, int | float):
                return found, False, False
            if not _NUMBER.fullmatch(key):
                return found, True, False
            found.setdefault(str(int(key)), []).append((start, end, value))
            at = _end_of(_BETWEEN, text, end)
    return found, False, True


def _key(text: str, at: int) -> tuple[str | None, int]:
    """Return a key and where it ends; a number without its quotes, which small models write, too."""
    bare = _NUMBER.match(text, at)
    if bare:
        return bare.group(), bare.end()
    try:
        key, end = _decoder.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, at
    return (key.strip(), end) if isinstance(key, str) else (None, at)


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _part(reply: Answer, text: str, value: _Value, request: Request) -> Part:
    start, end, what = value
    as_json = _wants_json(request)
    if what is None:
        return Part(why_not="the reply answers it with null")
    if isinstance(what, dict | list) and not as_json:
        return Part(why_not="the reply answers it with a list or an object instead of text")
    plain = isinstance(what, str) and not as_json
    said = what if plain else text[start:end]
    if not _is_unicode(said):
        return Part(why_not="the reply answers it with half a character")
    if plain:  # the quotes are not the answer's
        start, end = start + 1, end - 1
    logprobs, why = _own_tokens(reply.logprobs, text, start, end)
    return Part(
        answer=Answer(
            text=said,
            model=reply.model,
            finish_reason="stop",
            logprobs=logprobs,
            deployment=reply.deployment,
        ),
        why_no_logprobs=why,
    )


def _is_unicode(text: str) -> bool:
    """Return whether UTF-8 can hold it: JSON's escapes can name one half of a character alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _own_tokens(
    whole: TokenLogprobs | None, text: str, start: int, end: int
) -> tuple[TokenLogprobs | None, str | None]:
    """Return the tokens that the characters from `start` to `end` lie in, or why they are not known.

    Where the provider reports the token that ends an answer (one without text at the end), the one
    after `end`, a quotation mark or comma, stands for it: it says how likely the answer ends there.
    """
    if whole is None:
        return None, None
    if "".join(whole.tokens) != text:
        return None, "the tokens of the reply do not add up to its text, so its own cannot be told"
    stop = end + 1 if whole.tokens and not whole.tokens[-1] else end
    first = last = position = 0
    for i, token in enumerate(whole.tokens):
        if position <= start:
            first = i
        if token and position < stop:
            last = i + 1
        position += len(token)
    if first >= last:
        return None, "it has no tokens of its own"
    own = slice(first, last)
    return (
        TokenLogprobs(
            tokens=list(whole.tokens[own]),
            logprobs=list(whole.logprobs[own]),
            top=None if whole.top is None else list(whole.top[own]),
        ),
        None,
    )
