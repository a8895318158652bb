"""Several questions as one message, and what is read out of the reply."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.together import joint_format, joint_max_tokens, put_together, take_apart
from cascade.types import Answer, Message, Request, TokenLogprobs

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def asked(*texts: str, response_format: dict[str, object] | None = None) -> list[Request]:
    return [
        Request(
            messages=(Message(role="user", content=text),),
            response_format=response_format,
        )
        for text in texts
    ]


def read(reply: str, count: int = 3, **more: object) -> list[str | None]:
    """What is read for each question: the answer, or why there is none in brackets."""
    parts = take_apart(
        Answer(text=reply, model="m", **more),  # type: ignore[arg-type]  # fields by name
        asked(*"abcdefgh"[:count]),
    )
    return [f"[{p.why_not}]" if p.answer is None else p.answer.text for p in parts]


OTHERWISE = ["[the answers are numbered otherwise]"] * 3
NOTHING = "[the reply has no answer to it]"
CUT = "[the reply was cut off before it]"


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ('{"1": "x", "2": "y", "3": "z"}', ["x", "y", "z"]),
        ('Sure!\n```json\n{"1": "x", "2": "y", "3": "z"}\n```', ["x", "y", "z"]),
        ('{1: "x", 2: "y", 3: "z"}', ["x", "y", "z"]),
        ('{"1": "x"}\n{"2": "y"}\n{"3": "z"}', ["x", "y", "z"]),
        ('in {braces}: {"3": "z", "1": "x", "2": "y"}', ["x", "y", "z"]),
        ('{"1": 4, "2": true, "3": 2.50}', ["4", "true", "2.50"]),
        ('{"1": "x", "3": "z"}', ["x", NOTHING, "z"]),
        ('{"1": "x", "2": null, "3": ["z"]}', ["x", "[the reply answers it with null]", "[the reply answers it with a list or an object instead of text]"]),
        ('{"1": "x", "2": "y', ["x", CUT, CUT]),
        ('{"1": "x", "2": 12', ["x", CUT, CUT]),
        ('{"0": "x", "1": "y", "2": "z"}', OTHERWISE),
        ('{"1": "x", "2": "y", "3": "z", "4": "?"}', OTHERWISE),
        ('{"1": "x", "answer": "y"}', OTHERWISE),
        ('{"1": "x", "1": "w", "2": "y", "3": "z"}', ["[the reply answers it twice]", "y", "z"]),
        ('{"1": "x", "1": "x", "2": "y", "3": "z"}', ["x", "y", "z"]),
        ('{"1": "\\ud83d", "2": "y", "3": "z"}', ["[the reply answers it with half a character]", "y", "z"]),
        ('["x", "y", "z"]', [NOTHING] * 3),
        ("", [NOTHING] * 3),
        ("1. x\n2. y\n3. z", [NOTHING] * 3),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_reply_is_read_or_it_is_said_why_not(reply: str, wanted: list[str]) -> None:
    """Nothing goes to the wrong question."""
    assert read(reply) == wanted


def test_a_refusal_answers_nothing() -> None:
    """Whatever else the reply holds."""
    assert read('{"1": "x"}', 1, refusal="no") == ["[the model refused]"]


@given(st.lists(TEXTS, min_size=1, max_size=6), st.booleans())
def test_what_is_written_as_numbered_json_is_read_back(texts: list[str], spaced: bool) -> None:
    """Every text, whatever is in it."""
    reply = json.dumps(
        {str(n): text for n, text in enumerate(texts, 1)},
        ensure_ascii=spaced,
        indent=2 if spaced else None,
    )
    assert read(reply, len(texts)) == texts


@given(st.lists(TEXTS, min_size=2, max_size=6), st.integers(0, 400))
def test_a_reply_cut_anywhere_gives_whole_answers_or_none(texts: list[str], length: int) -> None:
    """Never the beginning of one."""
    whole = json.dumps({str(n): text for n, text in enumerate(texts, 1)}, ensure_ascii=False)
    for said, text in zip(read(whole[:length], len(texts)), texts, strict=True):
        assert said in (text, CUT, NOTHING)


@given(st.text(max_size=200))
def test_any_reply_can_be_read(reply: str) -> None:
    """Nothing raises."""
    assert len(read(reply)) == 3


def test_a_line_of_a_question_never_looks_like_the_next_question() -> None:
    """Lines after the first are indented."""
    text = put_together(asked("first\n2. not the second", "second")).content
    assert isinstance(text, str)
    assert "\n   2. not the second" in text
    assert text.count("\n2. ") == 1


def test_each_answer_has_the_log_probabilities_of_its_own_tokens() -> None:
    """Those of the numbers and quotes are nobody's."""
    tokens = ['{"', "1", '":', ' "', "Os", "lo", '",', ' "2', '": "', "7", '"}']
    logprobs = TokenLogprobs(tokens=tokens, logprobs=[-float(i) for i in range(11)])
    reply = Answer(text="".join(tokens), model="m", logprobs=logprobs)
    own = [part.answer for part in take_apart(reply, asked("a", "b"))]
    assert [list(a.logprobs.tokens) for a in own if a and a.logprobs] == [["Os", "lo"], ["7"]]
    assert [list(a.logprobs.logprobs) for a in own if a and a.logprobs] == [[-4, -5], [-9]]


def test_the_quotation_mark_after_an_answer_stands_for_the_token_that_ends_one() -> None:
    """Only where the provider reports such a token, so that confidences are like those alone."""
    tokens = ['{"1": "', "Os", "lo", '", "2": ', "7", "}", ""]
    logprobs = TokenLogprobs(tokens=tokens, logprobs=[-float(i) for i in range(7)])
    reply = Answer(text="".join(tokens), model="m", logprobs=logprobs)
    own = [part.answer for part in take_apart(reply, asked("a", "b"))]
    assert [list(a.logprobs.tokens) for a in own if a and a.logprobs] == [
        ["Os", "lo", '", "2": '],
        ["7", "}"],
    ]


def test_tokens_that_are_not_the_text_belong_to_nobody() -> None:
    """A log without token texts gives none, and it is said why."""
    logprobs = TokenLogprobs(tokens=["", ""], logprobs=[-1.0, -2.0])
    (part,) = take_apart(Answer(text='{"1": "x"}', model="m", logprobs=logprobs), asked("a"))
    assert part.answer is not None
    assert part.answer.logprobs is None
    assert part.why_no_logprobs is not None


def test_a_schema_for_one_answer_becomes_that_of_each() -> None:
    """And the answers are the JSON as the model wrote it."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "one", "schema": schema}}
    requests = asked("a", "b", response_format=wanted)
    joint = joint_format(requests, structured=False)
    assert joint is not None
    assert joint["json_schema"]["schema"]["properties"] == {"1": schema, "2": schema}
    parts = take_apart(Answer(text='{"1": {"n": 1}, "2": {"n": 2 }}', model="m"), requests)
    assert [p.answer.text for p in parts if p.answer] == ['{"n": 1}', '{"n": 2 }']


def test_without_a_schema_json_is_demanded_only_when_wished_for() -> None:
    """Not every provider can."""
    assert joint_format(asked("a"), structured=False) is None
    assert joint_format(asked("a"), structured=True) is not None


def test_the_output_limit_has_room_for_every_answer() -> None:
    """No limit stays no limit."""
    assert joint_max_tokens([None, None], 3) is None
    assert (joint_max_tokens([64, None, 32], 3) or 0) >= 3 * 64
