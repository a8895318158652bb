"""Keeps calls within the budgets of the ladder and of tenants: holds before a call, settles after it.

What a call may cost is estimated: tokens of the prompt as an earlier rung reported them (a quarter of
its characters before that), and as many tokens of answer as the ask allows, or as the rung's answers
have had of late. What it did cost is settled; what nobody knows counts as what was held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import BudgetExceeded, RequestError
from .ladder import Ladder
from .ledgers import Budget, Ledger, Refusal, Reservation, Spend
from .pricing import cost_usd
from .types import Attempt, ModelCall, Usage

__all__ = ["Account", "Held", "Spending", "WhenSpent"]

WhenSpent = Literal["cached", "cheaper", "refuse"]
"""What becomes of an ask whose next call no budget allows: it ends, rungs that still fit are asked, or
it is not even looked up in the cache once the budget is spent."""

EVERY_OTHER = "*"
"""Name of what holds for each tenant that is not named."""

CHARACTERS_PER_TOKEN = 4
FIRST_COMPLETION_TOKENS = 256.0
"""Tokens of answer reckoned with before a rung has answered."""

_MOST_KNOWN = 1_000
"""Tenants whose accounts are kept made."""

_NEWEST = 0.05
"""Weight of the newest answer in a rung's running mean of answer tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose money it is, and how much of it there is.

    Attributes:
        budgets: What may be spent; empty: anything.
        when_spent: What becomes of asks when it is.
    """

    budgets: Sequence[Budget] = ()
    when_spent: WhenSpent = "cached"


@dataclass(frozen=True, slots=True)
class Held:
    """What is held for one call, in one account after the other."""

    rung: int
    reservations: tuple[Reservation, ...]


_NOTHING = Held(-1, ())


class Spending:
    """The budgets of one ladder.

    Args:
        ladder: Its rungs, whose prices are reckoned with.
        ledger: Keeps what is spent.
        ladder_account: What the whole ladder may spend.
        tenants: What each tenant may spend, by name; under ``"*"`` each that is not named, on its
            own. Empty: tenants are not told apart.
    """

    def __init__(
        self,
        ladder: Ladder,
        ledger: Ledger,
        ladder_account: Account,
        tenants: Mapping[str, Account],
    ) -> None:
        self._ladder = ladder
        self._ledger = ledger
        self._known: dict[str | None, list[tuple[str, Account]]] = {}
        self._immediate: bool = getattr(ledger, "is_immediate", False)
        self._of_ladder = ladder_account
        self._tenants = tenants
        accounts = (ladder_account, *tenants.values())
        self._refuses = any(account.when_spent == "refuse" for account in accounts)
        self._completions = [FIRST_COMPLETION_TOKENS] * len(ladder.rungs)

    @property
    def is_immediate(self) -> bool:
        """Whether the ledger answers without waiting for anything: it cannot be cancelled half-way."""
        return self._immediate

    @property
    def down(self) -> bool:
        """Whether the ledger cannot be asked just now."""
        return getattr(self._ledger, "down", False)

    def start(self) -> None:
        """Open the ledger.

        Raises:
            ConfigError: It cannot be opened.
        """
        self._ledger.start()

    async def aclose(self) -> None:
        """Store what was settled, and close the ledger."""
        await self._ledger.aclose()

    def check_tenant(self, tenant: str | None) -> None:
        """Refuse a tenant that is not known, and none where tenants are told apart.

        Raises:
            RequestError: It is neither named nor covered by ``"*"``.
        """
        if not self._tenants or EVERY_OTHER in self._tenants or tenant in self._tenants:
            return
        given = "none" if tenant is None else repr(tenant)[:60]
        raise RequestError(f"tenant: {given} given; allowed: a tenant that the ladder file names")

    async def refusal(self, tenant: str | None) -> BudgetExceeded | None:
        """Return why an ask must not even be looked up in the cache, or None when it may be."""
        if not self._refuses:
            return None
        for name, account in self._accounts(tenant):
            if account.when_spent != "refuse":
                continue
            for left in await self._ledger.left(name, account.budgets) or ():
                if left.usd_left == 0.0 or left.tokens_left == 0:
                    message = f"{_whose(name)}: the budget of {left.budget} is spent"
                    return BudgetExceeded(message, retry_after_s=left.ends_in_s)
        return None

    async def hold(
        self, rung: int, call: ModelCall, attempts: Sequence[Attempt]
    ) -> Held | tuple[BudgetExceeded, WhenSpent]:
        """Hold what a call may cost in every account; or return why not, and what then becomes of the ask."""
        accounts = self._accounts(call.context.tenant)
        if not accounts:
            return _NOTHING
        amount = self._estimate(rung, call, attempts)
        held: list[Reservation] = []
        try:
            for name, account in accounts:
                said = await self._ledger.reserve(name, amount, account.budgets)
                if isinstance(said, Refusal):
                    await self._release(held)
                    return _exceeded(name, said), account.when_spent
                held.append(said)
        except BaseException:
            await self._release(held)
            raise
        return Held(rung, tuple(held))

    async def settle(self, held: Held, usage: Usage | None, cost: float | None) -> None:
        """Count what the call has cost.

        Args:
            held: What was held for it.
            usage: Tokens it used; None when nobody knows.
            cost: US dollars, repetitions included; None when nobody knows.
        """
        if not held.reservations:
            return
        tokens = None
        if usage is not None and usage.completion_tokens is not None:
            completion = usage.completion_tokens
            mean = self._completions[held.rung]
            self._completions[held.rung] = mean + _NEWEST * (completion - mean)
            tokens = None if usage.prompt_tokens is None else usage.prompt_tokens + completion
        spent = Spend(usd=cost, tokens=tokens)
        for reservation in held.reservations:
            await self._ledger.settle(reservation, spent)

    async def release(self, held: Held) -> None:
        """Hold nothing any more: the call was not made."""
        await self._release(held.reservations)

    async def _release(self, reservations: Sequence[Reservation]) -> None:
        for reservation in reservations:
            await self._ledger.release(reservation)

    def _accounts(self, tenant: str | None) -> list[tuple[str, Account]]:
        """Return the accounts with budgets that a call of this tenant is paid from."""
        known = self._known.get(tenant)
        if known is not None:
            return known
        found = []
        if self._of_ladder.budgets:
            found.append((f"ladder:{self._ladder.name}", self._of_ladder))
        account = self._tenants.get(tenant or "") or self._tenants.get(EVERY_OTHER)
        if account is not None and account.budgets:
            found.append((f"tenant:{tenant or ''}", account))
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[tenant] = found
        return found

    def _estimate(self, rung: int, call: ModelCall, attempts: Sequence[Attempt]) -> Spend:
        request = call.request
        prompt: int | None = None
        for attempt in attempts:
            if prompt is None and attempt.answer is not None:
                prompt = attempt.answer.usage.prompt_tokens
        if prompt is None:
            characters = 0
            for message in request.messages:
                if isinstance(message.content, str):
                    characters += len(message.content)
            prompt = characters // CHARACTERS_PER_TOKEN + 1
        completion = request.max_tokens or call.max_tokens or round(self._completions[rung])
        usage = Usage(prompt_tokens=prompt, completion_tokens=completion)
        usd = cost_usd(usage, self._ladder.rungs[rung].price)
        return Spend(usd=usd, tokens=prompt + completion)


def _exceeded(account: str, refusal: Refusal) -> BudgetExceeded:
    return BudgetExceeded(f"{_whose(account)}: {refusal}", retry_after_s=refusal.retry_after_s)


def _whose(account: str) -> str:
    kind, _, name = account.partition(":")
    return "the ladder" if kind == "ladder" else f"tenant {name!r}" if name else "no tenant"
