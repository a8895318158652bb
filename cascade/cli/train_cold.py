"""`cascade train` on a log with too few labels: a ranking of each model's answers, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.markup import escape

from cascade.clock import SystemClock

if TYPE_CHECKING:
    from scorers.cold_start import ColdStart
    from scorers.dataset import Collected

__all__ = ["write_cold_start"]


def write_cold_start(
    found: Collected,
    models: tuple[str, ...],
    output: Path,
    labels: int,
    why: str,
    *,
    json: bool,
    errors: Console,
) -> bool:
    """Rank each model's answers, save that, and print what it is.

    Args:
        found: The rows of the log, labelled or not.
        models: The ladder.
        output: Directory for the ranking.
        labels: Labelled answers of the model that has the fewest.
        why: Why no scorer could be trained.
        json: Whether one JSON object is printed instead of words.
        errors: Told why there is nothing to rank by.

    Returns:
        Whether anything could be ranked; if not, nothing is written.
    """
    from scorers.cold_start import fit_cold_start, save_cold_start
    from scorers.report import more_labels, stage_of

    cold = fit_cold_start(found, models)
    if not any(cold.rankings.values()):
        for model, reason in cold.why.items():
            errors.print(f"not ranked without labels either: {escape(f'{model}: {reason}')}")
        return False
    facts: dict[str, Any] = {
        "created": SystemClock().now_iso(),
        "data": {"digest": found.digest(models), "rows": len(found), "rows_in_log": found.seen},
        "labels": labels,
    }
    version = save_cold_start(output, cold, facts)
    stage, next_labels = stage_of(labels), more_labels(labels)
    if json:
        told = {
            "scorer": str(output),
            "version": version,
            "kind": "cold start",
            "probability": False,
            "why": why,
            "models": [_told(model, cold) for model in cold.models],
            "stage": stage,
            "next_labels": next_labels,
        }
        print(msgspec.json.encode(told).decode())
        return True
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"[bold yellow]no scorer:[/] {escape(why)}")
    for model in cold.models:
        one = _told(model, cold)
        how = (
            f"not ranked: {one['why_not']}"
            if one["ranked_by"] is None
            else f"ranked by {one['ranked_by']} among {one['answers']:,} answers"
        )
        console.print(f"  {escape(model)}: {escape(how)}")
    console.print(
        "[bold]a ranking, not a probability[/]: the confidence of an answer is its rank among that "
        "model's answers in this log, so that `accept: 0.4` sends about 40 % of like traffic on; "
        "nothing can be promised with it"
    )
    console.print(escape(stage))
    console.print(escape(next_labels))
    console.print(f"saved {escape(str(output))} ({escape(version)})")
    return True


def _told(model: str, cold: ColdStart) -> Mapping[str, Any]:
    ranking = cold.rankings[model]
    if ranking is None:
        return {"name": model, "ranked_by": None, "answers": 0, "why_not": cold.why[model]}
    by = "log-probability" if ranking.by_logprob else "text"
    return {"name": model, "ranked_by": by, "answers": ranking.answers, "why_not": None}
