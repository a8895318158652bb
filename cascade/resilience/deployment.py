"""One deployment of a model in a pool: how it is reached, and what is known of its load."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b

from ..ports import Client
from ..pricing import Price

__all__ = ["FAILED_S", "TAU_S", "Deployment", "Member"]

TAU_S = 30.0
"""Seconds in which what is known of a latency fades to 1/e: about one slow answer of a model."""

FAILED_S = 10.0
"""Seconds that a failed call counts for at least: one that fails at once is not a quick one."""

_UNKNOWN_S = 1e6
"""What a deployment with a first call in flight counts for: it is tried out with one call at a time."""


@dataclass(frozen=True, slots=True)
class Member:
    """One of several deployments that serve the same model.

    Attributes:
        name: What its errors name as `provider`.
        client: What performs its calls.
        weight: Its share of the calls relative to the others, finite and > 0.
        model: What the model is called there; None: as the call names it.
        price: Its prices; None: whoever asked prices the answer.
    """

    name: str
    client: Client
    weight: float = 1.0
    model: str | None = None
    price: Price | None = None


class Deployment:
    """A member at work: its calls in flight, and a peak-sensitive mean of their latencies.

    The mean jumps up to each latency above it and falls slowly; with no calls it fades, so that a
    slow deployment is tried again. Source: the peak EWMA balancer of Twitter's Finagle.

    Attributes:
        member: What it was made of.
        in_flight: Calls that are running.
        turn: When it was last chosen, by the strategy's own count; 0: never.
        seed: 64 bits that are its own, the same in every process.
    """

    __slots__ = ("_latency_s", "_noted_at", "in_flight", "member", "seed", "turn")

    def __init__(self, member: Member) -> None:
        self.member = member
        self.in_flight = 0
        self.turn = 0
        self.seed = int.from_bytes(blake2b(member.name.encode(), digest_size=8).digest())
        self._latency_s = 0.0
        self._noted_at = 0.0

    def __repr__(self) -> str:
        return f"<Deployment {self.member.name}, {self.in_flight} in flight>"

    def note_latency(self, seconds: float, now: float) -> None:
        """Take in how long an answered call took."""
        if seconds < self._latency_s:
            kept = math.exp((self._noted_at - now) / TAU_S)
            seconds = self._latency_s * kept + seconds * (1.0 - kept)
        self._latency_s = seconds
        self._noted_at = now

    def note_failure(self, seconds: float, now: float) -> None:
        """Take in a call that failed after `seconds`."""
        self.note_unfinished(max(seconds, FAILED_S), now)

    def note_unfinished(self, seconds: float, now: float) -> None:
        """Take in a call that would have taken at least `seconds`."""
        if seconds > self._latency_s * math.exp((self._noted_at - now) / TAU_S):
            self._latency_s = seconds
            self._noted_at = now

    def load(self, now: float) -> float:
        """Return the seconds of work that another call would find, by what is known."""
        if self._latency_s == 0.0:
            return _UNKNOWN_S + self.in_flight if self.in_flight else 0.0
        return self._latency_s * math.exp((self._noted_at - now) / TAU_S) * (self.in_flight + 1)
