"""Small ladders and clients that many tests share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade import Cascade, Ladder, Price, Rung
from cascade.testing import ListSink, ScriptedClient, ScriptedScorer
from cascade.types import Answer


def two_rungs(**first: Any) -> Ladder:
    """A cheap rung accepted from 0.8, and one ten times as dear."""
    return Ladder(
        name="test",
        rungs=(
            Rung(
                **{
                    "model": "small",
                    "provider": "p",
                    "accept": 0.8,
                    "price": Price(input=1, output=1),
                }
                | first
            ),
            Rung(model="large", provider="p", price=Price(input=10, output=10)),
        ),
    )


def engine(
    small: Answer | Exception | str | Sequence[Answer | Exception | str],
    large: Answer | Exception | str | Sequence[Answer | Exception | str] = "unused",
    **options: Any,
) -> tuple[Cascade, ScriptedClient, ListSink]:
    """An engine over `two_rungs` whose answers are scripted, with its client and log."""
    script = {
        "small": small if isinstance(small, list) else [small],
        "large": large if isinstance(large, list) else [large],
    }
    client, sink = ScriptedClient(script), ListSink()
    options = {"scorer": ScriptedScorer(), "sink": sink} | options
    ladder = options.pop("ladder", None) or two_rungs()
    return Cascade(ladder, {"p": client}, **options), client, sink
