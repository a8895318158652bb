"""Ledgers that outlive a reload: the old engine and the new one count in the same one.

A file of budgets can be open once, and what is counted in memory must not begin anew because a
threshold was changed. A Redis ledger is shared as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ..ledgers import Budget, Ledger, Left, Refusal, Reservation, Spend

__all__ = ["SharedLedgers"]


class SharedLedgers:
    """Gives out one ledger for all engines that name the same."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Shared] = {}

    def of(self, file: str) -> Callable[[Any, Ledger], Ledger]:
        """Return what `Cascade.from_yaml(share_ledger=…)` asks for the ledger of a ladder file.

        Args:
            file: The ladder file, which a ledger in memory belongs to.
        """

        def share(wanted: Any, made: Ledger) -> Ledger:
            if wanted.kind == "redis":
                return made
            key = ("memory", file) if wanted.kind == "memory" else (wanted.kind, wanted.path)
            shared = self._open.get(key)
            if shared is None:
                shared = self._open[key] = _Shared(made, lambda: self._open.pop(key, None))
            return _Part(shared)

        return share


class _Shared:
    """A ledger and how many use it."""

    def __init__(self, ledger: Ledger, forget: Callable[[], object]) -> None:
        self.ledger = ledger
        self._forget = forget
        self._users = 0

    def start(self) -> None:
        if not self._users:
            self.ledger.start()
        self._users += 1

    async def leave(self) -> None:
        self._users -= 1
        if not self._users:
            self._forget()
            await self.ledger.aclose()


class _Part:
    """The ledger as one engine has it: opened with the first of them, closed with the last."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._ledger = shared.ledger
        self._started = False
        self.is_immediate: bool = getattr(shared.ledger, "is_immediate", False)

    def start(self) -> None:
        if not self._started:
            self._shared.start()
            self._started = True

    async def reserve(
        self, account: str, amount: Spend, limits: Sequence[Budget]
    ) -> Reservation | Refusal:
        return await self._ledger.reserve(account, amount, limits)

    async def settle(self, reservation: Reservation, spent: Spend) -> None:
        await self._ledger.settle(reservation, spent)

    async def release(self, reservation: Reservation) -> None:
        await self._ledger.release(reservation)

    async def left(self, account: str, limits: Sequence[Budget]) -> tuple[Left, ...] | None:
        return await self._ledger.left(account, limits)

    async def aclose(self) -> None:
        if self._started:
            self._started = False
            await self._shared.leave()
