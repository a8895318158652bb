"""Logs as arrays: streaming, sampling, prices, digests."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.errors import ScorerError
from cascade.records import Response, TrafficRow
from scorers.dataset import collect, read_dataset, row_key
from scorers.features import OWN_NAMES, read, read_prompt

from .. import traffic


def test_columns_hold_what_the_rows_say() -> None:
    """Scores, costs and latencies by model; absent is NaN."""
    made = traffic.rows(3)
    made[1].responses.pop()
    made[2].responses[0].score = None
    data = read_dataset(made)
    assert data.models == ("small", "large")
    assert data.ids == ("q0", "q1", "q2")
    assert data.score[0, 0] == made[0].responses[0].score
    assert math.isnan(data.score[1, 1])
    assert math.isnan(data.cost[1, 1])
    assert math.isnan(data.score[2, 0])
    assert data.latency_s[0, 1] == 0.5
    assert data.answered.tolist() == [[True, True], [True, False], [True, True]]


def test_features_are_those_of_a_live_answer() -> None:
    """Log-probabilities that were read while streaming give the numbers that reading at once gives."""
    row = traffic.rows(1)[0]
    said = row.responses[0]
    once = read(
        read_prompt(row.prompt),
        said.text,
        logprobs=said.logprobs,
        top_logprobs=said.top_logprobs,
        finish_reason=said.finish_reason,
        completion_tokens=said.completion_tokens,
        prompt_tokens=said.prompt_tokens,
    )
    assert once is not None
    found = read_dataset([row]).blocks.own[0, 0]
    np.testing.assert_array_equal(found, np.asarray(once.values, np.float32))


def test_alternatives_that_do_not_match_the_tokens_are_dropped() -> None:
    """As the providers do, so that training and serving see the same."""
    row = traffic.rows(1)[0]
    row.responses[0].top_logprobs = [[-0.1, -2.0]]
    without = traffic.rows(1)[0]
    without.responses[0].top_logprobs = None
    np.testing.assert_array_equal(
        read_dataset([row]).blocks.own[0, 0], read_dataset([without]).blocks.own[0, 0]
    )


def test_what_the_row_says_was_paid_wins_over_the_price() -> None:
    """`cost_usd` first, then prices times tokens, then unknown."""
    row = traffic.rows(1)[0]
    row.responses[1].cost_usd = None
    priced = read_dataset([row], price=lambda model, i, o: i * 1.0 + o * 2.0)
    assert priced.cost[0, 0] == traffic.PRICE["small"]
    tokens = row.responses[1].prompt_tokens, row.responses[1].completion_tokens
    assert priced.cost[0, 1] == tokens[0] * 1.0 + tokens[1] * 2.0  # type: ignore[operator]
    assert math.isnan(read_dataset([row]).cost[0, 1])


def test_p_true_is_a_feature_only_if_asked_for() -> None:
    """Live answers have none unless somebody pays for it."""
    row = traffic.rows(1)[0]
    row.responses[0].p_true = 0.75
    at = OWN_NAMES.index("s_p_true")
    assert math.isnan(read_dataset([row]).blocks.own[0, 0, at])
    assert read_dataset([row], p_true=True).blocks.own[0, 0, at] == 0.75


def test_rows_of_the_test_split_stay_out() -> None:
    """Without a split named: `train` and rows without one; the rest is counted."""
    made = [
        *traffic.rows(2, split="train"),
        *traffic.rows(3, split="test", start=2),
        *traffic.rows(1, start=5),
    ]
    assert read_dataset(made).ids == ("q0", "q1", "q5")
    assert read_dataset(made, split="test").ids == ("q2", "q3", "q4")
    found = collect(made)
    assert found.left_out == {"split 'test'": 3}
    assert found.known_splits == {"train": 2, "test": 3, "": 1}


def test_rows_that_teach_nothing_are_counted() -> None:
    """No score, or no prompt because the decision log keeps no text."""
    made = traffic.rows(4)
    for response in made[0].responses:
        response.score = None
    made[1].prompt = ""
    found = collect(made)
    assert len(found) == 2
    assert found.left_out == {"no score": 1, "no prompt in the log": 1}
    assert len(collect(made, need_score=False)) == 3


def test_a_long_log_is_sampled_while_it_is_read() -> None:
    """The sample is fair, the same for a seed, and nothing else is kept."""

    def many() -> Iterator[TrafficRow]:
        for i in range(2_000):
            yield TrafficRow(
                id=str(i), prompt=str(i), responses=[Response(model="m", score=1.0, text="x")]
            )

    found = collect(many(), limit=200, seed=3)
    assert (len(found), found.seen) == (200, 2_000)
    assert found.ids == collect(many(), limit=200, seed=3).ids
    assert found.ids != collect(many(), limit=200, seed=4).ids
    drawn = np.array([int(i) for i in found.ids])
    assert 800 < drawn.mean() < 1_200
    assert len(set(found.ids)) == 200


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_digest_does_not_depend_on_the_order(seed: int) -> None:
    """The same rows in another order are the same data."""
    made = traffic.rows(6)
    before = read_dataset(made).digest
    random.Random(seed).shuffle(made)
    assert read_dataset(made).digest == before


@pytest.mark.parametrize("what", ["id", "prompt", "score", "text", "model"])
def test_the_digest_depends_on_the_content(what: str) -> None:
    """Any change of what is learned from is another digest."""
    made, changed = traffic.rows(3), traffic.rows(3)
    if what in ("id", "prompt"):
        setattr(changed[1], what, "other")
    elif what == "score":
        changed[1].responses[0].score = 0.5
    elif what == "text":
        changed[1].responses[0].text = None
    else:
        changed[1].responses[0].model = "other"
    assert read_dataset(made).digest != read_dataset(changed).digest


def test_columns_can_be_chosen_and_ordered() -> None:
    """`only` gives what reading those models alone gives."""
    made = traffic.rows(5, ("tiny", "small", "large"))
    whole, part = read_dataset(made), read_dataset(made, ("large", "tiny"))
    chosen = whole.only(("large", "tiny"))
    np.testing.assert_array_equal(chosen.blocks.own, part.blocks.own)
    np.testing.assert_array_equal(chosen.blocks.same, part.blocks.same)
    np.testing.assert_array_equal(chosen.blocks.similar, part.blocks.similar)
    np.testing.assert_array_equal(chosen.score, part.score)
    assert chosen.blocks.texts == part.blocks.texts
    with pytest.raises(ScorerError, match="not in the log: other; it has tiny, small, large"):
        whole.only(("other",))


def test_odd_texts_are_read() -> None:
    """Empty, huge, in no language, with lone surrogates: rows like any other."""
    texts = ["", "x" * 1_000_000, "\x00\ud800", "🙂" * 50, "١٢٣ ⁵ ½"]
    made = [
        TrafficRow(
            id=str(i), prompt=text or " ", responses=[Response(model="m", text=text, score=1.0)]
        )
        for i, text in enumerate(texts)
    ]
    data = read_dataset(made)
    assert len(data) == 5
    assert len(data.digest) == 64


def test_a_key_is_sixteen_characters() -> None:
    """Fixed width, so that arrays of them sort and never lose a trailing zero."""
    assert len(row_key("", "")) == 16
    assert row_key("a", "b") != row_key("ab", "")
