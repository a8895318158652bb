"""The trained scorer live: the same numbers as in a batch, whatever the order, and what counts as answered."""

from __future__ import annotations

import itertools
import math
import random
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from cascade.errors import ScorerError
from cascade.ports import Scorer
from cascade.types import Attempt
from scorers.artifact import Artifact, load
from scorers.dataset import read_dataset
from scorers.scorer import REMEMBERED, TrainedScorer

from .. import traffic

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["pair_scorer", "ladder_scorer"])
def artifact(request: pytest.FixtureRequest) -> Artifact:
    """Both kinds of scorer."""
    path: Path = request.getfixturevalue(request.param)
    return load(path)


def fresh(artifact: Artifact, n: int) -> list[traffic.TrafficRow]:
    """Rows it was not trained on, as a log would bring them."""
    made = traffic.rows(n, artifact.models, seed=11, start=2_000)
    return [traffic.as_read(row) for row in made]


async def test_live_scores_are_those_of_a_batch(artifact: Artifact) -> None:
    """In every state, reached in any order, to the last digits."""
    scorer = TrainedScorer(artifact, artifact.models)
    made = fresh(artifact, 25)
    data = read_dataset(made)
    m = len(artifact.models)
    q = artifact.model.probabilities(data, np.arange(len(made)))
    rng = random.Random(0)
    for i, row in enumerate(made):
        request, attempts, state = traffic.request(row), list[Attempt](), 0
        order = rng.sample(range(m), m)
        for rung in [None, *order]:
            if rung is not None:
                attempts.append(traffic.attempt(rung, row.responses[rung]))
                state |= 1 << rung
            score = await scorer.score(request, attempts)
            found = [score.forecast[j] for j in range(m)]
            np.testing.assert_allclose(found, q[state, i], rtol=0, atol=1e-9)
            expected = None if rung is None else score.forecast[rung]
            assert score.confidence == expected


async def test_rows_of_other_texts_agree_too(artifact: Artifact) -> None:
    """Odd prompts and answers, without log-probabilities or usage, take the same way."""
    texts = ["", "42", "(B)", "I cannot say.", '{"answer": 7}', "x " * 3_000, "🙂\ud800"]
    made = fresh(artifact, len(texts))
    for row, text in zip(made, texts, strict=True):
        row.prompt = text or "?"
        for response in row.responses:
            response.text = text
            response.logprobs = response.top_logprobs = None
            response.prompt_tokens = response.completion_tokens = None
            response.finish_reason = None
    q = artifact.model.probabilities(read_dataset(made), np.arange(len(made)))
    scorer = TrainedScorer(artifact, artifact.models)
    for i, row in enumerate(made):
        attempts = [traffic.attempt(j, r) for j, r in enumerate(row.responses)]
        score = await scorer.score(traffic.request(row), attempts)
        found = [score.forecast[j] for j in range(len(attempts))]
        np.testing.assert_allclose(found, q[-1, i], rtol=0, atol=1e-9)


async def test_without_an_answer_there_is_only_the_forecast(artifact: Artifact) -> None:
    """For every rung, and the confidence says why it is unknown."""
    scorer = TrainedScorer(artifact, artifact.models)
    score = await scorer.score(traffic.request(fresh(artifact, 1)[0]), ())
    assert score.confidence is None
    assert score.why_unknown == "nothing answered yet"
    assert set(score.forecast) == set(range(len(artifact.models)))
    assert score.cost_usd == 0.0


async def test_what_cannot_be_returned_does_not_count(artifact: Artifact) -> None:
    """A failed gate, a failed call and an answer of tool calls leave the state as it was."""
    scorer = TrainedScorer(artifact, artifact.models)
    row = fresh(artifact, 1)[0]
    request = traffic.request(row)
    before = await scorer.score(request, ())
    said = row.responses[0]
    gated = await scorer.score(request, [traffic.attempt(0, said, failed_gates=("not_empty",))])
    assert (gated.confidence, gated.why_unknown) == (None, "it failed a gate")
    failed = await scorer.score(request, [traffic.attempt(0, said, answer=None)])
    said.text = None
    tools = await scorer.score(request, [traffic.attempt(0, said)])
    assert tools.why_unknown == "there is no text to read"
    assert gated.forecast == failed.forecast == tools.forecast == before.forecast


async def test_rungs_may_stand_in_another_order_and_be_fewer(ladder_scorer: Path) -> None:
    """The mapping from rung to model is the ladder's; further models of the artifact are not asked."""
    artifact = load(ladder_scorer)
    row = fresh(artifact, 1)[0]
    request = traffic.request(row)
    straight = TrainedScorer(artifact, ("tiny", "small", "large"))
    turned = TrainedScorer(artifact, ("large", "tiny"))
    a = await straight.score(request, [traffic.attempt(2, row.responses[2])])
    b = await turned.score(request, [traffic.attempt(0, row.responses[2])])
    assert b.confidence == a.confidence
    assert b.forecast == {0: a.forecast[2], 1: a.forecast[0]}


async def test_agreement_with_earlier_rungs_is_told(pair_scorer: Path) -> None:
    """By rung, for the agreement policy and the log; NaN where answers cannot be compared."""
    scorer = TrainedScorer(load(pair_scorer), ("small", "large"))
    row = fresh(load(pair_scorer), 1)[0]
    row.responses[0].text = "7 + 5 = 12. The answer is 12."
    for text, expected in (("The answer is 12, then.", 1.0), ("The answer is 13.", 0.0)):
        row.responses[1].text = text
        attempts = [traffic.attempt(j, r) for j, r in enumerate(row.responses)]
        score = await scorer.score(traffic.request(row), attempts)
        assert score.measures["same_as_0"] == expected
    first = await scorer.score(traffic.request(row), attempts[:1])
    assert "same_as_0" not in first.measures
    assert not math.isnan(first.measures["mean_logprob"])


async def test_what_is_remembered_is_bounded_and_not_mixed_up(pair_scorer: Path) -> None:
    """Requests that come again after many others get the same scores."""
    artifact = load(pair_scorer)
    scorer = TrainedScorer(artifact, artifact.models)
    made = fresh(artifact, REMEMBERED + 20)
    first = [await scorer.score(traffic.request(row), ()) for row in made]
    again = [await scorer.score(traffic.request(row), ()) for row in made]
    assert first == again
    assert len(scorer._recent) == REMEMBERED


def test_answers_are_not_kept_alive(pair_scorer: Path) -> None:
    """What is remembered of an ask are numbers; token lists go when the ask does."""
    artifact = load(pair_scorer)
    scorer = TrainedScorer(artifact, artifact.models)
    row = fresh(artifact, 1)[0]
    request, attempt = traffic.request(row), traffic.attempt(0, row.responses[0])
    before = sys.getrefcount(attempt.answer), sys.getrefcount(attempt.answer.logprobs)
    first = scorer.score_nowait(request, [attempt])
    assert (sys.getrefcount(attempt.answer), sys.getrefcount(attempt.answer.logprobs)) == before
    assert scorer.score_nowait(request, [attempt]) == first


def test_an_answer_that_differs_in_its_log_probabilities_alone_is_read_anew(
    pair_scorer: Path,
) -> None:
    """Same request, same text: another confidence."""
    artifact = load(pair_scorer)
    scorer = TrainedScorer(artifact, artifact.models)
    row = fresh(artifact, 1)[0]
    request, said = traffic.request(row), row.responses[0]
    sure = scorer.score_nowait(request, [traffic.attempt(0, said)])
    assert said.logprobs is not None
    said.logprobs = [-3.0 for _ in said.logprobs]
    unsure = scorer.score_nowait(request, [traffic.attempt(0, said)])
    assert unsure.measures["mean_logprob"] == -3.0
    assert unsure.confidence != sure.confidence


def test_no_ask_waits_for_what_could_be_laid_out_before(artifact: Artifact) -> None:
    """After the scorer was made, a state takes no more work the first time than later."""
    scorer = TrainedScorer(artifact, artifact.models)
    compiled = artifact.model.compiled
    made = [dict(kept) for kept in (compiled._banks, compiled._states, scorer._single._states)]
    m = len(artifact.models)
    for order in itertools.permutations(range(m)):
        row = fresh(artifact, 1)[0]
        request, attempts = traffic.request(row), list[Attempt]()
        for rung in order:
            attempts.append(traffic.attempt(rung, row.responses[rung]))
            scorer.score_nowait(request, attempts)
        scorer.score_nowait(traffic.request(row), attempts)  # all answers at once
    assert made == [compiled._banks, compiled._states, scorer._single._states]


def test_threads_may_share_a_scorer(pair_scorer: Path) -> None:
    """Each thread gets the scores of its own request."""
    artifact = load(pair_scorer)
    scorer = TrainedScorer(artifact, artifact.models)
    made = fresh(artifact, 16)
    asked = [(traffic.request(r), [traffic.attempt(0, r.responses[0])]) for r in made]
    expected = [scorer.score_nowait(*one).confidence for one in asked]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(5):
            for i, one in enumerate(asked):
                if scorer.score_nowait(*one).confidence != expected[i]:
                    wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_ladder_with_an_unknown_model_is_refused(pair_scorer: Path) -> None:
    """It names the model, and what the scorer knows."""
    with pytest.raises(ScorerError, match="not trained on huge; it knows small, large"):
        TrainedScorer(load(pair_scorer), ("small", "huge"))


def test_it_is_a_scorer(pair_scorer: Path) -> None:
    """The port is met, and the version names the artifact."""
    artifact = load(pair_scorer)
    scorer = TrainedScorer(artifact, artifact.models)
    assert isinstance(scorer, Scorer)
    assert scorer.version == artifact.version
