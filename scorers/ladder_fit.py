"""Fits the scorer of a ladder: its judges, the level over states, and the scores of rows not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from cascade.errors import ScorerError

from .calibrate import fit_calibration
from .corpus import Corpus
from .dataset import Dataset, TrainingFailed
from .folds import fold_ids, prompt_groups
from .heads import Blocks, texts_of
from .judges import FEW_ROWS, FOLDS, FOLDS_FEW, Judge, Question, fit_judges, gain_trust
from .labelled import Labels, Used
from .ladder import MAX_MODELS, LadderModel, Member
from .ladder_choice import PAIR, donors
from .states import IDENTITY, StateInputs, StateModel, fit_states, plain_states, standing

__all__ = ["SEEDS", "OutOfFold", "fit_ladder"]

SEEDS = 2
"""Fits with their own seed whose probabilities are averaged."""
FIT_ROWS = 20_000
"""Rows that heads are fitted on at most; the methods page saw no gain beyond some thousand."""
STATE_ROWS = 400_000
"""Rows times states that the second level is fitted on at most."""
FOLDS_STATES_FEW = 8

Progress = Callable[[float, str], None]
"""Told the share of the work done, in [0, 1], and what is being done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfFold:
    """Scores of the training rows by learners that did not see them.

    Stack and calibration (a handful of numbers) did see them: for tuning and for a look, not for a
    promise.

    Attributes:
        rows: Row numbers in the dataset. Shape (n,).
        q: Shape (2^m, n, m).
        raw: P(j right | prompt, own answer) before calibration. Shape (n, m).
        used: What was fitted on which of them.
    """

    rows: np.ndarray
    q: np.ndarray
    raw: np.ndarray
    used: Used


def fit_ladder(
    dataset: Dataset,
    rows: np.ndarray,
    models: Sequence[str],
    seed: int = 0,
    *,
    seeds: int = SEEDS,
    progress: Progress | None = None,
) -> tuple[LadderModel, OutOfFold]:
    """Fit the scorer of a ladder.

    Args:
        dataset: Holds the models. Further models in it help to judge a ladder of one or two: their
            answers to the same prompts are examples of right and wrong.
        rows: Rows to learn from; those on which no model has a score are left out. Beyond `FIT_ROWS`
            a random sample is used, first of those on which every model has one.
        models: The ladder, cheapest first; one to `MAX_MODELS`.
        seed: The same seed and data give the same model.
        seeds: Members to average; each costs as much again.
        progress: Told how far it is.

    Raises:
        ScorerError: Too many models, or one that the dataset lacks.
        TrainingFailed: Too few rows, or none of them tells right from wrong.
    """
    if not 1 <= len(models) <= MAX_MODELS or len(set(models)) != len(models):
        raise ScorerError(
            f"{len(models)} models given ({', '.join(models)}); "
            f"a scorer takes 1 to {MAX_MODELS}, each once"
        )
    b = dataset.only(models).blocks
    rng = np.random.default_rng(seed)
    rows = _drawn(b.score, rows, rng)
    y = b.score[rows]
    readable = tuple(
        any(b.texts[i][j] is not None for i in rows.tolist()) for j in range(len(models))
    )
    groups = prompt_groups([b.prompts[i] for i in rows])
    labels = Labels(b, rows, readable, groups)
    labels.check(models)
    if not ((y >= 0.5).any(axis=0) & (y < 0.5).any(axis=0)).any():
        raise TrainingFailed(
            "no model has both right answers (score >= 0.5) and wrong ones on these rows: "
            "nothing to tell apart"
        )
    if len(models) <= PAIR:
        helpful = donors(dataset.models, dataset.score[rows], models)
        b = dataset.only([*models, *helpful]).blocks
    corpus = Corpus(rows, lambda some, kind, answered: texts_of(b, some, kind, answered, ()))
    members, qs, raws = [], [], []
    # One thread: BLAS loses more to its threads on matrices of this size than it gains, and sums
    # in one order give the same bytes on every run.
    with threadpool_limits(limits=1):
        for k in range(seeds):
            steps = _Steps(progress, k / seeds, 1.0 / seeds)
            member, q, raw = _fit_member(b, rows, labels, groups, seed * seeds + k, steps, corpus)
            members.append(member)
            qs.append(q)
            raws.append(raw)
    used = _used(tuple(models), labels)
    fewest = min(
        n for q, n in used.questions.items() if q[1] not in q[0] and q not in used.stands_in
    )
    model = LadderModel(
        models=tuple(models),
        readable=readable,
        strength=np.nanmean(y, axis=0),
        trust=gain_trust(min([fewest, *(n for _, n in used.states if n)])),
        n=len(rows),
        members=tuple(members),
    )
    oof = OutOfFold(rows=rows, q=np.mean(qs, axis=0), raw=np.mean(raws, axis=0), used=used)
    return model, oof


def _drawn(score: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the rows to fit on: at most `FIT_ROWS` of those with a label, complete ones first."""
    known = np.isfinite(score[rows])
    complete = rows[known.all(axis=1)]
    if len(complete) > FIT_ROWS:
        return np.sort(rng.permutation(complete)[:FIT_ROWS])
    partly = rows[known.any(axis=1) & ~known.all(axis=1)]
    if len(complete) + len(partly) > FIT_ROWS:
        partly = rng.permutation(partly)[: FIT_ROWS - len(complete)]
    return np.sort(np.concatenate([complete, partly])) if len(partly) else complete


@dataclass(slots=True)
class _Steps:
    """Tells the progress of one member."""

    told: Progress | None
    start: float
    share: float
    total: int = 1
    done: int = 0

    def step(self, what: str) -> None:
        self.at(0.0, what)
        self.done += 1

    def at(self, more: float, what: str) -> None:
        """Tell that beside the steps done some more, or a part of one, is done."""
        if self.told is not None:
            self.told(self.start + self.share * (self.done + more) / self.total, what)


def _fit_member(
    b: Blocks,
    rows: np.ndarray,
    labels: Labels,
    groups: np.ndarray,
    seed: int,
    steps: _Steps,
    corpus: Corpus,
) -> tuple[Member, np.ndarray, np.ndarray]:
    m = len(labels.readable)
    few = FOLDS_FEW if m <= PAIR else FOLDS_STATES_FEW
    folds = fold_ids(groups, FOLDS if len(rows) >= FEW_ROWS else few, seed)
    if _is_pairwise(labels):
        return _fit_pairwise(b, rows, labels, folds, seed, steps, corpus)
    return _fit_states(b, rows, labels, folds, seed, steps, corpus)


def _is_pairwise(labels: Labels) -> bool:
    return len(labels.readable) <= PAIR or not any(labels.readable)


def _answered_sets(readable: Sequence[bool]) -> list[tuple[int, ...]]:
    """Return every set of answers that can be read, as a pair's judges are asked."""
    m = len(readable)
    return sorted({tuple(j for j in range(m) if s >> j & 1 and readable[j]) for s in range(1 << m)})


def _questions(labels: Labels) -> tuple[list[Question], dict[Question, Question]]:
    """Return what judges are fitted for, and (question → the one that serves for lack of rows)."""
    m = len(labels.readable)
    if not _is_pairwise(labels):
        own: list[Question] = [((j,), j) for j in range(m) if labels.readable[j]]
        return [*(((), j) for j in range(m)), *own], {}
    every = [(answered, j) for answered in _answered_sets(labels.readable) for j in range(m)]
    stands_in = {q: instead for q in every if (instead := labels.instead(q)) is not None}
    return [q for q in every if q not in stands_in], stands_in


def _used(models: tuple[str, ...], labels: Labels) -> Used:
    complete = int(labels.complete.sum())
    fitted, stands_in = _questions(labels)
    states: tuple[tuple[int, int], ...] = ()
    if not _is_pairwise(labels):
        targets = range(len(models))
        states = tuple((labels.compared(j), labels.forecast(j)) for j in targets)
    return Used(
        models=models,
        rows=len(labels.complete),
        complete=complete,
        answers=labels.answers,
        questions={q: int(labels.serves(q).sum()) for q in (*fitted, *stands_in)},
        stands_in=stands_in,
        states=states,
    )


def _fit_pairwise(
    b: Blocks,
    rows: np.ndarray,
    labels: Labels,
    folds: np.ndarray,
    seed: int,
    steps: _Steps,
    corpus: Corpus,
) -> tuple[Member, np.ndarray, np.ndarray]:
    """One judge for every target and every set of readable answers."""
    readable = labels.readable
    m = len(readable)
    sets = _answered_sets(readable)
    fitted, stands_in = _questions(labels)
    steps.total = len(sets)
    found: dict[tuple[int, ...], Judge] = {}
    # Texts add nothing once both answers are compared (inner cross-validation).
    for text in (True, False):
        some = [answered for answered in sets if (len(answered) < 2) == text]
        questions = [question for question in fitted if question[0] in some]
        if questions:
            found |= _asked(
                b, rows, questions, labels, seed, folds, steps, len(some), corpus, text=text
            )
    for (answered, j), (first, _) in stands_in.items():
        found[j, *answered] = found[j, *first]
    judges = {(j, *answered): found[j, *answered] for answered in sets for j in range(m)}
    q = np.empty((1 << m, len(rows), m))
    raw = np.empty((len(rows), m))
    for state in range(1 << m):
        answered = tuple(j for j in range(m) if state >> j & 1 and readable[j])
        for j in range(m):
            q[state, :, j] = judges[(j, *answered)].oof
    for j in range(m):
        own = judges[(j, j) if readable[j] else (j,)]
        raw[:, j] = own.stack.calibration.inverse(own.oof)
    return Member(judges={k: _light(v) for k, v in judges.items()}, states=()), q, raw


def _fit_states(
    b: Blocks,
    rows: np.ndarray,
    labels: Labels,
    folds: np.ndarray,
    seed: int,
    steps: _Steps,
    corpus: Corpus,
) -> tuple[Member, np.ndarray, np.ndarray]:
    """Judges of the prompt and of each own answer, and a learner over states on their scores."""
    readable = labels.readable
    n, m = len(rows), len(readable)
    first = 2 * m + 2
    steps.total = first + m
    questions, _ = _questions(labels)
    judges = _asked(b, rows, questions, labels, seed, folds, steps, first, corpus)
    before = np.stack([judges[j,].oof for j in range(m)], axis=1)
    after = np.full((n, m), np.nan)
    for j in range(m):
        if readable[j]:
            after[:, j] = judges[j, j].oof
    y = b.score[rows]
    inputs = StateInputs.of(b, rows, before, after, np.nanmean(y, axis=0))
    q = np.empty((1 << m, n, m))
    raw = np.empty((n, m))
    seen = sum(1 << j for j in range(m) if readable[j])
    learners = []
    for j in range(m):
        steps.step("states")
        if labels.compared(j):
            shown, forecasts = labels.states(j), labels.forecast(j) > 0
            learner, every = _fit_target(inputs, y[:, j], j, folds, seed, shown, forecasts)
        else:
            learner = plain_states(j, m)
            every = np.stack([learner.raw(inputs, state) for state in range(1 << m)])
        learners.append(learner)
        for state in range(1, 1 << m):
            known = state & seen
            calibrate = learner.calibration[standing(known, j)]
            q[state, :, j] = calibrate(every[known]) if known else before[:, j]
        q[0, :, j] = before[:, j]
        own = 1 << j & seen
        raw[:, j] = every[own] if own else judges[j,].stack.calibration.inverse(before[:, j])
    member = Member(judges={k: _light(v) for k, v in judges.items()}, states=tuple(learners))
    return member, q, raw


def _asked(
    b: Blocks,
    rows: np.ndarray,
    questions: Sequence[Question],
    labels: Labels,
    seed: int,
    folds: np.ndarray,
    steps: _Steps,
    worth: int,
    corpus: Corpus,
    *,
    text: bool = True,
) -> dict[tuple[int, ...], Judge]:
    """Return (target, answered models…) → its judge; all are fitted together, which is worth some steps."""

    def told(share: float) -> None:
        steps.at(share * worth, "judges")

    fitted = fit_judges(
        b,
        rows,
        questions,
        seed=seed,
        text=text,
        folds=folds,
        progress=told,
        corpus=corpus,
        serves=[labels.serves(question) for question in questions],
    )
    steps.done += worth
    return {(j, *known): judge for (known, j), judge in zip(questions, fitted, strict=True)}


def _fit_target(
    inputs: StateInputs,
    y: np.ndarray,
    target: int,
    folds: np.ndarray,
    seed: int,
    shown: np.ndarray,
    forecasts: bool,
) -> tuple[StateModel, np.ndarray]:
    """Return one target's learner and its out-of-fold scores before calibration, (2^m, n).

    Fitted and calibrated on the states that rows with its label show; all rows are scored.
    """
    n, m = inputs.before.shape
    most = max(1, STATE_ROWS // (1 << m))
    rng = np.random.default_rng(seed)
    raw = np.zeros((1 << m, n))
    labelled = shown.any(axis=0)

    def fitted(rows: np.ndarray, **more: Any) -> StateModel:
        part = None if shown.all() else shown[:, rows]
        given = inputs.take(rows)
        return fit_states(
            given, y[rows], target, seed=seed, shown=part, forecasts=forecasts, **more
        )

    for k in range(int(folds.max()) + 1):
        a, v = np.flatnonzero((folds != k) & labelled), np.flatnonzero(folds == k)
        if len(a) > most:
            a = np.sort(rng.permutation(a)[:most])
        learner = fitted(a)
        held = inputs.take(v)
        for state in range(1, 1 << m):
            raw[state, v] = learner.raw(held, state)
    calibrations = []
    for kind in range(3):
        states = [state for state in range(1, 1 << m) if standing(state, target) == kind]
        pairs = shown[states]
        if not pairs.any() or (kind == 0 and not forecasts):
            calibrations.append(IDENTITY)
            continue
        # A row is worth one label, however many states it is seen in.
        weight = np.broadcast_to(1.0 / np.maximum(1, pairs.sum(axis=0)), pairs.shape)
        truth = np.broadcast_to(y, pairs.shape)
        calibrations.append(fit_calibration(raw[states][pairs], truth[pairs], weight[pairs]))
    rows = np.flatnonzero(labelled)
    if len(rows) > most:
        rows = np.sort(rng.permutation(rows)[:most])
    learner = fitted(rows, calibrate=(calibrations[0], calibrations[1], calibrations[2]))
    return learner, raw


def _light(judge: Judge) -> Judge:
    """Drop the training rows' scores, which the artifact keeps once for all."""
    return replace(judge, oof=np.zeros(0))
