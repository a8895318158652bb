"""The array twins of the policies: row by row what the live walk does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.fingerprint import request_digest
from cascade.intake import make_request
from cascade.ladder import Ladder, Rung
from cascade.policies import (
    Agreement,
    CascadeRouting,
    Chain,
    Fixed,
    Induction,
    RandomShare,
    Routing,
    Weighted,
)
from cascade.policy import Policy, Thresholds
from cascade.replay.table import Table, make_table
from cascade.replay.walks import outcome, replay_policy
from cascade.types import Answer, Demand, Score
from cascade.walk import Answered, Call, Ending, Plan, walk

NAMES = ("a", "b", "c", "d")


def live(policy: Policy, table: Table, row: int) -> Ending:
    """Drive the real walk with one row of the table as its outcomes."""
    m = len(table.models)
    ladder = Ladder(name="t", rungs=tuple(Rung(model=x, provider="p") for x in table.models))
    steps = walk(Plan(ladder=ladder, policy=policy), make_request(f"prompt {row}"), Demand())
    try:
        effect = next(steps)
        while True:
            if isinstance(effect, Call):
                paid = float(table.cost[row, effect.rung])
                answer = Answer(text="x", model="m", cost_usd=paid)
                effect = steps.send(Answered(answer=answer, latency_s=0.0))
            else:
                rungs = [a.rung for a in effect.attempts]
                seen = sum(1 << r for r in rungs)
                assert table.q is not None
                forecast = {j: float(table.q[seen, row, j]) for j in range(m)}
                measures: dict[str, float] = {}
                if table.same is not None and rungs:
                    measures = {
                        f"same_as_{r}": {1: 1.0, 0: 0.0, -1: float("nan")}[
                            int(table.same[row, r, rungs[-1]])
                        ]
                        for r in rungs[:-1]
                    }
                effect = steps.send(
                    Score(
                        confidence=forecast[rungs[-1]] if rungs else None,
                        forecast=forecast,
                        measures=measures,
                    )
                )
    except StopIteration as end:
        ending: Ending = end.value
        return ending


# Few distinct values, so that ties happen.
probability = st.sampled_from([0.0, 0.125, 0.3, 0.5, 0.5, 0.77, 0.9, 1.0])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Policy, Table]:
    m = draw(st.integers(2, 4))
    n = draw(st.integers(1, 6))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    q = (
        rng.random((1 << m, n, m))
        if draw(st.booleans())
        else rng.integers(0, 4, (1 << m, n, m)) / 3
    )
    same = rng.integers(-1, 2, (n, m, m))
    same = np.maximum(same, same.transpose(0, 2, 1))
    table = make_table(
        models=NAMES[:m],
        ids=[request_digest(make_request(f"prompt {i}")) for i in range(n)],
        score=rng.random((n, m)),
        cost=rng.random((n, m)),
        q=q,
        same=same,
    )
    k = draw(st.integers(1, m))
    models = tuple(draw(st.permutations(table.models))[:k])
    valued: dict[str, Any] = {
        "models": models,
        "cost_usd": tuple(draw(st.floats(0, 1)) for _ in models),
        "tradeoff_usd": draw(st.floats(0.1, 20)),
    }
    kinds = ["routing", "eth", "induction", "chain", "fixed", "weighted", "share", "thresholds"]
    kind = draw(st.sampled_from([*kinds, "agreement"] if m >= 3 else kinds))
    policy: Policy
    if kind == "routing":
        policy = Routing(**valued)
    elif kind == "eth":
        policy = CascadeRouting(**valued)
    elif kind == "induction":
        weights = {
            (s, j): tuple(rng.normal(0, 0.5, 7).tolist())
            for s in range(1 << k)
            for j in range(k)
            if not s >> j & 1
        }
        policy = Induction(**valued, weights=weights)
    elif kind == "chain":
        policy = Chain(models=models, accept=tuple(draw(probability) for _ in models[1:]))
    elif kind == "agreement":
        policy = Agreement(models=tuple(draw(st.permutations(table.models))[:3]))  # type: ignore[arg-type]
    elif kind == "fixed":
        policy = Fixed(model=models[0])
    elif kind == "weighted":
        raw = rng.random(k)
        policy = Weighted(
            models=models, weights=tuple((raw / raw.sum()).tolist()), seed=draw(st.integers(0, 99))
        )
    elif kind == "share":
        policy = RandomShare(
            weak="a", strong="b", share=draw(st.floats(0, 1)), seed=draw(st.integers(0, 99))
        )
    else:
        policy = Thresholds(
            accept={x: draw(probability) for x in models},
            order=tuple(table.models.index(x) for x in models),
        )
    return policy, table


@settings(max_examples=400, deadline=None)
@given(cases())
def test_replay_equals_the_live_walk_row_by_row(case: tuple[Policy, Table]) -> None:
    """The same rungs in the same order, the same answer kept, the same money spent."""
    policy, table = case
    walks = replay_policy(policy, table)
    found = outcome(walks, table)
    for row in range(table.n):
        ending = live(policy, table, row)
        assert ending.kept is not None
        assert walks.sequence(row) == tuple(a.rung for a in ending.attempts)
        assert int(walks.kept[row]) == ending.attempts[ending.kept].rung
        assert found.cost[row] == pytest.approx(ending.cost_usd, rel=1e-6)
        assert found.quality[row] == table.score[row, ending.attempts[ending.kept].rung]
