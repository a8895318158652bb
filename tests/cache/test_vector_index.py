"""The index over meanings: what is near, that scopes never mix, and that rows and graph agree."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.cache.vector_index import VectorIndex

needs_usearch = pytest.mark.skipif(not find_spec("usearch"), reason="usearch is not installed")
BOTH = [pytest.param(False, id="rows"), pytest.param(True, id="graph", marks=needs_usearch)]


def vectors(n: int, seed: int = 0) -> np.ndarray:
    """Return rows of length 1."""
    made = np.random.default_rng(seed).normal(size=(n, 32)).astype(np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True))


@pytest.mark.parametrize("graph", BOTH)
@pytest.mark.parametrize("n", [1, 5, 300])
def test_every_vector_finds_itself_first(graph: bool, n: int) -> None:
    """Among few and among many."""
    index = VectorIndex(graph=graph)
    rows = vectors(n)
    for i, row in enumerate(rows):
        index.add(str(i), "s", row)
    assert len(index) == n
    first = [index.find("s", row, 3)[0] for row in rows]
    assert first == [str(i) for i in range(n)]
    assert len(index.find("s", rows[0], 3)) == min(3, n)
    assert index.find("t", rows[0], 3) == []


@needs_usearch
def test_the_graph_finds_what_comparing_all_finds() -> None:
    """Of the nearest four nearly all."""
    rows, graph = VectorIndex(graph=False), VectorIndex(graph=True)
    for i, row in enumerate(vectors(600)):
        rows.add(str(i), "s", row)
        graph.add(str(i), "s", row)
    asked = vectors(50, seed=1)
    same = [len({*rows.find("s", row, 4)} & {*graph.find("s", row, 4)}) for row in asked]
    assert sum(same) >= 0.95 * 4 * 50


@pytest.mark.parametrize("graph", BOTH)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 90), st.sampled_from("stu")),
        min_size=100,
        max_size=260,
    )
)
@settings(max_examples=25, deadline=None)
def test_scopes_never_mix_and_what_is_dropped_is_gone(
    graph: bool, steps: list[tuple[bool, int, str]]
) -> None:
    """After any additions and removals."""
    rows = vectors(91)
    index = VectorIndex(graph=graph)
    kept: dict[str, str] = {}
    for number, (added, key, scope) in enumerate(steps):
        if added or number < 80:
            index.add(str(key), scope, rows[key])
            kept[str(key)] = scope
        else:
            assert index.discard(str(key)) == (kept.pop(str(key), None) is not None)
    assert len(index) == len(kept)
    for scope in "stu":
        here = {key for key, its in kept.items() if its == scope}
        for key in here:
            found = index.find(scope, rows[int(key)], 5)
            assert found[0] == key
            assert set(found) <= here
            assert len(found) == len(set(found))
    assert not any(index.find("nobody's", row, 5) for row in rows[:3])
