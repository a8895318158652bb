"""Stores of answers behind `cascade.ports.Cache`: what is kept, where, and for how long.

`MemoryCache` forgets at the end of the process, `DiskCache` does not, `RedisCache` is shared by several
machines, and `TieredCache` puts one over another. `SingleFlight` lets identical requests that are under
way at once share one call. None of them is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .disk import DiskCache
    from .memory import MemoryCache
    from .redis import RedisCache
    from .single_flight import SingleFlight
    from .tiered import TieredCache

__all__ = ["DiskCache", "MemoryCache", "RedisCache", "SingleFlight", "TieredCache"]

_HOMES = {
    "DiskCache": "disk",
    "MemoryCache": "memory",
    "RedisCache": "redis",
    "SingleFlight": "single_flight",
    "TieredCache": "tiered",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
