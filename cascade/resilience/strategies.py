"""Which of several deployments is asked next: five ways to spread calls, and one to keep them together.

Each choice is among those that have not refused the call already, and there is always one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import Literal, Protocol

from ..ports import Clock
from ..pricing import Price
from .deployment import Deployment

__all__ = ["STRATEGIES", "Chooser", "Sticky", "Strategy", "chooser", "preferred"]

Strategy = Literal["weighted", "round_robin", "least_busy", "fastest", "cheapest"]
"""How calls are spread: at random by weight; in turn; to the fewest calls in flight for its weight; to
the least expected wait of two picked at random; to the lowest price."""

Sticky = Literal["none", "tenant", "session"]
"""What keeps its calls on one deployment, so that the provider's prompt cache serves them."""

STRATEGIES: tuple[Strategy, ...] = ("weighted", "round_robin", "least_busy", "fastest", "cheapest")

_INPUT_PER_OUTPUT = 3.0
"""Input tokens assumed for each output token where two prices are compared."""

_64_BITS = 0xFFFF_FFFF_FFFF_FFFF


class Chooser(Protocol):
    """Chooses a deployment for a call."""

    def choose(self, among: Sequence[Deployment]) -> Deployment:
        """Return one of `among`, which is not empty."""


def chooser(strategy: Strategy, rng: Random, clock: Clock) -> Chooser:
    """Return what chooses by `strategy`, one of `STRATEGIES`."""
    if strategy == "weighted":
        return _Weighted(rng)
    if strategy == "round_robin":
        return _RoundRobin()
    if strategy == "least_busy":
        return _LeastBusy()
    if strategy == "fastest":
        return _Fastest(rng, clock)
    return _Cheapest()


def preferred(key: str, among: Sequence[Deployment]) -> Deployment:
    """Return the deployment on which `key` stays, by rendezvous hashing: the same in every process.

    Keys are shared out by weight. When a deployment goes, only its own keys move.

    Source: Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005), the logarithmic
    method. Not `crc32`: it is linear, so that with three members the shares would not come out even.
    """
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    number = int.from_bytes(digest)
    best, least = among[0], math.inf
    for deployment in among:
        even = ((_mixed(number ^ deployment.seed) >> 11) + 1) * 2.0**-53  # in (0, 1]
        distance = -math.log(even) / deployment.member.weight
        if distance < least:
            best, least = deployment, distance
    return best


def _mixed(bits: int) -> int:
    """Return 64 bits of which each depends on all of those given: the finish of splitmix64."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & _64_BITS
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & _64_BITS
    return bits ^ (bits >> 31)


class _Weighted:
    def __init__(self, rng: Random) -> None:
        self._random = rng.random

    def choose(self, among: Sequence[Deployment]) -> Deployment:
        total = 0.0
        for deployment in among:
            total += deployment.member.weight
        left = self._random() * total
        for deployment in among:
            left -= deployment.member.weight
            if left < 0.0:
                return deployment
        return among[-1]


class _RoundRobin:
    """The one asked longest ago: where one is out, its calls fall to all others alike."""

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, among: Sequence[Deployment]) -> Deployment:
        best = among[0]
        for deployment in among:
            if deployment.turn < best.turn:
                best = deployment
        self._turn = best.turn = self._turn + 1
        return best


class _LeastBusy:
    """The fewest calls in flight for its weight; of equal ones that asked longest ago."""

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, among: Sequence[Deployment]) -> Deployment:
        best, least = among[0], math.inf
        for deployment in among:
            busy = (deployment.in_flight + 1) / deployment.member.weight
            if busy < least or (busy == least and deployment.turn < best.turn):
                best, least = deployment, busy
        self._turn = best.turn = self._turn + 1
        return best


class _Fastest:
    """The least expected wait of two picked at random: a crowd does not rush to the same one.

    Source: Mitzenmacher, "The power of two choices in randomized load balancing" (2001).
    """

    def __init__(self, rng: Random, clock: Clock) -> None:
        self._random = rng.random
        self._clock = clock

    def choose(self, among: Sequence[Deployment]) -> Deployment:
        count = len(among)
        if count == 1:
            return among[0]
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        if second >= first:
            second += 1
        now = self._clock.monotonic()
        one, other = among[first], among[second]
        return other if other.load(now) < one.load(now) else one


class _Cheapest:
    """The lowest price; of equal ones the fewest calls in flight."""

    def choose(self, among: Sequence[Deployment]) -> Deployment:
        return min(among, key=_price_then_load)


def _price_then_load(deployment: Deployment) -> tuple[float, int]:
    price: Price | None = deployment.member.price
    usd = math.inf if price is None else _INPUT_PER_OUTPUT * price.input + price.output
    return usd, deployment.in_flight
