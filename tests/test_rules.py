"""Hard gates: what an answer must be before it is scored."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.errors import RequestError
from cascade.intake import make_request
from cascade.rules import (
    BUILT_IN_GATES,
    CallableGate,
    NotEmpty,
    NotRefusal,
    NotTruncated,
    RegexGate,
    SchemaGate,
    failed_gates,
    prefix_failures,
    refusal_phrase,
)
from cascade.testing import reply
from cascade.types import Answer, Message, Request

ASK = make_request("x")
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "n",
        "schema": {
            "type": "object",
            "properties": {"n": {"type": "integer"}},
            "required": ["n"],
        },
    },
}


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with this request.",
        "Sorry, I cannot provide that.",
        "I cannot assist with creating malware.",
        "I am unable to browse the internet.",
        "As an AI language model, I do not have opinions.",
        "I must decline this one.",
        "I don't have access to real-time data.",
    ],
)
def test_refusals_are_recognised(text: str) -> None:
    """The usual openings of a model that will not answer."""
    assert NotRefusal().check(ASK, reply(text)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "Paris.",
        "I can't believe it is 42, but it is.",
        "The sentence \"I'm sorry, but I can't\" is an apology.",
        "Sorry is spelt s-o-r-r-y.",
        "I am able to confirm that the answer is 7.",
        "As an example, take x = 3.",
    ],
)
def test_answers_are_not_taken_for_refusals(text: str) -> None:
    """A refusal opens the answer; a quotation of one does not count."""
    assert refusal_phrase(text) is None


def test_the_providers_own_refusal_counts() -> None:
    """The refusal field and the content filter."""
    gate = NotRefusal()
    assert gate.check(ASK, reply(None, refusal="no")) is not None
    assert gate.check(ASK, reply("Fine", finish_reason="content_filter")) is not None


@pytest.mark.parametrize(
    ("answer", "passes"),
    [(reply(""), False), (reply(" \n"), False), (reply(None), False), (reply("0"), True)],
)
def test_not_empty(answer: Answer, passes: bool) -> None:
    """White space is nothing; a tool call is something."""
    assert (NotEmpty().check(ASK, answer) is None) is passes
    assert NotEmpty().check(ASK, reply(None, tool_calls=[{"id": "1"}])) is None


def test_not_truncated() -> None:
    """Finish reason `length` means that the end is missing."""
    assert NotTruncated().check(ASK, reply("x", finish_reason="length")) is not None
    assert NotTruncated().check(ASK, reply("x", finish_reason=None)) is None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"n": 3}', None),
        ('{"n": "3"}', "does not meet the schema at ['n']"),
        ("{}", "does not meet the schema at the top level"),
        ('{"n": 3', "is not valid JSON"),
        ('```json\n{"n": 3}\n```', "is not valid JSON"),
        ('{"n": NaN}', "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
    ],
)
def test_json_must_meet_its_schema(text: str, wrong: str | None) -> None:
    """The reason names the place, not the value."""
    request = make_request("x", response_format=SCHEMA)
    said = SchemaGate().check(request, reply(text))
    assert said is None if wrong is None else (said is not None and wrong in said)


def test_json_object_needs_only_to_parse() -> None:
    """Without a schema any JSON will do; plain text asks need none."""
    request = make_request("x", response_format={"type": "json_object"})
    assert SchemaGate().check(request, reply("[1]")) is None
    assert SchemaGate().check(request, reply("one")) is not None
    assert SchemaGate().check(ASK, reply("one")) is None


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "required": ["city"]},
        },
    }
]


def call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("tool_call", "wrong"),
    [
        (call("weather", '{"city": "Oslo"}'), None),
        (call("weather", "{}"), "arguments of tool_calls[0] does not meet"),
        (call("weather", '{"city":'), "arguments of tool_calls[0] is not valid JSON"),
        (call("launch", "{}"), "calls a tool that was not offered"),
        ({"id": "1", "type": "custom"}, None),
        ({"function": {"name": "weather", "arguments": {"city": "Oslo"}}}, "are not JSON text"),
        ({"function": {"name": ["weather"], "arguments": "{}"}}, "was not offered"),
    ],
)
def test_tool_arguments_must_meet_the_tools_schema(
    tool_call: dict[str, Any], wrong: str | None
) -> None:
    """A call that nobody could execute escalates."""
    request = make_request("x", tools=TOOLS)
    said = SchemaGate().check(request, reply(None, tool_calls=[tool_call]))
    assert said is None if wrong is None else (said is not None and wrong in said)


@pytest.mark.parametrize(
    "schema",
    [{"type": "nonsense"}, {"$ref": "http://192.0.2.1/schema"}, {"$ref": "file:///etc/passwd"}],
)
def test_a_schema_that_cannot_be_used_is_refused_before_any_call(schema: dict[str, Any]) -> None:
    """Remote references are never fetched."""
    bad = {"type": "json_schema", "json_schema": {"schema": schema}}
    with pytest.raises(RequestError, match=r"response_format.json_schema.schema: not a usable"):
        SchemaGate().prepare(make_request("x", response_format=bad))


def test_users_own_gates() -> None:
    """A pattern, and a function that may fail in its own way."""
    digits = RegexGate(pattern=re.compile(r"\d"))
    assert digits.check(ASK, reply("7")) is None
    assert digits.check(ASK, reply("seven")) == r"no match for '\\d'"

    def polite(request: Request, answer: Answer) -> str | None:
        return None if "please" in (answer.text or "") else "not polite"

    def broken(request: Request, answer: Answer) -> bool:
        raise KeyError("secret")

    assert CallableGate(function=polite, name="polite").check(ASK, reply("please")) is None
    assert CallableGate(function=polite, name="polite").check(ASK, reply("now")) == "not polite"
    assert CallableGate(function=lambda r, a: False, name="no").check(ASK, reply("x")) == "refused"
    assert CallableGate(function=broken, name="b").check(ASK, reply("x")) == "raised KeyError"


def test_every_failed_gate_is_named() -> None:
    """The first to fail does not hide the others."""
    gates = [make() for make in BUILT_IN_GATES.values()]
    failed = failed_gates(gates, ASK, reply("", finish_reason="length"))
    assert [f.partition(":")[0] for f in failed] == ["not_empty", "not_truncated"]


@pytest.mark.parametrize(
    ("text", "fails"),
    [("Sure, here", True), ("```json", True), ('  {"a"', False), ("", False), ("tru", False)],
)
def test_what_cannot_become_json_is_known_by_its_beginning(text: str, fails: bool) -> None:
    """Whatever follows; and nothing is said where no JSON was asked for."""
    messages = (Message(role="user", content="?"),)
    wanted = Request(messages=messages, response_format={"type": "json_object"})
    answer = Answer(text=text, model="m")
    found = prefix_failures([SchemaGate()], wanted, answer)
    assert bool(found) == fails
    assert prefix_failures([SchemaGate()], Request(messages=messages), answer) == ()


@given(st.text(max_size=30), st.text(max_size=30))
def test_what_a_beginning_fails_the_whole_fails(beginning: str, rest: str) -> None:
    """A gate that ends a draft early would have refused the answer."""
    request = Request(
        messages=(Message(role="user", content="?"),), response_format={"type": "json_object"}
    )
    gates = [make() for make in BUILT_IN_GATES.values()]
    early = prefix_failures(gates, request, Answer(text=beginning, model="m"))
    whole = failed_gates(gates, request, Answer(text=beginning + rest, model="m"))
    assert {f.partition(":")[0] for f in early} <= {f.partition(":")[0] for f in whole}
