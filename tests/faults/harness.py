"""Opens an engine from a ladder file, sends it asks, and collects the evidence.

Everything goes the way of a user: a YAML file, real HTTP on loopback, a decision log on disk.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import yaml

from cascade import Cascade
from cascade.errors import RunError
from cascade.log_reader import LogReader

from .checks import Evidence
from .plan import PRICES, prompt
from .upstreams import Upstream
from .watch import Lag, Resources, Seen, describe

__all__ = [
    "DEADLINE_S",
    "Setting",
    "ask_once",
    "crowd",
    "gather",
    "ladder_file",
    "pool",
    "provider",
]

DEADLINE_S = 2.0
"""Seconds an ask is given."""

TIMEOUT_S = 0.5
"""Seconds one call to a bad deployment may take."""

PATIENT_S = 1.5
"""Seconds one call to a healthy deployment may take, connecting included, on a busy machine."""

CONNECT_S = 0.4
"""Seconds that connecting to a bad deployment may take."""

OPEN_S = 0.25
"""Seconds for which a breaker opens at first."""

RETRY = {"attempts": 3, "backoff_s": 0.02, "max_backoff_s": 0.1, "share": 0.2}
BREAKER = {"open_s": OPEN_S, "window_s": 5.0}
LIMITS = {"max_wait_s": 0.1}

_REFUSED_S = 0.05

_SETTLED_S = 2.0
"""Seconds that closed connections are given to be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How much of everything, and where.

    Attributes:
        folder: For ladder files and logs; a fresh one for each scenario.
        upstream: The one that misbehaves.
        spare: Another one, in a process of its own, that does not.
        asks: Asks of a scenario.
        in_flight: Asks at once.
    """

    folder: Path
    upstream: Upstream
    spare: Upstream
    asks: int = 5_000
    in_flight: int = 200


def provider(url: str, timeout_s: float = PATIENT_S, **more: Any) -> dict[str, Any]:
    """Return an OpenAI-compatible provider for a ladder file."""
    return {
        "kind": "openai",
        "base_url": url,
        "timeout_s": timeout_s,
        "connect_timeout_s": CONNECT_S if timeout_s < PATIENT_S else PATIENT_S,
        "retry": RETRY,
        "breaker": BREAKER,
        "limits": LIMITS,
        **more,
    }


def pool(members: Sequence[tuple[str, float]], **more: Any) -> dict[str, Any]:
    """Return a pool of these providers, each with its weight."""
    of = [{"provider": name, "weight": weight} for name, weight in members]
    return {"kind": "pool", "of": of, "retry": RETRY, **more}


def ladder_file(
    folder: Path,
    providers: Mapping[str, Mapping[str, Any]],
    rungs: Sequence[tuple[str, str]],
    **more: Any,
) -> Path:
    """Write a ladder and return its path; its log goes to `log` beside it.

    Args:
        folder: Where to.
        providers: As in the file.
        rungs: (model, provider) of each, cheapest first.
        **more: Further keys of the file.
    """
    ladder: list[dict[str, Any]] = [
        {
            "model": model,
            "provider": name,
            "price": dict(zip(("input", "output"), PRICES[model], strict=True)),
        }
        for model, name in rungs
    ]
    for rung in ladder[:-1]:
        rung["accept"] = 0.8
    document = {
        "version": 1,
        "providers": {name: dict(fields) for name, fields in providers.items()},
        "ladder": ladder,
        "deadline_s": DEADLINE_S,
        "log": {"path": "log"},
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ladder.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


async def ask_once(ladder: Cascade, ask: int) -> Seen:
    """Ask one question and return what came of it, whatever that is."""
    began = time.monotonic()
    try:
        result = await ladder.ask(prompt(ask), metadata={"ask": ask})
    except RunError as exc:
        return describe(ask, began, None, exc)
    except Exception as exc:  # noqa: BLE001 - that anything else is raised is a finding
        return describe(ask, began, None, exc)
    return describe(ask, began, result)


async def crowd(
    ladder: Cascade,
    asks: Iterable[int],
    in_flight: int,
    one: Callable[[Cascade, int], Awaitable[Seen]] = ask_once,
) -> list[Seen]:
    """Ask all of these, so many at a time; who is refused waits a little before asking again."""
    waiting = iter(asks)
    seen: list[Seen] = []

    async def work() -> None:
        while (ask := next(waiting, None)) is not None:
            seen.append(await one(ladder, ask))
            if seen[-1].outcome == "failed":
                await anyio.sleep(_REFUSED_S)

    async with anyio.create_task_group() as tasks:
        for _ in range(in_flight):
            tasks.start_soon(work)
    return seen


@dataclass(slots=True)
class _Span:
    seen: list[Seen] = field(default_factory=list)
    elapsed_s: float = 0.0


async def gather(
    file: Path,
    setting: Setting,
    drive: Callable[[Cascade], Awaitable[list[Seen]]] | None = None,
    *,
    probes: float | None = OPEN_S,
    **overrides: Any,
) -> Evidence:
    """Open the ladder, let `drive` ask (default: a crowd), close it, and return the evidence.

    `overrides` replace what the file says; see `Cascade.from_yaml`.
    """
    lag = Lag()
    span = _Span()
    before = Resources.held()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lag.run)
        async with Cascade.from_yaml(file, **overrides) as ladder:
            began = time.monotonic()
            if drive is None:
                span.seen = await crowd(ladder, range(setting.asks), setting.in_flight)
            else:
                span.seen = await drive(ladder)
            span.elapsed_s = time.monotonic() - began
        tasks.cancel_scope.cancel()
    after = Resources.held()
    until = time.monotonic() + _SETTLED_S
    while after != before and time.monotonic() < until:
        await anyio.sleep(0.02)
        after = Resources.held()
    log = LogReader(path=file.parent / "log")
    records = list(log)
    return Evidence(
        seen=span.seen,
        records=records,
        torn=log.torn,
        dropped=log.dropped,
        counts=[
            upstream.settled_counts(_SETTLED_S) for upstream in (setting.upstream, setting.spare)
        ],
        before=before,
        after=after,
        lag=lag,
        deadline_s=DEADLINE_S,
        in_flight=setting.in_flight,
        elapsed_s=span.elapsed_s,
        probes=probes,
    )
