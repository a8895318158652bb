"""Hard gates: what an answer must be before anybody asks how likely it is to be right.

A gate reads one answer and returns None, or why the answer cannot be used. Gates are pure; the
first to fail does not hide the others, so that an attempt names all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from .errors import RequestError
from .types import Answer, Request

__all__ = [
    "BUILT_IN_GATES",
    "CallableGate",
    "Gate",
    "NotEmpty",
    "NotRefusal",
    "NotTruncated",
    "RegexGate",
    "SchemaGate",
    "failed_gates",
    "prefix_failures",
    "refusal_phrase",
]


class Gate(Protocol):
    """Refuses answers that nobody could use.

    One that can tell so by the beginning of an answer has a further method of the shape of `check`,
    ``check_prefix``: what it refuses, nothing that follows can mend.
    """

    @property
    def name(self) -> str:
        """What attempts and the log call it."""

    def prepare(self, request: Request) -> None:
        """Check what the gate needs of the request, before anything is spent.

        Raises:
            RequestError: The request holds something the gate cannot work with.
        """

    def check(self, request: Request, answer: Answer) -> str | None:
        """Return why the answer cannot be used, or None when it can."""


def failed_gates(gates: Sequence[Gate], request: Request, answer: Answer) -> tuple[str, ...]:
    """Return ``"gate: reason"`` for every gate the answer fails, in the order of the ladder."""
    failed: tuple[str, ...] = ()
    for gate in gates:
        reason = gate.check(request, answer)
        if reason is not None:
            failed = (*failed, f"{gate.name}: {reason}")
    return failed


def prefix_failures(gates: Sequence[Gate], request: Request, prefix: Answer) -> tuple[str, ...]:
    """Return ``"gate: reason"`` for every gate that any answer beginning like this must fail."""
    failed: tuple[str, ...] = ()
    for gate in gates:
        check = getattr(gate, "check_prefix", None)
        reason = None if check is None else check(request, prefix)
        if reason is not None:
            failed = (*failed, f"{gate.name}: {reason}")
    return failed


class _RequestFree:
    """A gate that needs nothing of the request."""

    def prepare(self, request: Request) -> None:
        """Accept any request."""


class NotEmpty(_RequestFree):
    """The answer has text or a tool call."""

    name = "not_empty"

    def check(self, request: Request, answer: Answer) -> str | None:
        """Fail on an answer with neither text nor tool calls."""
        if answer.tool_calls or (answer.text and not answer.text.isspace()):
            return None
        return "the answer is empty"


class NotTruncated(_RequestFree):
    """The answer was not cut off by an output limit."""

    name = "not_truncated"

    def check(self, request: Request, answer: Answer) -> str | None:
        """Fail on finish reason `length`."""
        return "cut off by the output limit" if answer.finish_reason == "length" else None


# The usual openings of a model that will not answer. Anchored at the start: an answer that quotes
# one of these later on is no refusal.
_REFUSAL = re.compile(
    r"""^[\s"'*]*(?:
        (?:i['’]?m|i\s+am|we\s+are)?\s*(?:very\s+|so\s+|truly\s+)?sorry[,.!\s]+(?:but\s+)?
            (?:i|we|as\s+an)\b.{0,40}?(?:can(?:no|['’])?t|unable|not\s+able|won['’]?t|will\s+not)
      | i\s+(?:can(?:no|['’])t|can\s+not|won['’]t|will\s+not)\s+
            (?:help|assist|answer|provide|fulfil|comply|respond|do\s+that|engage|discuss|create|generate|write|share|give)
      | i(?:['’]m|\s+am)\s+(?:unable|not\s+able|not\s+allowed|not\s+permitted)\s+to
      | i\s+(?:do\s+not|don['’]t)\s+have\s+(?:access|the\s+ability|enough\s+information)
      | i\s+must\s+(?:decline|refuse)
      | as\s+an?\s+(?:ai|artificial|large\s+language|language)\b.{0,60}?
            (?:can(?:no|['’])?t|unable|not\s+able|do\s+not|don['’]t)
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def refusal_phrase(text: str) -> str | None:
    """Return the opening words that make `text` a refusal, or None.

    >>> refusal_phrase("I'm sorry, but I can't help with that.")
    "I'm sorry, but I can't"
    >>> refusal_phrase("Sorry is spelt with two r's.") is None
    True
    """
    found = _REFUSAL.match(text, 0, 400)
    return found.group(0).strip() if found else None


class NotRefusal(_RequestFree):
    """The model did not decline to answer."""

    name = "not_refusal"

    def check(self, request: Request, answer: Answer) -> str | None:
        """Fail on the provider's own refusal, on `content_filter` and on the usual openings."""
        if answer.refusal:
            return "the provider says that the model refused"
        if answer.finish_reason == "content_filter":
            return "stopped by the provider's content filter"
        if answer.text and refusal_phrase(answer.text):
            return "the answer opens like a refusal"
        return None

    check_prefix = check


_OPENS_JSON = '{["-0123456789tfn'
"""What a JSON value can begin with."""


class SchemaGate:
    """Asked-for JSON parses and meets its schema; so do the arguments of tool calls."""

    name = "schema"

    def prepare(self, request: Request) -> None:
        """Compile every schema in the request, so that a bad one fails before a call is paid for."""
        schema = _response_schema(request)
        if schema:
            _compile(schema, "response_format.json_schema.schema")
        for i, parameters in _tool_parameters(request):
            _compile(parameters, f"tools[{i}].function.parameters")

    def check(self, request: Request, answer: Answer) -> str | None:
        """Fail on JSON that does not parse, or a value that does not meet the schema."""
        if request.response_format is None and not answer.tool_calls:
            return None
        if answer.tool_calls:
            return _check_tool_calls(request, answer)
        if request.response_format is None or request.response_format.get("type") not in (
            "json_object",
            "json_schema",
        ):
            return None
        return _check_json(answer.text or "", _response_schema(request), "the answer")

    def check_prefix(self, request: Request, answer: Answer) -> str | None:
        """Fail on a beginning that no JSON has: prose, or a code fence around it."""
        wanted = (request.response_format or {}).get("type")
        may_call = answer.tool_calls or request.tools  # then text is not what is asked for
        if may_call or wanted not in ("json_object", "json_schema"):
            return None
        first = (answer.text or "").lstrip()[:1]
        return "the answer is not valid JSON" if first and first not in _OPENS_JSON else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegexGate(_RequestFree):
    """The answer's text matches a pattern somewhere.

    Attributes:
        pattern: Compiled pattern, searched for.
        name: What attempts call the gate.
    """

    pattern: re.Pattern[str]
    name: str = "regex"

    def check(self, request: Request, answer: Answer) -> str | None:
        """Fail when the pattern is not found."""
        if answer.text is not None and self.pattern.search(answer.text):
            return None
        return f"no match for {self.pattern.pattern!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallableGate(_RequestFree):
    """A function of the user's own decides.

    Attributes:
        function: Called with (request, answer). True or None passes; False fails; a string fails
            with that reason. An exception fails too and names its class: the ladder goes on.
        name: What attempts call the gate.
    """

    function: Callable[[Request, Answer], bool | str | None]
    name: str

    def check(self, request: Request, answer: Answer) -> str | None:
        """Ask the function."""
        try:
            said = self.function(request, answer)
        except Exception as exc:  # noqa: BLE001 - somebody else's code; its failure must not lose the ask
            return f"raised {type(exc).__name__}"
        if said is None or said is True:
            return None
        return said if isinstance(said, str) else "refused"


BUILT_IN_GATES: Mapping[str, Callable[[], Gate]] = {
    "not_empty": NotEmpty,
    "not_truncated": NotTruncated,
    "not_refusal": NotRefusal,
    "schema": SchemaGate,
}
"""Gates that a ladder may name, in the order they run by default."""


def _response_schema(request: Request) -> Mapping[str, Any] | None:
    wanted = request.response_format or {}
    if wanted.get("type") != "json_schema":
        return None
    body = wanted.get("json_schema")
    schema = body.get("schema") if isinstance(body, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def _tool_parameters(request: Request) -> list[tuple[int, Mapping[str, Any]]]:
    found = []
    for i, tool in enumerate(request.tools or ()):
        function = tool.get("function")
        parameters = function.get("parameters") if isinstance(function, Mapping) else None
        if isinstance(parameters, Mapping):
            found.append((i, parameters))
    return found


def _check_tool_calls(request: Request, answer: Answer) -> str | None:
    known = {
        tool["function"].get("name"): tool["function"].get("parameters")
        for tool in request.tools or ()
        if isinstance(tool.get("function"), Mapping)
    }
    for i, call in enumerate(answer.tool_calls):
        function = call.get("function")
        if not isinstance(function, Mapping):
            continue  # a tool kind of the provider's own: passed on untouched
        name, arguments = function.get("name"), function.get("arguments") or "{}"
        if not isinstance(name, str) or (known and name not in known):
            return f"tool_calls[{i}] calls a tool that was not offered"
        if not isinstance(arguments, str):
            return f"the arguments of tool_calls[{i}] are not JSON text"
        reason = _check_json(arguments, known.get(name), f"the arguments of tool_calls[{i}]")
        if reason:
            return reason
    return None


def _check_json(text: str, schema: Mapping[str, Any] | None, what: str) -> str | None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return f"{what} is not valid JSON"
    if schema is None:
        return None
    for error in _compile(schema, "schema").iter_errors(value):
        place = "".join(f"[{p!r}]" for p in error.instance_path) or "the top level"
        return f"{what} does not meet the schema at {place}"
    return None


def _compile(schema: Mapping[str, Any], where: str) -> Any:
    try:
        return _validator(msgspec.json.encode(schema))
    except (ValueError, TypeError, RecursionError) as exc:
        raise RequestError(f"{where}: not a usable JSON Schema ({type(exc).__name__})") from exc


def _refuse_remote(uri: str) -> Any:
    raise ValueError(f"schemas are not fetched: {uri}")


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    import jsonschema_rs  # loaded only where a request brings a schema

    return jsonschema_rs.validator_for(msgspec.json.decode(schema), retriever=_refuse_remote)
