"""What a log lost or held that cannot be used, told on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from cascade.log_reader import LogReader
from cascade.traffic_log import TrafficLog

__all__ = ["ignored_fields", "mention_losses", "mention_skipped"]

SHOWN_NAMES = 5


def mention_losses(readers: Iterable[LogReader]) -> None:
    """Print how many decision records were torn or dropped."""
    read = list(readers)
    torn, dropped = sum(r.torn for r in read), sum(r.dropped for r in read)
    if torn:
        print(f"{torn} lines could not be read (cut off by a killed process)", file=sys.stderr)
    if dropped:
        print(f"{dropped} records were dropped when they were written", file=sys.stderr)


def mention_skipped(log: TrafficLog) -> None:
    """Print how many rows were skipped, why, and where the first of each kind is."""
    for reason, count in log.skipped.most_common():
        first = log.first_skipped[reason]
        print(f"skipped {count:,} rows: {reason}; the first: {first}", file=sys.stderr)


def ignored_fields(log: TrafficLog) -> list[str]:
    """Return at most one line: the fields that were passed over, and in how many rows.

    A misspelt `score` would otherwise look like a log without labels.
    """
    named = [f"field {name!r:.80} in {n:,} rows" for name, n in log.ignored.most_common()]
    if not named:
        return []
    more = len(named) - SHOWN_NAMES
    tail = f", and {more} more" if more > 0 else ""
    return [f"ignored: {', '.join(named[:SHOWN_NAMES])}{tail}"]
