"""Ledgers: what each account (a tenant, say) has spent in a minute, a day, a month, and may still spend.

`MemoryLedger` forgets at the end of the process, `SqliteLedger` does not, `RedisLedger` is shared by
several processes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .budgets import Budget, Ledger, Left, Per, Refusal, Reservation, Spend, Why

if TYPE_CHECKING:
    from .memory import MemoryLedger
    from .redis import OnOutage, RedisLedger
    from .sqlite import SqliteLedger

__all__ = [
    "Budget",
    "Ledger",
    "Left",
    "MemoryLedger",
    "OnOutage",
    "Per",
    "RedisLedger",
    "Refusal",
    "Reservation",
    "Spend",
    "SqliteLedger",
    "Why",
]

_STORES = {
    "MemoryLedger": ".memory",
    "OnOutage": ".redis",
    "RedisLedger": ".redis",
    "SqliteLedger": ".sqlite",
}


def __getattr__(name: str) -> Any:
    """Load a store at first use: whoever imports cascade pays for none."""
    if name in _STORES:
        return getattr(importlib.import_module(_STORES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
