"""What is written about requests: decision records of our own, and traffic rows of any source."""

from __future__ import annotations

from .decision import SCHEMA, Outcome, decision_record, upgrade
from .traffic import (
    Response,
    RowReader,
    TrafficRow,
    attempt_score,
    decode_row,
    row_from_record,
    row_problems,
)

__all__ = [
    "SCHEMA",
    "Outcome",
    "Response",
    "RowReader",
    "TrafficRow",
    "attempt_score",
    "decision_record",
    "decode_row",
    "row_from_record",
    "row_problems",
    "upgrade",
]
