"""A ledger that is forgotten when the process ends."""

from __future__ import annotations

from collections.abc import Sequence

from ..clock import SystemClock
from ..ports import Clock
from .budgets import Budget, Left, Refusal, Reservation, Spend
from .ledger import Books

__all__ = ["MemoryLedger"]


class MemoryLedger:
    """Keeps budgets within this process, for as long as it lives. Belongs to one event loop.

    Args:
        clock: Time source.
    """

    is_immediate = True
    """No method but `aclose` waits for anything."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._books = Books(clock or SystemClock())

    @property
    def open_reservations(self) -> int:
        """Reservations neither settled nor released."""
        return self._books.open_reservations

    def start(self) -> None:
        """Do nothing: there is no store."""

    async def reserve(
        self, account: str, amount: Spend, limits: Sequence[Budget]
    ) -> Reservation | Refusal:
        """Hold an amount in every budget, or say which of them does not allow it."""
        return self._books.reserve(account, amount, limits)

    async def settle(self, reservation: Reservation, spent: Spend) -> None:
        """Count what a call has cost."""
        self._books.settle(reservation, spent)

    async def release(self, reservation: Reservation) -> None:
        """Hold nothing for a call any more."""
        self._books.release(reservation)

    async def left(self, account: str, limits: Sequence[Budget]) -> tuple[Left, ...]:
        """Return what is left of each budget."""
        return self._books.left(account, limits)

    async def aclose(self) -> None:
        """Do nothing: there is no store."""
