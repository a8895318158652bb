"""`cascade cache ls|show|rm|stats|warm`: looks into the store of a ladder's cache, and changes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from cascade.errors import ConfigError, LogError
from cascade.explain import format_usd
from cascade.ports import Cache
from cascade.types import CacheEntry

from .fitting import print_table, stdout_console

__all__ = ["ls_command", "rm_command", "show_command", "stats_command", "warm_command"]

_Config = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", help="Ladder file. Default: $CASCADE_CONFIG, or ./cascade.yaml."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def ls_command(
    config: _Config = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Newest entries shown.")] = 20,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    json: _Json = False,
) -> None:
    """List the newest entries of a cache.

    Example: cascade cache ls -c ladder.yaml -n 5
    """

    async def run() -> list[CacheEntry]:
        async with _opened(config) as store:
            found = [e async for e in store.entries() if tenant is None or e.tenant == tenant]
        return sorted(found, key=lambda entry: entry.stored_at)[-limit:]

    entries = anyio.run(run)
    if json:
        for entry in entries:
            print(msgspec.json.encode(entry).decode())
        return
    rows = []
    for entry in entries:
        sure = "-" if entry.confidence is None else f"{entry.confidence:.2f}"
        prompt = " ".join((entry.text or "-").split())[:60]
        rows.append(
            (
                entry.key[:12],
                entry.stored_at[5:19].replace("T", " "),
                escape(entry.tenant or "-"),
                escape(entry.model),
                sure,
                format_usd(entry.cost_usd),
                escape(prompt),
            )
        )
    columns = ("key", "stored", "tenant", "model", "sure", "cost", "prompt")
    words = ["key", "stored", "tenant", "model", "prompt"]
    print_table(stdout_console(), columns, rows, words=words)


def show_command(
    key: Annotated[str, typer.Argument(help="Key of the entry, or the beginning of one.")],
    config: _Config = None,
) -> None:
    """Print one entry whole.

    Example: cascade cache show 3f2a -c ladder.yaml
    """

    async def run() -> list[CacheEntry]:
        async with _opened(config) as store:
            exact = await store.get(key)
            if exact is not None:
                return [exact]
            return [entry async for entry in store.entries() if entry.key.startswith(key)]

    found = anyio.run(run)
    if len(found) != 1:
        what = "no entry" if not found else f"{len(found)} entries"
        raise LogError(f"{what} with a key that begins with {key!r:.40}")
    print(msgspec.json.format(msgspec.json.encode(found[0]), indent=2).decode())


def rm_command(
    keys: Annotated[
        list[str] | None,
        typer.Argument(help="Keys of entries, or beginnings of them.", metavar="[KEY]..."),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Those with this tag.")] = None,
    model: Annotated[str | None, typer.Option(help="Those this model answered.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Those of this tenant.")] = None,
    older_than_s: Annotated[
        float | None, typer.Option(min=0, help="Those stored longer ago, seconds.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    config: _Config = None,
) -> None:
    """Remove entries: by key, or all that fit every option given.

    Running engines serve what they hold in memory for a minute longer at most.

    Example: cascade cache rm --tag prices --older-than-s 3600 -c ladder.yaml
    """
    options = (tag, model, tenant, older_than_s)
    if not keys and not everything and all(option is None for option in options):
        raise ConfigError("nothing to remove is named; give keys, --tag, --model, … or --all")

    named: dict[str, list[str]] = {key: [] for key in keys or ()}

    def fits(entry: CacheEntry, now: datetime) -> bool:
        stored_at = datetime.fromisoformat(entry.stored_at)
        beginnings = [key for key in named if entry.key.startswith(key)]
        for key in beginnings:
            named[key].append(entry.key)
        return (
            (not named or bool(beginnings))
            and (tag is None or tag in entry.tags)
            and (model is None or entry.model == model)
            and (tenant is None or entry.tenant == tenant)
            and (older_than_s is None or now - stored_at > timedelta(seconds=older_than_s))
        )

    async def run() -> int:
        from cascade.clock import SystemClock

        now = datetime.fromisoformat(SystemClock().now_iso())
        async with _opened(config) as store:
            found = [entry.key async for entry in store.entries() if fits(entry, now)]
            for key, its in named.items():
                if len(its) > 1 and key not in its:
                    raise LogError(f"{len(its)} entries with a key that begins with {key!r:.40}")
            return await store.remove(found)

    count = anyio.run(run)
    print(f"{count:,} {'entry' if count == 1 else 'entries'} removed")


def stats_command(config: _Config = None, json: _Json = False) -> None:
    """Say how much a cache holds: entries, bytes, entries by model and by tenant; and how it was used.

    Hits are counted in the ladder's decision log, if it has one. Audits of near hits, outages and
    whatever went wrong are counted by each engine (`Cascade.cache_stats`).

    Example: cascade cache stats -c ladder.yaml
    """

    from cascade import build

    settings = build.ladder_settings(config or build.default_config_path())

    async def run() -> tuple[dict[str, int], Counter[str], Counter[str]]:
        models, tenants = Counter[str](), Counter[str]()
        async with _opened(config) as store:
            async for entry in store.entries():
                models[entry.model] += 1
                tenants[entry.tenant or "-"] += 1
            held = {"entries": models.total()}
            if "bytes" in store.stats():  # Redis does not say
                held["bytes"] = store.stats()["bytes"]
            return held, models, tenants

    stats, models, tenants = anyio.run(run)
    told = {"store": stats, "models": dict(models), "tenants": dict(tenants)}
    if settings.log is not None and Path(settings.log.path).exists():
        told["log"] = _used(Path(settings.log.path))
    if json:
        print(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        return
    rows = []
    for part, numbers in told.items():
        for name, number in numbers.items():
            title = f"{part[:-1]} {name}" if part in ("models", "tenants") else name
            rows.append((escape(title.replace("_", " ")), f"{number:,}"))
    print_table(stdout_console(), ("what", "number"), rows, words=["what"])


def _used(log: Path) -> dict[str, int]:
    """Return how many asks a decision log has, and how many were hits."""
    from cascade.log_reader import LogReader

    asks, hits = 0, Counter[str]()
    for record in LogReader(path=log):
        asks += 1
        cache = record.get("cache")
        if isinstance(cache, dict):
            hits[str(cache.get("kind"))] += 1
    return {"asks": asks, "exact_hits": hits["exact"], "near_hits": hits["near"]}


def warm_command(
    log: Annotated[Path, typer.Argument(help="Decision log with text: a folder or a segment.")],
    config: _Config = None,
) -> None:
    """Fill a cache with the answers of a decision log.

    Taken are answers that this very ladder accepted and that its rules allow to keep.

    Example: cascade cache warm logs/ -c ladder.yaml
    """
    from cascade import build
    from cascade.build_cache import open_store
    from cascade.caching import expiry
    from cascade.clock import SystemClock
    from cascade.log_reader import LogReader
    from cascade.warming import Warming

    from .losses import mention_losses

    file = config or build.default_config_path()
    settings, ladder, keeping = build.cache_parts(file)
    assert settings.cache is not None
    ttl_s = settings.cache.ttl_s
    warming = Warming(
        ladder=ladder.version,
        keeping=keeping,
        now=SystemClock().now_iso(),
        expires_at=lambda stored_at: expiry(stored_at, ttl_s),
    )
    reader = LogReader(path=log)

    async def run() -> int:
        async with _started(open_store(settings)) as store:
            return sum([await store.put(entry) for entry in warming.entries(reader)])

    print(f"answers kept: {anyio.run(run):,}")
    for why, count in warming.left_out.most_common():
        print(f"records left out: {count:,}, {why}")
    mention_losses([reader])


@asynccontextmanager
async def _opened(config: Path | None) -> AsyncIterator[Cache]:
    """Open the store of a ladder's cache; ends the command where it could not be asked."""
    from cascade import build
    from cascade.build_cache import open_store

    async with _started(
        open_store(build.ladder_settings(config or build.default_config_path()))
    ) as store:
        yield store


@asynccontextmanager
async def _started(store: Cache) -> AsyncIterator[Cache]:
    """Start a store and close it.

    An ask takes a store that is away for an empty one; who looks into it must not.
    """
    store.start()
    try:
        yield store
        if store.stats().get("failures"):
            error = Console(stderr=True, soft_wrap=True, highlight=False)
            error.print("[bold red]error:[/] the cache could not be asked, or not for everything")
            raise typer.Exit(1)
    finally:
        await store.aclose()
