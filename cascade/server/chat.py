"""OpenAI's chat completions: a body to what is asked, a result to a body. Pure.

Every field that the ladder has no use for is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..errors import RequestError
from ..types import Answer, Result, TokenLogprobs, Usage
from .asked import Asked, refuse_keywords, result_object
from .options import read_options

__all__ = ["chat_body", "read_chat", "shown_logprobs", "usage_object"]


class _Choice(msgspec.Struct):
    logprobs: msgspec.Raw = msgspec.Raw(b"null")


class _Raw(msgspec.Struct):
    choices: list[_Choice]


class _Written(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Token(msgspec.Struct, gc=False):
    top_logprobs: list[msgspec.Raw]


_raw_decoder = msgspec.json.Decoder(_Raw)
_written_decoder = msgspec.json.Decoder(_Written)
_tokens_decoder = msgspec.json.Decoder(list[_Token])


def read_chat(
    fields: dict[str, Any], headers: Mapping[bytes, bytes], *, shown_by_itself: int
) -> Asked:
    """Return what a chat-completions body asks for.

    Log-probabilities that are wanted switch the cache off, unless the options say otherwise: cached
    answers have none.

    Args:
        fields: The body as `fields.ChatFields` allows it, without its model; what is read is taken out.
        headers: All headers, names in lower case.
        shown_by_itself: Alternatives a token that every rung is asked for anyway.

    Raises:
        RequestError: A field is wrong; the message names it.
    """
    options = read_options(fields.pop("cascade", None), headers)
    prompt = _prompt(fields)
    stream = bool(fields.pop("stream", None))
    streamed: Mapping[str, Any] = fields.pop("stream_options", None) or {}
    n: int = fields.pop("n", None) or 1
    wanted = bool(fields.pop("logprobs", None))
    alternatives: int | None = fields.pop("top_logprobs", None)
    if wanted:
        options.setdefault("cache", "off")
        fields["logprobs"] = True
        if (alternatives or 0) > shown_by_itself:
            fields["top_logprobs"] = alternatives
    elif alternatives is not None:
        raise RequestError("top_logprobs: given without `logprobs`; set that to true")
    if fields.get("max_completion_tokens") is not None:
        # Under both names: the ladder reckons with it, and the client sends the one it was given.
        fields["max_tokens"] = fields["max_completion_tokens"]
    else:
        fields.pop("max_completion_tokens", None)
    _check_tools(fields)
    refuse_keywords(fields)
    return Asked(
        prompt=prompt,
        options=fields | options,
        n=n,
        stream=stream,
        include_usage=stream and bool(streamed.get("include_usage")),
        top_logprobs=(alternatives or 0) if wanted else None,
    )


def chat_body(results: Sequence[Result], *, top_logprobs: int | None, created: int) -> bytes:
    """Return a chat completion.

    Args:
        results: What the ladder found, by choice; at least one.
        top_logprobs: Alternatives a token to show; None: no log-probabilities.
        created: The time, seconds since 1970.
    """
    first = results[0]
    return msgspec.json.encode(
        {
            "id": f"chatcmpl-{first.id}",
            "object": "chat.completion",
            "created": created,
            "model": first.model,
            "choices": [
                _choice(index, result.answer, top_logprobs) for index, result in enumerate(results)
            ],
            "usage": usage_object([result.answer.usage for result in results]),
            "cascade": result_object(results),
        }
    )


def _choice(index: int, answer: Answer, top_logprobs: int | None) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text,
        "refusal": answer.refusal,
    }
    if answer.tool_calls:
        message["tool_calls"] = answer.tool_calls
    return {
        "index": index,
        "message": message,
        "logprobs": None if top_logprobs is None else _logprobs(answer, top_logprobs),
        "finish_reason": answer.finish_reason,
    }


def usage_object(usages: Sequence[Usage]) -> dict[str, Any] | None:
    """Return the tokens of all answers together; what a provider did not count is absent."""
    prompt = _sum(usage.prompt_tokens for usage in usages)
    completion = _sum(usage.completion_tokens for usage in usages)
    if prompt is None or completion is None:
        return None
    told: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    cached = _sum(usage.cached_tokens for usage in usages)
    if cached is not None:
        told["prompt_tokens_details"] = {"cached_tokens": cached}
    reasoning = _sum(usage.reasoning_tokens for usage in usages)
    if reasoning is not None:
        told["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return told


def _sum(counts: Iterable[int | None]) -> int | None:
    """Return the sum, or None where one is unknown."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def shown_logprobs(
    raw: bytes | None, given: TokenLogprobs | None, alternatives: int
) -> dict[str, Any] | None:
    """Return log-probabilities in OpenAI's shape, with no more alternatives than wanted; None without.

    Args:
        raw: As the provider wrote them, or None.
        given: As they were read, or None.
        alternatives: Alternatives a token that are wanted.
    """
    written = None if raw is None else _written(raw, alternatives)
    if written is not None:
        return {"content": written, "refusal": None}
    if given is None or alternatives or not all(given.tokens):
        return None  # the names of alternatives, or of the tokens, are not known
    return {
        "content": [
            {
                "token": token,
                "logprob": logprob,
                "bytes": list(token.encode("utf-8", "replace")),
                "top_logprobs": [],
            }
            for token, logprob in zip(given.tokens, given.logprobs, strict=True)
        ],
        "refusal": None,
    }


def _prompt(fields: dict[str, Any]) -> Any:
    """Return the messages; a plain `prompt` counts as one message of the user."""
    messages, prompt = fields.pop("messages", None), fields.pop("prompt", None)
    if messages is None and prompt is None:
        raise RequestError("messages: missing; give at least one message")
    if messages is not None and prompt is not None:
        raise RequestError("prompt: given beside `messages`; give one of them")
    return prompt if messages is None else messages


def _check_tools(fields: Mapping[str, Any]) -> None:
    for i, tool in enumerate(fields.get("tools") or ()):
        function = tool.get("function")
        if isinstance(function, dict) and not isinstance(function.get("name"), str):
            raise RequestError(f"tools[{i}].function.name: missing; give text")
    choice = fields.get("tool_choice")
    if isinstance(choice, dict) and not isinstance(choice.get("type"), str):
        raise RequestError("tool_choice: allowed: text, or an object with `type`")


def _logprobs(answer: Answer, alternatives: int) -> dict[str, Any] | None:
    """Return log-probabilities as the provider wrote them, where it did."""
    raw = None
    if answer.raw is not None and answer.logprobs is not None:
        try:
            choices = _raw_decoder.decode(answer.raw).choices
            raw = bytes(choices[0].logprobs)
        except (msgspec.DecodeError, IndexError):
            pass
    return shown_logprobs(raw, answer.logprobs, alternatives)


def _written(raw: bytes, alternatives: int) -> msgspec.Raw | list[dict[str, Any]] | None:
    """Return the tokens as the provider wrote them, none with too many alternatives.

    Where none has, they are passed on undecoded: 20 tokens take 60 µs then, and 250 where each is
    decoded and encoded again.
    """
    try:
        content = _written_decoder.decode(raw).content
        try:
            tokens = _tokens_decoder.decode(content)
        except msgspec.ValidationError:
            tokens = None  # one has no alternatives: it is given an empty list of them
        if tokens is not None and all(len(t.top_logprobs) <= alternatives for t in tokens):
            return content
        written = msgspec.json.decode(content, type=list[dict[str, Any]])
    except msgspec.DecodeError:
        return None
    for token in written:
        token["top_logprobs"] = (token.get("top_logprobs") or [])[:alternatives]
    return written
