"""What a ladder file may say of streams: what happens with a draft before it is complete."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..stream_rules import CHECKPOINTS, StreamRule
from .table import Table
from .values import Count, Probability

__all__ = ["RungStreamConfig", "StreamConfig", "stream_rule"]

_Logprob = Annotated[float, Field(le=0, allow_inf_nan=False)]


class StreamConfig(Table):
    """How streams handle what a rung says before it is complete; the last rung streams straight through."""

    mode: Literal["hold", "early"] = Field(
        default="hold",
        description="`hold`: nothing is passed on before the answer is accepted. `early`: a draft is "
        "judged at `checkpoints`, and passed on from there, or ended.",
    )
    accept: Probability | None = Field(
        default=None,
        description="P(right) of a beginning from which it is passed on; it is final then. Absent: the "
        "rung's own `accept`.",
    )
    reject: Probability | None = Field(
        default=None,
        description="P(right) of a beginning below which its connection is closed. Absent: never for "
        "its confidence.",
    )
    min_logprob: _Logprob | None = Field(
        default=None,
        description="Mean log-probability of the tokens below which the connection is closed. Absent: "
        "never for that.",
    )
    checkpoints: Annotated[tuple[Count, ...], Field(min_length=1, max_length=32, strict=False)] = (
        Field(
            default=CHECKPOINTS,
            description="Tokens at which a draft is judged, rising. A trained scorer knows those it "
            "was trained with.",
        )
    )


class RungStreamConfig(StreamConfig):
    """The same for one rung, in place of the ladder's `stream`."""

    mode: Literal["hold", "early", "through"] = Field(  # type: ignore[assignment]
        default="hold",
        description="As in `stream`; here `hold` and `early` hold for the last rung too. `through`: "
        "passed on from the first byte, and final.",
    )


def stream_rule(
    of_rung: RungStreamConfig | None, of_ladder: StreamConfig | None, accept: float | None
) -> StreamRule:
    """Return the rule of a rung.

    Args:
        of_rung: Its own `stream`, if any.
        of_ladder: That of the ladder, if any.
        accept: Confidence from which its whole answers are accepted; None: never by confidence.
    """
    said = of_ladder if of_rung is None else of_rung
    if said is None:
        return StreamRule()
    return StreamRule(
        mode=said.mode,
        last="through" if of_rung is None else "as_mode",
        accept=accept if said.accept is None else said.accept,
        reject=said.reject,
        min_logprob=said.min_logprob,
        checkpoints=said.checkpoints,
    )
