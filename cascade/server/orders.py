"""What the supervisor and its workers tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Failures", "Load", "Loaded", "Ready", "Refuse", "Take"]

Failures = Mapping[Path, tuple[str, ...]]
"""By file: why it cannot be served as it stands, a line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """To a worker: make these ready to be served, and say whether that went well.

    Attributes:
        turn: Number of the reload.
        ladders: What the ladder files to load held when they were read: the same for all workers.
        keys: What the file of keys held; None: it is not to be loaded.
        failures: Of earlier reloads, for a worker that begins.
    """

    turn: int
    ladders: Mapping[Path, bytes]
    keys: bytes | None
    failures: Failures = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """To a worker: serve what you have made ready."""

    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """To a worker: close what you have made ready; this is why."""

    turn: int
    failures: Failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """From a worker: it serves.

    Attributes:
        ladders: Their names.
        grace_s: Seconds it needs at its end.
    """

    ladders: tuple[str, ...]
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """From a worker: what it was to load is ready, or why it is not.

    Attributes:
        turn: As in `Load`.
        ladders: Names of what was loaded.
        failures: Empty: it is ready.
    """

    turn: int
    ladders: tuple[str, ...] = ()
    failures: Failures = field(default_factory=dict)
