"""What a decision log says of chance: the actions taken and their probabilities, for off-policy estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.errors import LogError
from cascade.log_reader import LogReader
from cascade.traffic_log import TrafficLog

if TYPE_CHECKING:
    from cascade.replay.holes import Logged
    from cascade.replay.table import Table

__all__ = ["logged_actions"]


def logged_actions(logs: Sequence[Path], table: Table) -> list[Logged] | None:
    """Return what was done with each row of the table, or None when nothing was left to chance.

    Rows of traffic logs, and records whose calls failed or were skipped, count as not agreeing with
    any policy. Of two records of one id the later counts.

    Cost: one pass; of each record of the table its actions are kept, and nothing of the others.
    """
    from cascade.replay.holes import Logged

    wanted = set(table.ids)
    done: dict[str, Logged | None] = {}
    try:
        for path in TrafficLog(paths=list(logs)).files():
            for record in LogReader(path=path):
                key = str(record.get("id", ""))
                if key in wanted:
                    done[key] = _logged(record, table.models)
    except LogError:
        return None  # a traffic log: it holds every model's answer and no decisions
    nothing = Logged(actions=(None,), probabilities=(1.0,))
    found = [done.get(key) or nothing for key in table.ids]
    chance = any(p < 1.0 for one in found for p in one.probabilities)
    return found if chance else None


def _logged(record: Mapping[str, Any], models: Sequence[str]) -> Logged | None:
    from cascade.replay.holes import Logged

    if not record.get("opening") or not record.get("attempts"):
        return None
    actions: list[int | None] = []
    probabilities: list[float] = []
    attempts = record["attempts"]
    chances = [record["opening"], *(a.get("probabilities") or {} for a in attempts)]
    for attempt, chance in zip(attempts, chances, strict=False):
        known = attempt.get("model") in models
        if attempt.get("verdict") in ("failed", "skipped", "rejected") or not known:
            return None
        actions.append(models.index(attempt["model"]))
        probabilities.append(float(chance.get(f"call:{attempt.get('rung')}", 0.0)))
    actions.append(None)
    probabilities.append(float(chances[-1].get("stop", 0.0)))
    if not all(0.0 < p <= 1.0 for p in probabilities):
        return None
    return Logged(actions=tuple(actions), probabilities=tuple(probabilities))
