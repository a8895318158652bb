"""Whether asks can be answered: what `/readyz` says. It names parts, and never a key or an address."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio

from .served import Ladders, Served

__all__ = ["Readiness"]

CHECKED_S = 10.0
"""How long it is believed that a provider could be connected to, or not, seconds."""

CONNECT_S = 2.0
"""Longest a connection may take, seconds."""


class Readiness:
    """Looks at every part of the ladders that are served.

    Args:
        ladders: They.
        check_providers: Whether providers are connected to. Else only breakers tell.
    """

    def __init__(self, ladders: Ladders, *, check_providers: bool) -> None:
        self._ladders = ladders
        self._check_providers = check_providers
        self._checked: dict[tuple[str, int], tuple[float, bool]] = {}
        self._one = anyio.Lock()

    async def told(self, *, details: bool) -> dict[str, Any]:
        """Return what is said.

        Args:
            details: Whether each ladder is told apart, and the mistakes of files are quoted.

        Returns:
            `status` is ``ready``, ``closing``, or ``not_ready``: then `reasons` says why.
        """
        ladders = self._ladders
        every = [(served, await self._ladder(served)) for served in ladders.all()]
        reasons = [
            f"{served.name}: {part}: {state}" if details else f"{part}: {state}"
            for served, parts in every
            for part, state in parts.items()
            if state not in ("ok", "none")
        ]
        if not every:
            reasons.append("no ladder is loaded")
        status = "closing" if ladders.closing else "not_ready" if reasons else "ready"
        told: dict[str, Any] = {
            "status": status,
            "reload": "failed" if ladders.failures else "ok",
        }
        if reasons and not ladders.closing:
            told["reasons"] = list(dict.fromkeys(reasons))
        if details:
            told["ladders"] = {
                served.name: {
                    "version": served.engine.ladder.version,
                    "loaded": served.created,
                    "in_flight": served.in_flight,
                    **parts,
                    "rungs": dict(self._rungs(served)),
                    **_shared(served),
                }
                for served, parts in every
            }
            told["problems"] = [line for lines in ladders.failures.values() for line in lines]
        return told

    async def _ladder(self, served: Served) -> dict[str, str]:
        """Return the state of each part: ``ok``, ``none``, or what is the matter."""
        config = served.config
        problems = await served.engine.problems()
        present = {
            "cache": config.cache is not None,
            "ledger": bool(config.budgets or config.tenants),
            "log": config.log is not None,
        }
        parts = {
            part: problems.get(part, "ok") if there else "none" for part, there in present.items()
        }
        parts["providers"] = "ok"
        if all(state == "open" for state in self._rungs(served).values()):
            parts["providers"] = "every rung's breaker is open"
        elif self._check_providers and not await self._any_reached(served):
            parts["providers"] = "none can be connected to"
        return parts

    def _rungs(self, served: Served) -> Mapping[str, str]:
        """Return by rung whether calls are made: its breaker's state, of a pool the best of its members'."""
        states, config = served.engine.breaker_states(), served.config
        found: dict[str, str] = {}
        for i, rung in enumerate(config.ladder):
            provider = config.providers[rung.provider]
            members = [(rung.provider, rung.model)]
            if provider.kind == "pool":
                members = [
                    (member, rung.model)
                    if isinstance(member, str)
                    else (member.provider, member.model or rung.model)
                    for member in provider.of
                ]
            of_all = {states.get(name, {}).get(model, "closed") for name, model in members}
            best = next(state for state in ("closed", "half_open", "open") if state in of_all)
            found[f"{i} {rung.model}"] = best
        return found

    async def _any_reached(self, served: Served) -> bool:
        """Return whether any of the providers can be connected to, now or a little while ago."""
        config = served.config
        places = set()
        for provider in config.providers.values():
            base_url = getattr(provider, "base_url", None)
            if base_url is None:
                if provider.kind == "recorded":
                    return True
                continue
            parts = urlsplit(base_url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            places.add((parts.hostname or "", port))
        async with self._one, anyio.create_task_group() as tasks:
            for place in places:
                tasks.start_soon(self._check, place)
        return any(self._checked[place][1] for place in places)

    async def _check(self, place: tuple[str, int]) -> None:
        before = self._checked.get(place)
        if before is not None and time.monotonic() - before[0] < CHECKED_S:
            return
        reached = False
        with anyio.move_on_after(CONNECT_S):
            try:
                stream = await anyio.connect_tcp(*place)
            except OSError:
                pass
            else:
                reached = True
                await stream.aclose()
        self._checked[place] = (time.monotonic(), reached)


def _shared(served: Served) -> dict[str, Any]:
    """Return how well sharing through Redis goes; it is in nobody's way when it does not."""
    statistics = served.engine.shared_statistics()
    return {} if statistics is None else {"shared": statistics._asdict()}
