"""Extraction by the question: the budget holds, and what must be kept is."""

from __future__ import annotations

import pytest

from cascade.compress import Extract, Pipeline
from cascade.compress.anchors import anchor_pattern, anchors
from cascade.errors import RequestError
from cascade.types import Compressed

from .prompts import chat, content

FILLER = [
    f"The {thing} was repainted in spring, and nobody in the {place} said a word about it."
    for thing in ("bench", "gate", "fence", "lamp", "kiosk", "bridge", "shed", "stairway")
    for place in ("village", "harbour", "valley", "suburb", "station", "market", "school", "park")
]
NEEDLE = "The pumping station is kept up by a cooperative of nine farmers."
QUESTION = "Question: Who keeps up the pumping station?"


def compressed(
    *more: str, budget: int = 400, question: str = QUESTION, **options: object
) -> Compressed:
    """A long context with the needle in the middle, cut down to a budget."""
    half = len(FILLER) // 2
    context = [*FILLER[:half], NEEDLE, *more, *FILLER[half:]]
    request = chat(("system", "Answer  briefly."), ("user", "\n\n".join([*context, question])))
    stage = Extract(budget, **options)  # type: ignore[arg-type]
    return Pipeline([stage]).compress(request, model="gpt-4o")


def test_the_sentence_that_answers_is_kept_within_the_budget() -> None:
    """What has to do with the question survives a cut to a quarter, in its place and marked."""
    done = compressed()
    text = content(done.request, 1)
    assert NEEDLE in text
    assert done.compression.tokens_before is not None
    assert done.compression.tokens_before > 1_200
    assert done.compression.tokens_after is not None
    assert done.compression.tokens_after <= 400
    assert text.startswith(FILLER[0])
    assert text.endswith(QUESTION)
    assert FILLER[-1] in text
    assert "[…]" in text
    kept = [line for line in FILLER if line in text]
    assert kept == [line for line in FILLER if line in kept]


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("Question: What happened in 1987?", "Nothing but rain fell in the summer of 1987."),
        ("Question: What did Ada Lovelace think?", "In a letter, Lovelace disagreed with all."),
        (
            'Question: Where does "red herring" come from?',
            "Some say red herring was a sailors' dish.",
        ),
        ("問題：アベノミクスとは何ですか？", "政府はアベノミクスと呼ばれる政策を発表した。"),
    ],
)
def test_what_shares_a_number_a_name_or_a_quotation_is_kept(question: str, sentence: str) -> None:
    """Anchors of the question keep a sentence whatever its rank."""
    assert sentence in content(compressed(sentence, budget=300, question=question).request, 1)


@pytest.mark.parametrize("text", ["in 1987", "87.5 %", "3.141", "x87", "13"])
def test_a_number_inside_of_a_longer_one_is_another_number(text: str) -> None:
    """87 is not in 1987, nor 3 in 3.5."""
    pattern = anchor_pattern(anchors("What about 87 and 3?"))
    assert pattern is not None
    assert pattern.search(text) is None


def test_protected_text_is_kept_even_where_its_sentence_is_not() -> None:
    """A quotation in a sentence of no interest stays, byte for byte."""
    odd = 'Elsewhere a man shouted "oh  my  boots" at a passing cloud, and went on his way.'
    text = content(compressed(odd, budget=300).request, 1)
    assert '"oh  my  boots"' in text


def test_a_budget_below_what_must_be_kept_passes_the_prompt_through_and_says_so() -> None:
    """By default such a prompt is sent as it is, and the note says why."""
    fence = "```\n" + "x = 1\n" * 400 + "```"
    done = compressed(fence)
    assert done.compression.tokens_after is None
    assert "over the budget of 400" in done.compression.note
    assert fence in content(done.request, 1)


def test_a_budget_below_what_must_be_kept_is_refused_if_so_set() -> None:
    """With `when_over: refuse` it is an error that tells both numbers."""
    with pytest.raises(
        RequestError,
        match=r"extract: what must be kept is about 1,\d\d\d tokens, over the budget of 400; about .* must not change, most of it in messages",
    ):
        compressed("```\n" + "x = 1\n" * 400 + "```", when_over="refuse")


def test_closest_lets_go_of_names_but_never_of_protected_text() -> None:
    """Where a name is everywhere, `closest` keeps the most relevant of what holds it."""
    named = [f"{line[:-1]}, as Harlow put it." for line in FILLER]
    question = "Question: Who keeps up the pumping station at Harlow?"
    passed = compressed(*named, budget=500, question=question)
    assert passed.compression.tokens_after is None
    done = compressed(*named, budget=500, question=question, when_over="closest")
    assert done.compression.tokens_after is not None
    assert done.compression.tokens_after <= 500
    assert NEEDLE in content(done.request, 1)


def test_without_a_question_what_is_closest_to_the_whole_is_kept() -> None:
    """A prompt that ends in a wall of text has no question; the note says so."""
    wall = " ".join(FILLER * 2)
    done = Pipeline([Extract(400)]).compress(chat(("user", wall)), model="gpt-4o")
    assert done.compression.tokens_after is not None
    assert done.compression.tokens_after <= 400
    assert "no question" in done.compression.note


def test_a_prompt_within_the_budget_is_left_alone() -> None:
    """Nothing is cut that fits."""
    request = chat(("user", "\n\n".join([*FILLER, QUESTION])))
    assert Pipeline([Extract(5_000)]).compress(request).request is request


def test_a_budget_must_be_positive() -> None:
    """Zero tokens is no budget."""
    with pytest.raises(ValueError, match="budget: 0 given; allowed: a number of tokens >= 1"):
        Extract(0)


def test_a_last_paragraph_that_asks_nothing_does_not_keep_all_that_shares_a_name_with_it() -> None:
    """A document without a question comes within its budget, and its last paragraph stays."""
    pages = [f"Warehouse {i} holds boxes that Bob brought there last week." for i in range(200)]
    request = chat(("user", "\n\n".join(pages)))
    done = Pipeline([Extract(300)]).compress(request, model="gpt-4o")
    assert done.compression.tokens_after is not None
    assert done.compression.tokens_after <= 300
    assert content(done.request, 0).endswith(pages[-1])


def test_what_stays_as_it_is_is_counted_when_that_is_wanted() -> None:
    """Tokens before and after, and every stage."""
    request = chat(("user", "Who keeps up the pumping station?"))
    plain = Pipeline([Extract(300)]).compress(request, model="gpt-4o")
    counted = Pipeline([Extract(300)]).compress(request, model="gpt-4o", count_unchanged=True)
    assert plain.compression.tokens_before is None
    assert counted.compression.tokens_before == counted.compression.tokens_after == 7
    assert [stage.name for stage in counted.compression.stages] == ["extract"]
