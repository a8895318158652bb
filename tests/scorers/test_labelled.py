"""Logs that label only some answers: what is fitted on which rows, and that whole logs are fitted as ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cascade.records import TrafficRow
from scorers.artifact import Artifact, load
from scorers.dataset import TrainingFailed, collect, read_dataset
from scorers.evaluate import auroc
from scorers.folds import fold_ids, prompt_groups
from scorers.heads import GROUPS, fit_heads
from scorers.judges import fit_judges
from scorers.labelled import Labels
from scorers.ladder_fit import fit_ladder
from scorers.scorer import TrainedScorer
from scorers.stack import fit_stack
from scorers.training import train

from .. import traffic

PAIR, THREE = ("small", "large"), ("tiny", "small", "large")
Keep = Callable[[int, int], bool]


def holed(n: int, models: tuple[str, ...], keep: Keep, *, calls: bool = False) -> list[TrafficRow]:
    """Return rows with the labels that `keep` (row, model) keeps; with `calls`, answers alike."""
    made = [traffic.as_read(row) for row in traffic.rows(n, models)]
    for i, row in enumerate(made):
        for j, response in enumerate(row.responses):
            if not keep(i, j):
                response.score = None
        if calls:
            row.responses = [r for r in row.responses if r.score is not None]
    return made


def as_a_cascade(i: int, j: int) -> bool:
    """Only the answer that was returned is labelled: the first one in two rows of three."""
    return j == (1 if i % 3 == 0 else 0)


def test_a_whole_log_is_fitted_on_all_rows_as_if_there_were_no_holes_anywhere() -> None:
    """Heads by fold, stack and heads on all rows, written out: the same numbers, bit by bit."""
    data = read_dataset([traffic.as_read(row) for row in traffic.rows(160)])
    b, rows = data.blocks, np.arange(160)
    folds = fold_ids(prompt_groups(b.prompts), 3, 0)
    z = np.zeros((160, len(GROUPS)))
    for k in range(3):
        heads = fit_heads(b, rows[folds != k], (0,), 0, seed=0)
        z[folds == k] = heads.groups(b, rows[folds == k])
    stack, oof = fit_stack(z, b.score[:, 0], GROUPS, folds)
    (judge,) = fit_judges(b, rows, [((0,), 0)], seed=0, folds=folds, serves=[np.ones(160, bool)])
    np.testing.assert_array_equal(judge.oof, oof)
    np.testing.assert_array_equal(judge.stack.weights, stack.weights)
    assert judge.stack.calibration.bias == stack.calibration.bias
    heads = fit_heads(b, rows, (0,), 0, seed=0)
    np.testing.assert_array_equal(judge.heads.groups(b, rows), heads.groups(b, rows))


def test_rows_without_any_label_change_nothing() -> None:
    """The same scorer, bit by bit, and nothing is told."""
    data = read_dataset(holed(90, PAIR, lambda i, _: i < 70), need_score=False)
    _, whole = fit_ladder(data, np.arange(70), PAIR, seeds=1)
    _, more = fit_ladder(data, np.arange(90), PAIR, seeds=1)
    np.testing.assert_array_equal(more.q, whole.q)
    np.testing.assert_array_equal(more.rows, whole.rows)
    assert more.used.in_words() == []


def test_a_pair_is_fitted_where_no_row_is_complete(tmp_path: Path) -> None:
    """A cascade's own log, labels of returned answers: questions without rows are answered by others."""
    found = collect(holed(330, PAIR, as_a_cascade))
    trained = train(found, PAIR, seeds=1)
    used = trained.oof.used
    assert (used.rows, used.complete, used.answers) == (330, 0, (220, 110))
    assert used.questions[(0,), 0] == 220
    assert used.questions[(0,), 1] == 110
    assert not used.stands_in  # every answer was kept, and a label says which is right
    assert [m.n for m in trained.report.models] == [220, 110]
    trained.save(tmp_path / "s", created="now")
    manifest = load(tmp_path / "s").manifest
    assert manifest["used"]["answers"] == {"small": 220, "large": 110}
    fresh = read_dataset(traffic.rows(150, PAIR, seed=5, start=2_000))
    q = trained.model.probabilities(fresh, np.arange(150))
    assert auroc(q[1][:, 0], fresh.score[:, 0]) > 0.85


def test_a_question_without_rows_is_answered_by_the_answer_alone_or_by_the_prompt(
    tmp_path: Path,
) -> None:
    """Saved, loaded and asked live it gives the same."""
    made = holed(240, PAIR, lambda i, j: j == i % 2, calls=True)  # no row has two answers
    trained = train(collect(made), PAIR, seeds=1)
    used = trained.oof.used
    assert used.stands_in == {
        ((0,), 1): ((), 1),
        ((0, 1), 0): ((0,), 0),
        ((0, 1), 1): ((1,), 1),
        ((1,), 0): ((), 0),
    }
    told = " ".join(used.in_words())
    assert (
        "P(large right | prompt, answer of small): 0 rows are too few; "
        "P(large right | prompt), from 120, serves"
    ) in told
    trained.save(tmp_path / "s", created="now")
    artifact = load(tmp_path / "s", PAIR)
    fresh = [traffic.as_read(row) for row in traffic.rows(20, PAIR, seed=5, start=2_000)]
    q = artifact.model.probabilities(read_dataset(fresh), np.arange(20))
    np.testing.assert_array_equal(q[3][:, 0], q[1][:, 0])
    np.testing.assert_array_equal(q[1][:, 1], q[0][:, 1])
    _same_live(artifact, fresh, q)


def _same_live(artifact: Artifact, rows: list[TrafficRow], q: np.ndarray) -> None:
    scorer = TrainedScorer(artifact, artifact.models)
    for i, row in enumerate(rows):
        request = traffic.request(row)
        attempts = [traffic.attempt(rung, said) for rung, said in enumerate(row.responses)]
        for rung in range(len(row.responses)):
            score = scorer.score_nowait(request, attempts[: rung + 1])
            live = [score.forecast[j] for j in range(len(row.responses))]
            np.testing.assert_allclose(live, q[(2 << rung) - 1][i], rtol=0, atol=1e-9)


def test_few_rows_with_several_answers_leave_the_first_level_as_it_is(tmp_path: Path) -> None:
    """An answer is scored alone, a model not asked yet by the prompt; saved and asked live the same."""
    made = holed(240, THREE, lambda i, j: i < 30 or j == i % 3, calls=True)
    trained = train(collect(made), THREE, seeds=1)
    assert trained.oof.used.states == ((0, 0),) * 3
    assert "several answers: 0 of tiny, 0 of small, 0 of large" in " ".join(
        trained.oof.used.in_words()
    )
    trained.save(tmp_path / "s", created="now")
    artifact = load(tmp_path / "s", THREE)
    fresh = [traffic.as_read(row) for row in traffic.rows(12, THREE, seed=5, start=2_000)]
    q = artifact.model.probabilities(read_dataset(fresh), np.arange(12))
    for state in range(1, 8):
        for j in range(3):
            alone = q[1 << j] if state >> j & 1 else q[0]
            np.testing.assert_allclose(q[state][:, j], alone[:, j], rtol=0, atol=1e-6)
    _same_live(artifact, fresh, q)


def test_few_rows_to_forecast_from_leave_forecasts_to_the_prompt(tmp_path: Path) -> None:
    """While answers that are there are compared."""
    made = holed(240, THREE, lambda i, j: i < 50 or j == i % 3, calls=True)
    trained = train(collect(made), THREE, seeds=1)
    assert trained.oof.used.states == ((50, 0),) * 3
    trained.save(tmp_path / "s", created="now")
    artifact = load(tmp_path / "s", THREE)
    fresh = [traffic.as_read(row) for row in traffic.rows(12, THREE, seed=5, start=2_000)]
    q = artifact.model.probabilities(read_dataset(fresh), np.arange(12))
    np.testing.assert_allclose(q[0b011][:, 2], q[0][:, 2], rtol=0, atol=1e-6)
    assert np.abs(q[0b011][:, 0] - q[0b001][:, 0]).max() > 0.01
    _same_live(artifact, fresh, q)


def test_answers_are_compared_where_no_row_is_complete() -> None:
    """A label and the other answers are enough, and every row is scored in every state."""
    data = read_dataset(holed(240, THREE, lambda i, j: j == i % 3))
    model, oof = fit_ladder(data, np.arange(240), THREE, seeds=1)
    assert oof.used.complete == 0
    assert oof.used.states == ((80, 80),) * 3
    assert oof.q.shape == (8, 240, 3)
    assert ((oof.q >= 0) & (oof.q <= 1)).all()
    assert model.n == 240
    fresh = read_dataset(traffic.rows(150, THREE, seed=5, start=2_000))
    q = model.probabilities(fresh, np.arange(150))
    assert auroc(q[0b111][:, 1], fresh.score[:, 1]) > 0.8


def test_a_state_is_learned_from_rows_that_show_it() -> None:
    """By the label of the target and the answers of all in the state."""
    made = holed(60, THREE, lambda i, j: j == i % 3)
    for row in made:
        row.responses[2].text = None
    b = read_dataset(made).blocks
    labels = Labels(b, np.arange(60), (True, True, True), np.arange(60))
    shown = labels.states(0)
    assert shown[0b011].tolist() == [i % 3 == 0 for i in range(60)]
    assert not shown[0b101].any()
    assert labels.states(2)[0b111].tolist() == [i % 3 == 2 for i in range(60)]


def test_a_row_is_scored_by_heads_that_saw_none_of_its_fold() -> None:
    """Where its label is missing too: an equal prompt may have been labelled."""
    data = read_dataset(holed(120, PAIR, lambda i, j: j == 0 or i % 2 == 0))
    b, rows = data.blocks, np.arange(120)
    folds = fold_ids(np.arange(120), 3, 0)
    mask = np.isfinite(b.score[:, 1])
    (judge,) = fit_judges(b, rows, [((1,), 1)], seed=0, folds=folds, serves=[mask])
    for k in range(3):
        inside = rows[mask & (folds != k)]
        heads = fit_heads(b, inside, (1,), 1, seed=0, pool=False)
        held = rows[folds == k]
        np.testing.assert_array_equal(judge.oof[held], judge.stack(heads.groups(b, held)))


def test_pooled_heads_see_every_labelled_answer_of_any_model() -> None:
    """Also on rows where the model asked about has no label."""
    data = read_dataset(holed(160, THREE, lambda i, j: j == i % 3))
    b, rows = data.blocks, np.arange(160)
    folds = fold_ids(np.arange(160), 2, 0)
    mask = np.isfinite(b.score[:, 0])
    (judge,) = fit_judges(b, rows, [((0,), 0)], seed=0, folds=folds, serves=[mask])
    np.testing.assert_array_equal(judge.heads.strength, np.nanmean(b.score, axis=0))
    assert len(judge.heads.pooled) == 2


def test_a_model_with_too_few_labels_is_named() -> None:
    """And near-identical prompts count once."""
    data = read_dataset(holed(60, PAIR, lambda i, j: j == 0 or i < 12))
    with pytest.raises(TrainingFailed, match="12 of 60 rows have a score of large"):
        fit_ladder(data, np.arange(60), PAIR)
    made = holed(60, PAIR, lambda i, j: j == 0 or i < 30)
    for row in made[:30]:
        row.prompt = "What is 1 plus 1?"
    data = read_dataset(made)
    with pytest.raises(TrainingFailed, match="score of large, on 1 different prompts"):
        fit_ladder(data, np.arange(60), PAIR)


def test_a_label_says_that_there_was_an_answer() -> None:
    """A row whose text was not kept serves the questions that read it, as it always did."""
    made = holed(40, PAIR, lambda i, j: True)
    made[0].responses[0].text = None
    b = read_dataset(made).blocks
    labels = Labels(b, np.arange(40), (True, True), np.arange(40))
    assert labels.serves(((0,), 1)).all()


def test_one_missing_label_is_no_reason_to_do_otherwise() -> None:
    """39 complete rows of 40 are fitted as 40 of 40 would be."""
    data = read_dataset(holed(40, THREE, lambda i, j: (i, j) != (7, 2)))
    used = fit_ladder(data, np.arange(40), THREE, seeds=1)[1].used
    assert used.states == ((40, 40), (40, 40), (39, 39))
    data = read_dataset(holed(40, PAIR, lambda i, j: (i, j) != (7, 1)))
    assert not fit_ladder(data, np.arange(40), PAIR, seeds=1)[1].used.stands_in


def test_a_forecast_needs_half_the_rows_of_the_prompt_alone() -> None:
    """Comparing answers is worth it from fewer rows on than reading the weak one for the strong."""

    def asked(i: int, j: int) -> bool:
        return i < 60 or j == i % 2

    made = holed(300, PAIR, asked, calls=True)
    labels = Labels(read_dataset(made).blocks, np.arange(300), (True, True), np.arange(300))
    assert labels.instead(((0,), 1)) == ((), 1)
    assert labels.instead(((0, 1), 1)) is None
    assert labels.instead(((0,), 0)) is None
