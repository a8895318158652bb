"""Which calls the money of one ask still allows. Pure arithmetic over what is known."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import CascadeError, DeadlineExceeded, EngineClosed, NotRecorded, ProviderError
from .ladder import Rung
from .pricing import add_costs
from .types import Attempt, Demand

__all__ = ["cost_of_failure", "refusal_to_spend", "spent_usd", "tokens_used"]


def cost_of_failure(error: CascadeError) -> float | None:
    """Return what a failed call cost, US dollars: 0 when it cannot have been billed, else None.

    Not billed is what never left, what a recorded log does not hold, and what was refused with a
    status. A call that was cut, timed out, or answered with something that is no completion may
    have been served, and nobody says what for.
    """
    if not isinstance(error, ProviderError) or isinstance(error, NotRecorded):
        return None if isinstance(error, (DeadlineExceeded, EngineClosed)) else 0.0
    refused = error.status is not None and not 200 <= error.status < 300
    return 0.0 if refused or not error.sent else None


def spent_usd(attempts: Sequence[Attempt]) -> float | None:
    """Return what the attempts cost together, US dollars; None when one of them is unknown.

    A skipped rung costs nothing; of a failed one see `cost_of_failure`.
    """
    total: float | None = 0.0
    for attempt in attempts:
        if attempt.verdict != "skipped":
            total = add_costs(total, attempt.cost_usd)
    return total


def tokens_used(attempts: Sequence[Attempt]) -> int:
    """Return the tokens the attempts are known to have used, prompts and answers together."""
    usages = [attempt.answer.usage for attempt in attempts if attempt.answer is not None]
    drafts = [attempt.streamed for attempt in attempts if attempt.streamed is not None]
    usages += [draft.usage for draft in drafts if draft.usage is not None]
    return sum((usage.prompt_tokens or 0) + (usage.completion_tokens or 0) for usage in usages)


def refusal_to_spend(rung: Rung, attempts: Sequence[Attempt], demand: Demand) -> str | None:
    """Return why `rung` must not be called within what the ask may use, or None when it may.

    A call is refused when it is known to pass the limit: the money is spent already, or the prompt
    alone would cost more than what is left (counted with the tokens an earlier rung reported, since
    nothing else is known before the call). A rung or an attempt without a price is refused too:
    nobody could say whether the limit holds. Tokens are counted as the providers reported them.
    """
    most = demand.max_total_tokens
    if most is not None and attempts and (used := tokens_used(attempts)) >= most:
        return f"max_total_tokens {most:,} is used ({used:,} tokens)"
    max_cost_usd = demand.max_cost_usd
    if max_cost_usd is None:
        return None
    spent = spent_usd(attempts)
    if spent is None:
        return "an earlier call has no known price, so max_cost_usd cannot be kept"
    if rung.price is None:
        return "its price is unknown, so max_cost_usd cannot be kept"
    left = max_cost_usd - spent
    if left <= 0:
        return f"max_cost_usd {max_cost_usd:g} is spent"
    counts = [a.answer.usage.prompt_tokens for a in attempts if a.answer is not None]
    known = [count for count in counts if count is not None]
    if known and min(known) * rung.price.input / 1e6 > left:
        return f"its prompt alone would pass max_cost_usd {max_cost_usd:g}"
    return None
