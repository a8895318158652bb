"""Makes budgets, their ledger and the limits of tenants out of a ladder file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .errors import LadderError, Problem
from .ports import Clock
from .spending import Account, Spending

if TYPE_CHECKING:
    from .config import BudgetConfig, LadderConfig
    from .ladder import Ladder
    from .ledgers import Budget, Ledger
    from .resilience.limits import CallLimits

__all__ = ["check_prices", "spending", "tenant_limits"]


def spending(
    config: LadderConfig,
    ladder: Ladder,
    clock: Clock | None = None,
    share_ledger: Callable[[Any, Ledger], Ledger] | None = None,
) -> Spending | None:
    """Return what keeps the budgets of a ladder file, or None when it has neither budgets nor tenants.

    Args:
        config: What the file says.
        ladder: Its rungs.
        clock: Time source; None: the machine's.
        share_ledger: Given what the file says of the ledger and the one made for it, returns the one
            to use, which other engines may use too; None: that one.

    Raises:
        LadderError: A budget in US dollars, and a rung without a price.
    """
    if not config.budgets and not config.tenants:
        return None
    check_prices(config, ladder)
    ledger = _ledger(config, clock)
    return Spending(
        ladder,
        ledger if share_ledger is None else share_ledger(config.ledger, ledger),
        Account(budgets=_budgets(config.budgets), when_spent=config.when_spent),
        {
            name: Account(budgets=_budgets(tenant.budgets), when_spent=tenant.when_spent)
            for name, tenant in config.tenants.items()
        },
    )


def tenant_limits(config: LadderConfig) -> dict[str, CallLimits]:
    """Return the limits of each tenant that has some."""
    from .resilience.limits import CallLimits

    return {
        name: CallLimits(**dict(tenant.limits))
        for name, tenant in config.tenants.items()
        if tenant.limits is not None
    }


def check_prices(config: LadderConfig, ladder: Ladder) -> None:
    """Refuse budgets in US dollars on a ladder whose calls have no known price.

    Raises:
        LadderError: Names each rung without a price.
    """
    limited = next(
        (place for place, budget in _all_budgets(config) if budget.usd is not None), None
    )
    problems = [
        Problem(
            path=f"ladder[{i}].price",
            message=f"{limited} is in US dollars, and the price of {rung.model!r} is unknown",
            allowed="`price` at the rung, or a budget in tokens",
        )
        for i, rung in enumerate(ladder.rungs)
        if limited is not None and rung.price is None
    ]
    if problems:
        raise LadderError(problems)


def _all_budgets(config: LadderConfig) -> Iterator[tuple[str, BudgetConfig]]:
    for i, budget in enumerate(config.budgets):
        yield f"budgets[{i}]", budget
    for name, tenant in config.tenants.items():
        for i, budget in enumerate(tenant.budgets):
            yield f"tenants.{name}.budgets[{i}]", budget


def _budgets(configs: tuple[BudgetConfig, ...]) -> tuple[Budget, ...]:
    from .ledgers import Budget

    return tuple(Budget(**dict(budget)) for budget in configs)


def _ledger(config: LadderConfig, clock: Clock | None) -> Ledger:
    from .config import RedisLedger as RedisConfig
    from .config import SqliteLedger as SqliteConfig

    wanted = config.ledger
    if isinstance(wanted, SqliteConfig):
        from .ledgers.sqlite import SqliteLedger

        return SqliteLedger(wanted.path, clock=clock)
    if isinstance(wanted, RedisConfig):
        from .ledgers.redis import RedisLedger

        return RedisLedger(
            wanted.url, prefix=wanted.prefix, on_outage=wanted.on_outage, clock=clock
        )
    from .ledgers.memory import MemoryLedger

    return MemoryLedger(clock=clock)
