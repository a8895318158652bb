"""What must not change never does, whatever the text, for every stage by itself and all in a row."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.compress import (
    Boilerplate,
    Dedupe,
    Examples,
    Extract,
    History,
    Learned,
    Minify,
    Pipeline,
    Stage,
)
from cascade.compress.boilerplate import lines_of
from cascade.compress.learned import passage_digest
from cascade.compress.protected import read_layout
from cascade.tokens import TokenCounter
from cascade.types import Message, Request

FILLER = (
    "The bench was painted  again in spring, and nobody said a word about it. ",
    "A long  walk by the river is  what the doctor ordered for all of us.\n",
    "Es war einmal ein Müller,   der hatte drei Söhne und eine Mühle. ",
    "これは橋についての長い文章です。誰も何も言いませんでした。",
    "هذا نص طويل عن الجسر القديم، ولم يقل أحد شيئا عنه. ",
    "นี่คือข้อความยาวเกี่ยวกับสะพานเก่าและไม่มีใครพูดอะไร ",
    "Cafe\u0301 and n\u0303 and 👩‍👩‍👧 and 🏳️‍🌈 went  home.   \n",
    "\n\n\n\n",
    "Q: What is two and two?\nA: Four.\n\n",
    "- a point that is made in a list\n",
    "Heading of a part:\n",
)
PROTECTED = (
    "```python\nx  =  1   \n\n\n\ny = {'a':  2}\n```",
    "~~~\nraw   text\n~~~",
    "`inline   code`",
    '"quoted   words that are nobody else\'s"',
    "“curly   quotation”",
    "«guillemets   too»",
    "「引用  です」",
    "https://example.org/a?b=c&d=%20e#f",
    "www.example.org/path",
    "![alt  text](images/plan.png)",
    "> quoted   by mail",
    "name     age\nbob       12\nal        13",
    "a\tb\tc\n1\t2\t3",
    "x,y,z\n1,2,3\n4,5,6",
    "    indented = code(  1 )",
    "def f(a,  b):\n    return a  +  b",
)
QUESTIONS = (
    "Question: What is  said of 1987?",
    "問題：橋は どうなりましたか？",
    "Why?",
    'Is it "red  tape"?',
)

COUNTER = TokenCounter()
"""One for all: it reads the vocabulary once."""

stages = st.sampled_from(
    [
        [Minify()],
        [Dedupe()],
        [Dedupe(near=True, min_chars=20)],
        [Extract(60, when_over="closest")],
        [Extract(200)],
        [History(turns=1)],
        [Examples(keep=1)],
        [
            Minify(),
            Dedupe(near=True),
            History(turns=2),
            Examples(keep=2),
            Extract(120, when_over="closest"),
        ],
    ]
)
pieces = st.lists(
    st.one_of(st.sampled_from(FILLER), st.sampled_from(PROTECTED).map(lambda p: f"\n\n{p}\n\n")),
    max_size=30,
)
anything = st.text(
    alphabet=st.one_of(
        st.sampled_from(
            list(
                "`~\"'|<>{}[]()#:;,.!?*-_=/\\ \t\n\r\u200d\ufe0f\u0301\u202e“”«»。！？abcABC0123456789"
            )
        ),
        st.characters(),
    ),
    max_size=400,
)


def texts(request: Request) -> list[str]:
    """Every text of a request."""
    return [m.content for m in request.messages if isinstance(m.content, str)]


def compressed(messages: Sequence[tuple[str, str]], stages: list[Stage]) -> Request:
    """What the stages make of a chat."""
    request = Request(messages=tuple(Message(role=r, content=t) for r, t in messages))
    return Pipeline(stages, COUNTER).compress(request, model="gpt-4o").request


@given(first=pieces, second=pieces, question=st.sampled_from(QUESTIONS), stages=stages)
@settings(max_examples=100, deadline=None)
def test_what_is_protected_is_in_the_output_byte_for_byte(
    first: list[str], second: list[str], question: str, stages: list[Stage]
) -> None:
    """Planted code, quotations, addresses, tables, the instructions and the question survive every stage."""
    system = "Be  brief.   \n\n\n\nAlways."
    before = [("system", system), ("user", "".join(first)), ("assistant", "Well,  yes.")]
    asked = f"{''.join(second)}\n\n{question}"
    request = compressed([*before, ("user", asked)], stages)
    whole = "\n".join(texts(request))
    assert texts(request)[0] == system
    assert request.messages[-1].role == "user"
    assert texts(request)[-1].endswith(question)
    planted = {p for p in PROTECTED for text in ("".join(first), asked) if f"\n\n{p}\n\n" in text}
    missing = [p for p in planted if p not in whole]
    assert missing == []


@given(text=anything, more=anything, stages=stages)
@settings(max_examples=200, deadline=None)
def test_nothing_raises_and_every_span_that_is_found_stays(
    text: str, more: str, stages: list[Stage]
) -> None:
    """Of any text at all, what the finder calls untouchable is in the output, and the output is text."""
    request = compressed(
        [("user", text), ("assistant", more), ("user", f"{text}\n\n{more}\n\nWhy?")], stages
    )
    whole = "\x00".join(texts(request))
    assert whole.encode("utf-8", "surrogatepass")
    for source in (text, more):
        for begin, end in read_layout(source).atoms:
            assert source[begin:end] in whole


@given(
    rows=st.lists(
        st.tuples(st.integers(), st.floats(allow_nan=False), st.text("abc \t", max_size=8)),
        min_size=2,
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_the_numbers_of_a_pipe_table_stay(rows: list[tuple[int, float, str]]) -> None:
    """Only padding around cells goes; every row keeps its cells, in order."""
    lines = [f"|  {i}   | {x!r:>24} | {s.strip()}  |" for i, x, s in rows]
    table = "\n".join(["| a | b | c |", "|------|:-----:|----|", *lines])
    filler = FILLER[0] * 10
    (text,) = texts(compressed([("user", f"{filler}\n\n{table}\n\n{filler}\n\nWhy?")], [Minify()]))
    for i, x, s in rows:
        assert re.search(
            rf"\|{re.escape(str(i))}\|{re.escape(repr(x))}\|{re.escape(s.strip())}", text
        ) or ("  " in s.strip() or "\t" in s.strip())


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=st.dictionaries(st.text(max_size=6), json_values, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_json_keeps_its_meaning(value: dict[str, object]) -> None:
    """Re-serialised JSON is the same value, with the same strings and numbers to the byte."""
    import json

    written = json.dumps(value, indent=4, ensure_ascii=False)
    filler = FILLER[0] * 10
    (text,) = texts(
        compressed([("user", f"{filler}\n\n{written}\n\n{filler}\n\nWhy?")], [Minify()])
    )
    tight = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert f"\n\n{tight}\n\n" in text


@given(lines=st.lists(st.sampled_from(FILLER), max_size=20))
@settings(max_examples=60, deadline=None)
def test_boilerplate_is_kept_once(lines: list[str]) -> None:
    """Every known line is still there, and not twice."""
    known = frozenset(passage_digest(line) for line in FILLER)
    stage = Boilerplate(Learned(schema=1, prompts=9, boilerplate={"*": known}))
    text = "\n".join(lines)
    request = compressed([("user", text), ("user", "Why?")], [stage])
    after = texts(request)[0]
    for begin, end in lines_of(text):
        if end - begin >= 12:
            assert text[begin:end].strip() in after


@pytest.mark.parametrize(
    "unit",
    [
        "word ", "`", "```\n", '"', "a" * 7, "[", '{"a": ', "|", "| a |\n", "    x = 1\n", "\n", " ", "日本。",
        "👩‍👩‍👧", "e\u0301", "http://a.b/", "1,2,3\n", "<table>", "a  b\n", "Q: x\nA: y\n\n", "- item\n", "\r\n", "> ", "(",
    ],
)  # fmt: skip
def test_two_megabytes_of_anything_are_done_in_time(unit: str) -> None:
    """No scan is quadratic: long texts of one thing finish, and nothing raises."""
    text = unit * (2_000_000 // len(unit))
    stages: list[Stage] = [Minify(), Dedupe(), Examples(), Extract(1_000, when_over="closest")]
    assert compressed([("user", text), ("user", "Why?")], stages)


def test_ten_megabytes_of_prose_are_done() -> None:
    """The largest prompt that is asked for comes out within its budget."""
    text = "".join(f"The {i}th bench of row {i % 97} was painted blue. " for i in range(200_000))
    request = compressed(
        [("user", text), ("user", "Which bench is in row 96?")],
        [Minify(), Extract(5_000, when_over="closest")],
    )
    assert len(text) > 9_000_000
    assert len(texts(request)[0]) < 30_000


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_no_normal_form_is_changed_into_another(form: str) -> None:
    """Letters come out in the form in which they went in."""
    import unicodedata

    text = unicodedata.normalize(form, "Cafe\u0301  Ångström  ﬁn ½ Ǆ 가각  ") * 40  # type: ignore[arg-type]
    (after, _) = texts(compressed([("user", text), ("user", "Why?")], [Minify()]))
    assert after.replace(" ", "") == text.replace(" ", "")
