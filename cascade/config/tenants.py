"""What a ladder file may say of budgets: for the ladder, for each tenant, and where they are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from .resilience import LimitsConfig
from .table import Table, tag_by_kind
from .values import Count, Hidden, Name, Seconds

__all__ = [
    "BudgetConfig",
    "Budgets",
    "LedgerConfig",
    "MemoryLedger",
    "RedisLedger",
    "SqliteLedger",
    "TenantConfig",
    "WhenSpent",
]

WhenSpent = Literal["cached", "cheaper", "refuse"]


class BudgetConfig(Table):
    """What may be spent in a period of the calendar (UTC). At least one of `usd` and `tokens`."""

    usd: Seconds | None = Field(default=None, description="US dollars. Absent: no limit on money.")
    tokens: Count | None = Field(
        default=None, description="Tokens of prompts and answers. Absent: no limit on tokens."
    )
    per: Literal["minute", "day", "month"] = Field(description="The period.")


Budgets = Annotated[tuple[BudgetConfig, ...], Field(strict=False)]


class TenantConfig(Table):
    """What one tenant may do; under the name `"*"`: each tenant that is not named, on its own."""

    limits: LimitsConfig | None = Field(
        default=None, description="Calls at once and a minute, over all rungs. Absent: no limit."
    )
    budgets: Budgets = Field(default=(), description="What it may spend.")
    when_spent: WhenSpent = Field(
        default="cached",
        description="`cached`: what the cache holds is served, any other ask ends with "
        "`BudgetExceeded`. `cheaper`: rungs whose call still fits into what is left, and those that "
        "cost nothing, are asked too. `refuse`: not even the cache is asked.",
    )


class MemoryLedger(Table):
    """Budgets that begin anew with the process."""

    kind: Literal["memory"] = Field(description="In memory.")


class SqliteLedger(Table):
    """Budgets in a file; they survive a restart. One process at a time."""

    kind: Literal["sqlite"] = Field(default="sqlite", description="An SQLite file.")
    path: Annotated[str, Field(min_length=1)] = Field(
        default="ledger.sqlite3",
        description="The file, made if absent; from the folder of this file.",
    )


class RedisLedger(Table):
    """Budgets that several processes or machines share."""

    kind: Literal["redis"] = Field(description="A Redis server.")
    url: Annotated[Name, Hidden()] = Field(
        description="Such as redis://127.0.0.1:6379/0; write `${NAME}` if it holds a password."
    )
    prefix: Name = Field(default="cascade:", description="What its keys begin with.")
    on_outage: Literal["open", "closed"] = Field(
        default="open",
        description="While Redis cannot be reached: `open`: asks go on, and what they cost is booked "
        "later. `closed`: they are refused.",
    )


LedgerConfig = Annotated[
    Annotated[MemoryLedger, Tag("memory")]
    | Annotated[SqliteLedger, Tag("sqlite")]
    | Annotated[RedisLedger, Tag("redis")],
    Discriminator(tag_by_kind("memory", "sqlite", "redis", default="sqlite")),
]
