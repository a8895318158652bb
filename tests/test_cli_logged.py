"""What a decision log says of chance."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

from cascade.cli.logged import logged_actions
from cascade.replay.table import Table, make_table


def record(id: str, p: float, *, text: str = "x", verdict: str = "accepted") -> dict[str, Any]:
    """One ask of the first rung, which was called with this probability."""
    attempt = {
        "rung": 0,
        "model": "small",
        "verdict": verdict,
        "text": text,
        "probabilities": {"stop": 1.0},
    }
    opening = {"call:0": p, "call:1": 1.0 - p}
    return {"kind": "decision", "schema": 1, "id": id, "opening": opening, "attempts": [attempt]}


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in records))
    return path


def table(*ids: str) -> Table:
    ones = [[1.0, 1.0]] * len(ids)
    return make_table(models=("small", "large"), ids=ids, score=ones, cost=ones)


def test_each_row_of_the_table_has_what_was_done_with_it(tmp_path: Path) -> None:
    """In its order; rows without a record, or whose call failed, agree with no policy."""
    made = [record("a", 0.75), record("b", 0.5), record("c", 0.5, verdict="failed")]
    found = logged_actions([write(tmp_path / "log.jsonl", made)], table("c", "b", "absent", "a"))
    assert found is not None
    assert [one.probabilities for one in found] == [(1.0,), (0.5, 1.0), (1.0,), (0.75, 1.0)]
    assert found[3].actions == (0, None)
    assert found[0].actions == found[2].actions == (None,)


def test_of_two_records_of_one_id_the_later_counts(tmp_path: Path) -> None:
    """Also where it says nothing."""
    made = [
        record("a", 0.75),
        record("a", 0.25),
        record("b", 0.5),
        record("b", 0.5, verdict="failed"),
    ]
    found = logged_actions([write(tmp_path / "log.jsonl", made)], table("a", "b"))
    assert found is not None
    assert [one.probabilities for one in found] == [(0.25, 1.0), (1.0,)]


def test_a_log_without_chance_has_nothing_to_say(tmp_path: Path) -> None:
    """Nor has a traffic log."""
    log = write(tmp_path / "log.jsonl", [record("a", 1.0)])
    assert logged_actions([log], table("a")) is None
    row = {"id": "a", "prompt": "x", "responses": []}
    assert logged_actions([write(tmp_path / "traffic.jsonl", [row])], table("a")) is None


def test_a_log_is_not_held_in_memory(tmp_path: Path) -> None:
    """20 MB of answers, of which a table needs three rows."""
    made = [record(f"r{i}", 0.5, text="word " * 1_000) for i in range(4_000)]
    log = write(tmp_path / "log.jsonl", made)
    del made
    rows = table("r0", "r7", "r3999")
    tracemalloc.start()
    try:
        found = logged_actions([log], rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found is not None
    assert [one.probabilities[0] for one in found] == [0.5, 0.5, 0.5]
    assert peak < 2e6
