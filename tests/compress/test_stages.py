"""Deduplication, history, examples, boilerplate and plug-ins: what goes, what stays, what is said."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cascade.compress.plugins as plugins
from cascade.cli.app import app
from cascade.compress import (
    Boilerplate,
    Dedupe,
    Examples,
    History,
    Learned,
    Pipeline,
    Stage,
    load_plugin,
    read_learned,
)
from cascade.compress.learned import passage_digest
from cascade.compress.learning import greedy_examples
from cascade.errors import ConfigError
from cascade.tokens import TokenCounter
from cascade.types import Compressed, Request

from .prompts import chat, content

COUNTER = TokenCounter()
PASSAGE = (
    "The pumping station was built by the town and is kept up by a cooperative of nine farmers."
)


def run(request: Request, *stages: Stage) -> Compressed:
    """What the stages make of a request."""
    return Pipeline(stages, COUNTER).compress(request, model="gpt-4o")


def test_a_passage_that_was_said_before_goes_from_later_messages() -> None:
    """The first place stays, the second is marked, and the report counts it."""
    request = chat(
        ("user", f"{PASSAGE}\n\nFirst."),
        ("assistant", "Yes."),
        ("user", f"{PASSAGE}\n\nSecond."),
        ("user", "Why?"),
    )
    done = run(request, Dedupe())
    assert content(done.request, 0) == f"{PASSAGE}\n\nFirst."
    assert content(done.request, 2) == "[as above]\n\nSecond."
    assert done.stages[0].removed == "1 repeated passages"


def test_code_that_is_repeated_stays() -> None:
    """A block of code is not touched, even the second time."""
    code = "```\n" + "x = 1  # a line of code that is long enough\n" * 4 + "```"
    request = chat(("user", f"{code}\n\nOne."), ("user", f"{code}\n\nTwo."), ("user", "Why?"))
    assert run(request, Dedupe()).request is request


@pytest.mark.parametrize(
    ("second", "goes"),
    [
        (PASSAGE.replace("The pumping", "This pumping"), True),
        (PASSAGE.replace("nine", "9"), False),
        (PASSAGE.replace("is kept", "is not kept"), False),
        (PASSAGE.replace("the town", "Harlow"), False),
    ],
)
def test_a_near_duplicate_goes_only_if_it_says_the_same(second: str, goes: bool) -> None:
    """Another number, name or negation makes it another passage."""
    more = " It has stood there ever since, and nobody has ever complained about it in any way."
    request = chat(("user", PASSAGE + more), ("user", second + more), ("user", "Why?"))
    done = run(request, Dedupe(near=True))
    assert (done.request is not request) is goes


def test_the_oldest_turns_go_and_the_rest_is_whole() -> None:
    """Instructions and the last turns stay; what was left out is marked."""
    turns = [(role, f"{role} {i}") for i in range(8) for role in ("user", "assistant")]
    request = chat(("system", "Be brief."), *turns, ("user", "Why?"))
    done = run(request, History(turns=2))
    texts = [m.content for m in done.request.messages]
    assert texts == [
        "Be brief.",
        "[7 earlier turns left out]\n\nuser 7",
        "assistant 7",
        "Why?",
    ]
    assert done.stages[0].removed == "7 of the oldest turns"


def test_an_old_turn_keeps_what_is_protected_in_it() -> None:
    """A turn with code is cut down to it, and its messages stay in their order."""
    request = chat(
        ("user", "Look at this. It is odd. ```x  =  1``` What do you say of it?"),
        ("assistant", "Nothing at all. " * 5),
        ("user", "Fine."),
        ("assistant", "Yes."),
        ("user", "Why?"),
    )
    done = run(request, History(turns=1))
    assert [m.role for m in done.request.messages] == ["user", "assistant", "user"]
    assert "```x  =  1```" in content(done.request, 0)
    assert content(done.request, 1) == "[…]"


def test_with_a_budget_only_as_many_turns_go_as_must() -> None:
    """The newest of the old turns stay when the prompt fits without the oldest."""
    turns = [(role, "word " * 50) for _ in range(8) for role in ("user", "assistant")]
    done = run(chat(*turns, ("user", "Why?")), History(turns=1, budget=500))
    assert 400 < (done.compression.tokens_after or 0) <= 520


FRUIT = ("apple", "pear", "plum", "cherry", "grape", "lemon")
SHOTS = "".join(f"Q: Is a {fruit} a fruit?\nA: Yes, a {fruit} is.\n\n" for fruit in FRUIT)


def test_the_nearest_examples_of_a_text_are_kept() -> None:
    """Of examples in the prompt's text those most like the question stay."""
    text = f"Answer as in the examples.\n\n{SHOTS}{'Some filler. ' * 30}\n\nQ: Is a sour cherry a fruit?\nA:"
    done = run(chat(("user", text)), Examples(keep=2))
    left = content(done.request)
    assert "Is a cherry a fruit?" in left
    assert left.count("Q: Is a") == 3
    assert left.endswith("Q: Is a sour cherry a fruit?\nA:")
    assert done.stages[0].removed == "4 of 6 examples"


def test_the_nearest_examples_of_a_chat_are_kept() -> None:
    """Examples as turns of a chat go in pairs."""
    shots = [t for fruit in FRUIT for t in (("user", f"Is a {fruit} sour?"), ("assistant", "No."))]
    request = chat(("system", "Say yes or no."), *shots, ("user", "Is a green lemon sour?"))
    done = run(request, Examples(keep=1))
    assert [m.content for m in done.request.messages] == [
        "Say yes or no.",
        "Is a lemon sour?",
        "No.",
        "Is a green lemon sour?",
    ]


def test_an_example_with_something_protected_stays_unless_whole_ones_may_go() -> None:
    """Quotations in examples are not cut by default."""
    quoted = SHOTS.replace("Yes, a plum is", 'Yes, "a  plum" is')
    text = f"{quoted}{'Some filler. ' * 30}\n\nQ: Is a sour cherry a fruit?\nA:"
    assert '"a  plum"' in content(run(chat(("user", text)), Examples(keep=1)).request)
    done = run(chat(("user", text)), Examples(keep=1, whole=True))
    assert '"a  plum"' not in content(done.request)


def test_examples_that_cover_the_questions_are_learned() -> None:
    """Of two alike one goes; what is asked most is covered."""
    examples = ["how do I pay my bill", "how can I pay my bill", "where is the garden", "zebra"]
    questions = ["pay the bill"] * 5 + ["the garden gate"] * 3
    left = greedy_examples(examples, questions, [1.0] * 8, 2)
    assert len([e for e in left if "bill" in e]) == 1
    assert "where is the garden" in left


def test_known_boilerplate_is_kept_once() -> None:
    """A short line that most prompts have goes where it stands a second time."""
    line = "You talk with ACME."
    known = Learned(schema=1, prompts=30, boilerplate={"acme": frozenset([passage_digest(line)])})
    request = chat(("user", f"{line}\nHello."), ("user", f"{line}\nAgain."), ("user", "Why?"))
    pipeline = Pipeline([Boilerplate(known)], COUNTER)
    done = pipeline.compress(request, tenant="acme").request
    assert [m.content for m in done.messages] == [f"{line}\nHello.", "[as above]\nAgain.", "Why?"]
    assert pipeline.compress(request, tenant="other").request is request


def test_a_log_teaches_lines_and_examples(tmp_path: Path) -> None:
    """`cascade compress --learn` writes what the stages read, without any text of a prompt."""
    rows = [
        {
            "prompt": f"Read  the manual first.\n\n{SHOTS}{'Some filler. ' * 30}\n\nQ: Is a {i} melon a fruit?\nA:",
            "responses": [],
        }
        for i in range(30)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = CliRunner().invoke(
        app,
        [
            "compress",
            str(tmp_path / "log.jsonl"),
            "--learn",
            "--keep",
            "2",
            "-o",
            str(tmp_path / "l.json"),
        ],
    )
    assert done.exit_code == 0, done.exception
    assert "manual" not in (tmp_path / "l.json").read_text()
    learned = read_learned(tmp_path / "l.json")
    assert passage_digest("Read the manual first.") in learned.of_tenant(None)
    assert len(learned.examples) == 2
    text = f"{SHOTS}{'Some filler. ' * 30}\n\nQ: Is a melon a fruit?\nA:"
    left = content(run(chat(("user", text)), Examples(learned=learned)).request)
    assert left.count("Q: Is a") == 3


class Halving:
    """A plug-in that keeps the first half of every text."""

    name = "halving"
    version = "1"

    def __init__(self, *, fail: bool = False) -> None:
        self._fail = fail

    def compress(self, text: str, *, question: str | None, budget: int | None) -> str:
        """Return half of it."""
        assert "`" not in text
        if self._fail:
            raise ZeroDivisionError
        return text[: len(text) // 2]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package offers the plug-in under its entry point."""
    point = EntryPoint("halving", f"{__name__}:Halving", plugins.COMPRESSOR_GROUP)
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [point] if group == point.group else []
    )


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize("options", [{}, {"fail": True}])
def test_a_plug_in_is_given_only_what_is_not_protected(options: dict[str, Any]) -> None:
    """It shortens the gaps; if it fails, they stay and the note says so."""
    text = "word " * 100 + "`a  b`" + " other" * 100
    request = chat(("user", text), ("user", "Why?"))
    done = run(request, load_plugin("halving", options))
    assert "`a  b`" in content(done.request)
    assert (len(content(done.request)) < len(text)) is not bool(options)
    assert ("halving failed (ZeroDivisionError)" in done.compression.note) is bool(options)


@pytest.mark.usefixtures("offered")
def test_a_plug_in_that_nobody_offers_is_told() -> None:
    """The message says which there are."""
    with pytest.raises(ConfigError, match="allowed: halving"):
        load_plugin("llmlingua", {})
    with pytest.raises(ConfigError, match="cannot be made"):
        load_plugin("halving", {"unknown": 1})
