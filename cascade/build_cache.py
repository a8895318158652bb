"""Makes the cache that a ladder file describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .cached import Keeping
from .caching import CacheSettings
from .errors import ConfigError, ScorerError
from .ports import Cache, Clock
from .types import Request

if TYPE_CHECKING:
    from .cache.near import Near
    from .config import LadderConfig, NearConfig

__all__ = ["STALE_S", "cache_settings", "keeping", "near_search", "open_store"]

STALE_S = 60.0
"""Seconds that memory in front of a store serves what others may have removed from it."""


def cache_settings(
    config: LadderConfig,
    private: Callable[[Request], bool] | None = None,
    clock: Clock | None = None,
) -> CacheSettings | None:
    """Return what the cache of a ladder file is made of, or None when it has none.

    Args:
        config: What the file says.
        private: What its `private` names.
        clock: Time source; None: the machine's.

    Raises:
        ConfigError: A near-duplicate scorer cannot be loaded.
    """
    wanted = config.cache
    if wanted is None:
        return None
    return CacheSettings(
        store=_store(wanted, clock),
        keeping=keeping(config, private),
        ttl_s=wanted.ttl_s,
        near=None if wanted.near is None else near_search(wanted.near),
        **_of_near(wanted.near),
    )


def keeping(config: LadderConfig, private: Callable[[Request], bool] | None) -> Keeping:
    """Return which answers a ladder file's cache keeps."""
    wanted = config.cache
    if wanted is None:
        return Keeping()
    return Keeping(
        min_confidence=wanted.min_confidence,
        max_temperature=wanted.max_temperature,
        tool_calls=wanted.tool_calls,
        private=private,
    )


def open_store(config: LadderConfig, clock: Clock | None = None) -> Cache:
    """Return the store that a ladder file's cache is kept in, without the memory in front of it.

    Raises:
        ConfigError: It has no cache, or one that each process has for itself.
    """
    from .config import DiskCache, RedisCache

    wanted = config.cache
    if wanted is None:
        raise ConfigError("the ladder file has no `cache`; docs/cache.md says how to set one")
    if not isinstance(wanted, DiskCache | RedisCache):
        raise ConfigError(
            "cache: kind memory is inside each process and cannot be looked into; "
            "allowed: disk or redis"
        )
    return _lasting_store(wanted, clock)


def _store(wanted: Any, clock: Clock | None) -> Cache:
    from .cache import MemoryCache, TieredCache
    from .config import MemoryCache as MemoryConfig

    if isinstance(wanted, MemoryConfig):
        return MemoryCache(max_mb=wanted.max_mb, clock=clock)
    below = _lasting_store(wanted, clock)
    if not wanted.memory_mb:
        return below
    return TieredCache(MemoryCache(max_mb=wanted.memory_mb, keep_s=STALE_S, clock=clock), below)


def _lasting_store(wanted: Any, clock: Clock | None) -> Cache:
    from .cache import DiskCache, RedisCache
    from .config import DiskCache as DiskConfig

    if isinstance(wanted, DiskConfig):
        return DiskCache(wanted.path, max_mb=wanted.max_mb, clock=clock)
    return RedisCache(wanted.url, prefix=wanted.prefix, clock=clock)


def _of_near(wanted: Any) -> dict[str, Any]:
    if wanted is None:
        return {}
    from .build_parts import same_claim

    return {
        "near_for_tools": wanted.tools,
        "audit_share": wanted.audit,
        "false_hits": wanted.false_hits,
        "same_answer": same_claim,
    }


def near_search(wanted: NearConfig | None = None) -> Near:
    """Return what finds near-duplicates.

    Args:
        wanted: The table `cache.near` of a ladder file; None: as it is by default.

    Raises:
        ScorerError: Its scorer cannot be loaded, was fitted with another embedder, or that is not installed.
    """
    from scorers.pair_artifact import load_default_pairs, load_pairs

    from .cache.near import Near

    given: dict[str, Any] = {}
    if wanted is not None:
        given = {"allow": wanted.allow, "embedder": wanted.embedder}
    try:
        if wanted is None or wanted.scorer is None:
            judge = load_default_pairs(**given)
        else:
            judge = load_pairs(wanted.scorer, **given)
    except ScorerError as exc:
        raise ScorerError(f"cache.near: {exc}") from exc
    near = Near(judge)
    if wanted is not None and wanted.threshold is not None:
        near.threshold = wanted.threshold
    return near
