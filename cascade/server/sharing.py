"""What several workers would count each for itself, and so allow several times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import LadderError, Problem

if TYPE_CHECKING:
    from ..config import LadderConfig

__all__ = ["refuse_unshared"]

_COUNTED = ("concurrent", "requests_per_min", "tokens_per_min")


def refuse_unshared(config: LadderConfig, workers: int, file: str) -> None:
    """Refuse budgets and limits that are not shared between processes.

    A cache in memory and breakers are each worker's own too, which costs hits and calls but breaks
    no promise.

    Args:
        config: What a ladder file says.
        workers: Processes that are to serve it, > 1.
        file: What messages call the ladder file.

    Raises:
        LadderError: Names each place and what to write there.
    """
    problems = []
    if (config.budgets or config.tenants) and config.ledger.kind != "redis":
        how = "can be open in one process" if config.ledger.kind == "sqlite" else "counts in one"
        problems.append(
            Problem(
                file=file,
                path="ledger",
                message=f"`kind: {config.ledger.kind}` {how}, and {workers} workers are wanted",
                allowed="`ledger: {kind: redis, url: …}`, or `--workers 1`",
            )
        )
    problems += [
        Problem(
            file=file,
            path=place,
            message=f"each of {workers} workers would count it for itself",
            allowed="`shared: {kind: redis, url: …}`, or `--workers 1`",
        )
        for place in _limits(config)
        if config.shared is None or not config.shared.limits
    ]
    if problems:
        raise LadderError(problems)


def _limits(config: LadderConfig) -> Iterator[str]:
    """Yield the places of all limits on calls."""
    for name, provider in config.providers.items():
        yield from _set(f"providers.{name}.limits", getattr(provider, "limits", None))
    for name, tenant in config.tenants.items():
        yield from _set(f"tenants.{name}.limits", tenant.limits)


def _set(place: str, limits: object) -> Iterator[str]:
    for key in _COUNTED:
        if getattr(limits, key, None) is not None:
            yield f"{place}.{key}"
