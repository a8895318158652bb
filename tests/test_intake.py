"""What `ask` takes, and what it refuses before anything is spent."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cascade.errors import RequestError
from cascade.intake import check_labels, make_demand, make_request
from cascade.types import Message

BAD_PROMPTS: list[tuple[str, Any, str]] = [
    ("empty text", "", "prompt: empty"),
    ("blank text", " \n\t", "prompt: empty"),
    ("no messages", [], "messages: empty"),
    ("bytes", b"hello", "prompt: bytes given"),
    ("a number", 7, "prompt: int given"),
    ("unknown role", [{"role": "wizard", "content": "x"}], r"messages\[0\].role: 'wizard' given"),
    ("no role", [{"content": "x"}], r"messages\[0\].role: missing; allowed: system"),
    ("empty user message", [{"role": "user", "content": ""}], r"messages\[0\].content: empty"),
    ("no parts", [{"role": "user", "content": []}], r"messages\[0\].content: empty"),
    ("None from a user", [{"role": "user", "content": None}], r"messages\[0\].content: None"),
    ("a part of text", [{"role": "user", "content": ["x"]}], r"content\[0\]: str given"),
    ("number content", [{"role": "user", "content": 3}], r"messages\[0\].content: int given"),
    ("message of text", ["hi"], r"messages\[0\]: str given"),
    ("lone surrogate", "a\ud800b", r"prompt: lone surrogate U\+D800 at character 1"),
    (
        "lone surrogate in a part",
        [{"role": "user", "content": [{"type": "text", "text": "\udfff"}]}],
        r"messages\[0\].content\[0\].text: lone surrogate U\+DFFF at character 0",
    ),
]


@pytest.mark.parametrize(
    ("prompt", "message"), [p[1:] for p in BAD_PROMPTS], ids=[p[0] for p in BAD_PROMPTS]
)
def test_a_bad_prompt_is_refused_with_its_place(prompt: Any, message: str) -> None:
    """Each names the argument, what was given and what is allowed; never the text."""
    with pytest.raises(RequestError, match=message):
        make_request(prompt)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", "hot"),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("tools", "search"),
        ("tools", [1]),
        ("stop", 5),
        ("stop", [5]),
        ("seed", "x"),
        ("seed", True),
        ("temperature", 10**400),
        ("response_format", "json"),
    ],
)
def test_a_bad_request_option_is_refused(option: str, value: Any) -> None:
    """The message begins with the option's name."""
    with pytest.raises(RequestError, match=rf"^{option}[:\[]"):
        make_request("x", **{option: value})


@pytest.mark.parametrize("name", ["messages", "model", "stream"])
def test_what_the_engine_sets_itself_cannot_be_given_beside_it(name: str) -> None:
    """An extra field must not replace what was asked."""
    with pytest.raises(RequestError, match=f"^{name}: "):
        make_request("x", extra={name: "y"})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("min_confidence", -0.1),
        ("min_confidence", 1.1),
        ("min_confidence", math.nan),
        ("max_cost_usd", -1),
        ("max_cost_usd", math.inf),
        ("deadline_s", 0),
        ("deadline_s", -5),
        ("deadline_s", True),
    ],
)
def test_a_bad_demand_is_refused(option: str, value: Any) -> None:
    """NaN, infinities and booleans are not numbers here."""
    with pytest.raises(RequestError, match=f"^{option}: "):
        make_demand(**{option: value})


def test_nul_and_ten_megabytes_are_passed_on() -> None:
    """Text that can be sent is sent as it is."""
    text = "\x00é" + "x" * 10_000_000
    assert make_request(text).prompt == text


def test_tool_results_and_tool_calls_may_be_empty() -> None:
    """An assistant that only calls tools has no content; a tool may return nothing."""
    request = make_request(
        [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            {"role": "tool", "content": "", "tool_call_id": "1"},
        ]
    )
    assert request.messages[1].extra == {"tool_calls": [{"id": "1"}]}
    assert request.prompt == "weather?"


def test_the_prompt_is_the_last_user_text() -> None:
    """Content parts are joined; a chat without a user has no prompt."""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert make_request([{"role": "user", "content": parts}]).prompt == "a\nb"
    assert make_request(Message(role="system", content="be brief")).prompt == ""


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": "x\ud800"}, r"metadata\['a'\]: lone surrogate U\+D800 at character 1"),
        (
            {"a": {"b": ["ok", ("\udfff",)]}},
            r"metadata\['a'\]\['b'\]\[1\]\[0\]: lone surrogate U\+DFFF",
        ),
        ({"a": {"\ud800": 1}}, r"a key of metadata\['a'\]: lone surrogate"),
        ("text", "metadata: str given"),
    ],
)
def test_metadata_that_no_record_can_hold_is_refused_with_its_place(
    metadata: Any, message: str
) -> None:
    """Else the record would be written without it."""
    with pytest.raises(RequestError, match=f"^{message}"):
        check_labels("tenant", metadata)


def test_metadata_of_any_depth_is_taken() -> None:
    """Even a mapping that holds itself ends, as the log copes with it."""
    metadata: dict[str, Any] = {"é": ["ü", 1, None, {"x": 0.5}]}
    metadata["self"] = metadata
    check_labels(None, metadata)
