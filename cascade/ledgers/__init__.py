"""Ledgers: what each account (a tenant, say) has spent in a minute, a day, a month, and may still spend.

`MemoryLedger` forgets at the end of the process, `SqliteLedger` does not, `RedisLedger` is shared by
several processes.
"""

from .budgets import Budget, Ledger, Left, Per, Refusal, Reservation, Spend, Why
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
