"""What a log lost or held that cannot be used, told on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from cascade.log_reader import LogReader
from cascade.traffic_log import TrafficLog

__all__ = ["mention_losses", "mention_skipped"]


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
