"""Every policy over whole columns: the same decisions as the live walk, row by row.

Sums are added in the order of the scalar functions in `cascade.policies` and in float64, so that
the two agree to the bit and not only nearly; a property test holds them to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..policies import (
    Agreement,
    CascadeRouting,
    Chain,
    Fixed,
    Induction,
    RandomShare,
    Routing,
    Weighted,
    uniform,
)
from ..policy import Policy, Thresholds
from .table import Columns, Table

__all__ = ["Outcome", "Walks", "continuation_features", "outcome", "replay_policy"]

CHUNK = 1 << 17
"""Requests at a time: a state that few of them are in is still long enough to be worth a call of numpy."""

THREADS = 2
"""Threads over chunks: numpy lets go of the interpreter's lock."""

Rows = slice | NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Walks:
    """What a policy did with n requests.

    Attributes:
        models: The policy's models.
        asked: Bit mask, in the numbering of the table, of the models called. Shape (n,).
        kept: Column of the model whose answer is returned. Shape (n,).
        order: The columns called, first call in the highest digit, each plus one, in base 16. Shape (n,).
    """

    models: tuple[str, ...]
    asked: NDArray[np.int32]
    kept: NDArray[np.int8]
    order: NDArray[np.int64]

    def sequence(self, row: int) -> tuple[int, ...]:
        """Return the columns called for one request, in order."""
        digits, rest = [], int(self.order[row])
        while rest:
            digits.append(rest % 16 - 1)
            rest //= 16
        return tuple(reversed(digits))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What came of it, by request; NaN where the log does not know.

    Attributes:
        quality: Score of the answer kept. Shape (n,).
        cost: US dollars of all calls. Shape (n,).
        latency: Wall seconds of all calls one after the other. Shape (n,), or None.
        asked: As in `Walks`.
    """

    quality: NDArray[np.float64]
    cost: NDArray[np.float64]
    latency: NDArray[np.float64] | None
    asked: NDArray[np.int32]


def replay_policy(policy: Policy, table: Table) -> Walks:
    """Return what `policy` would have done with every request of the table.

    Raises:
        KeyError: The policy names a model that the table lacks.
        TypeError: There is no array twin of this policy.
        ValueError: The policy needs forecasts or comparisons, and the table has none.
    """
    if isinstance(policy, Thresholds):
        return _thresholds(policy, table)
    if isinstance(policy, (Routing, CascadeRouting, Induction)):
        return _valued(policy, table)
    if isinstance(policy, Chain):
        return _in_chunks(table, policy.models, _chain_kernel(policy, table))
    if isinstance(policy, Agreement):
        return _agreement(policy, table)
    if isinstance(policy, Fixed):
        chosen = np.zeros(table.n, dtype=np.int8)
        return _single(table, policy.models, chosen)
    if isinstance(policy, (Weighted, RandomShare)):
        draws = np.array([uniform(key, policy.seed) for key in table.drawn_by])
        edges = np.cumsum(policy.weights)[:-1]
        return _single(table, policy.models, np.searchsorted(edges, draws, side="right"))
    raise TypeError(
        f"{type(policy).__name__} has no array twin; replay knows the built-in policies"
    )


def outcome(walks: Walks, table: Table) -> Outcome:
    """Return quality, cost and latency of walks; a call the log does not hold makes them NaN."""
    n, m = table.score.shape
    cost = np.zeros(n)
    quality = np.full(n, np.nan)
    latency = None if table.latency is None else np.zeros(n)
    some_unknown = not bool(table.known.all())

    def fill(part: slice) -> None:
        asked, kept = walks.asked[part], walks.kept[part]
        hole = np.zeros(len(asked), dtype=np.bool_)
        for j in range(m):
            called = (asked & (1 << j)) != 0
            # Not a product: a call that was not made may have an unknown cost.
            np.add(cost[part], table.cost[part, j], out=cost[part], where=called)
            if latency is not None and table.latency is not None:
                np.add(latency[part], table.latency[part, j], out=latency[part], where=called)
            np.copyto(quality[part], table.score[part, j], where=kept == j)
            if some_unknown:
                hole |= called & ~table.known[part, j]
        if some_unknown:
            quality[part][hole] = np.nan
            cost[part][hole] = np.nan

    _for_chunks(n, fill)
    return Outcome(quality=quality, cost=cost, latency=latency, asked=walks.asked)


def _for_chunks(n: int, fill: Callable[[slice], None]) -> None:
    """Call `fill` for every chunk of rows, on two threads where there are many."""
    parts = [slice(low, min(low + CHUNK, n)) for low in range(0, n, CHUNK)]
    if len(parts) < 8:
        for part in parts:
            fill(part)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(fill, parts):
            pass


def continuation_features(
    p: Sequence[NDArray[np.float64]], best: NDArray[np.float64] | None, seen: int, following: int
) -> list[NDArray[np.float64]]:
    """Return the columns of `cascade.policies.FEATURES` but the leading one: six arrays of shape (n,).

    Args:
        p: P(right) by model. Length m, each of shape (n,).
        best: The greatest of the models in `seen`, or None when there is none.
        seen: Bit mask of the models that have answered.
        following: The model to call next.
    """
    mine = p[following]
    others = [p[i] for i in range(len(p)) if i != following and not seen >> i & 1]
    other = others[0] if others else np.zeros_like(mine)
    for column in others[1:]:
        other = np.maximum(other, column)
    if best is None:
        nothing = np.zeros_like(mine)
        return [nothing, mine, mine, nothing, other, nothing]
    return [best, mine, np.maximum(best, mine), best * mine, other, best * best]


Kernel = Callable[[slice, NDArray[np.int32], NDArray[np.int8], NDArray[np.int64]], None]
"""Decides for one chunk: given its bounds and its parts of state, kept and order, fills those."""


def _in_chunks(table: Table, models: tuple[str, ...], kernel: Kernel) -> Walks:
    n = table.n
    state = np.zeros(n, dtype=np.int32)
    kept = np.zeros(n, dtype=np.int8)
    order = np.zeros(n, dtype=np.int64)
    columns = table.columns(models)
    _for_chunks(n, lambda part: kernel(part, state[part], kept[part], order[part]))
    return _in_table_numbers(columns, state, kept, order)


def _in_table_numbers(
    columns: Columns, state: NDArray[np.int32], kept: NDArray[np.int8], order: NDArray[np.int64]
) -> Walks:
    at = np.array(columns.at)
    masks = np.array(columns.masks, dtype=np.int32)
    if not np.array_equal(at, np.arange(len(at))):
        renamed = np.zeros_like(order)
        for digit in reversed(range(len(at))):
            here = (order >> (4 * digit)) & 15
            renamed = np.where(here > 0, renamed * 16 + at[here - 1] + 1, renamed)
        order = renamed
        state, kept = masks[state], at.astype(np.int8)[kept]
    return Walks(models=columns.models, asked=state, kept=kept, order=order)


def _single(table: Table, models: tuple[str, ...], chosen: NDArray[np.integer]) -> Walks:
    columns = table.columns(models)
    index = chosen.astype(np.int64)
    return _in_table_numbers(
        columns, (1 << index).astype(np.int32), index.astype(np.int8), index + 1
    )


def _need_forecasts(table: Table, what: str) -> None:
    if table.q is None:
        raise ValueError(f"{what} needs a scorer's forecasts, and the table has none")


def _valued(policy: Routing | CascadeRouting | Induction, table: Table) -> Walks:
    _need_forecasts(table, policy.version)
    columns = table.columns(policy.models)
    m = len(policy.models)
    price = policy.price

    def worth(
        seen: int, p: list[NDArray[np.float64]], best: NDArray[np.float64] | None, j: int
    ) -> NDArray[np.float64] | None:
        if isinstance(policy, Induction):
            weights = policy.weights.get((seen, j))
            if weights is None:
                return None
            features = continuation_features(p, best, seen, j)
            # With nothing at hand the terms of `best` are 0, and adding 0 changes no bit.
            used = range(6) if best is not None else (1, 2, 4)
            total = weights[used[0] + 1] * features[used[0]]
            total += weights[0]  # a + b is b + a to the bit
            for k in used[1:]:
                total += weights[k + 1] * features[k]
            total -= price[j]
            return total
        ahead = p[j] if best is None else np.maximum(best, p[j])
        return ahead - price[j]

    one_call = isinstance(policy, Routing)
    after = [np.array([s, *(s | 1 << j for j in range(m))], np.uint8) for s in range(1 << m)]

    def fill(
        part: slice, state: NDArray[np.int32], kept: NDArray[np.int8], order: NDArray[np.int64]
    ) -> None:
        reached = np.zeros(len(state), np.uint8)  # `state`, a quarter as long to look through
        everyone = np.arange(len(state))
        for s in range(1 << m):
            inside = np.flatnonzero(reached == s) if s else everyone
            if not len(inside):
                continue
            if one_call and s:
                kept[inside] = s.bit_length() - 1
                continue
            rows: Rows = inside + part.start if s else part
            p = [columns.p(s, j, rows) for j in range(m)]
            best = _greatest(p, s)
            most = np.full(len(inside), -np.inf) if best is None else best
            following = np.zeros(len(inside), np.uint8)  # the model to call, plus one
            for j in range(m):
                if s >> j & 1:
                    continue
                go = worth(s, p, best, j)
                if go is not None:
                    more = (go > most).view(np.uint8)
                    np.maximum(following, more * np.uint8(j + 1), out=following)
                    most = np.maximum(most, go)
            if best is not None:
                stays = np.flatnonzero(following == 0)
                kept[inside[stays]] = _surest(p, s, best, order, inside, stays)
            moved = np.flatnonzero(following)
            going, called = inside[moved], following[moved]
            reached[going] = after[s].take(called)
            order[going] = order[going] * 16 + called
        state[:] = reached

    return _in_chunks(table, policy.models, fill)


def _greatest(p: Sequence[NDArray[np.float64]], seen: int) -> NDArray[np.float64] | None:
    """Return the greatest P(right) among the models in `seen`; None for none."""
    best: NDArray[np.float64] | None = None
    for j, column in enumerate(p):
        if seen >> j & 1:
            best = column if best is None else np.maximum(best, column)
    return best


def _surest(
    p: Sequence[NDArray[np.float64]],
    seen: int,
    best: NDArray[np.float64],
    order: NDArray[np.int64],
    inside: NDArray[np.intp],
    some: NDArray[np.intp],
) -> NDArray[np.int8]:
    """Return whose answer is kept: the surest one's, and of several equally sure the last, as the walk does.

    Args:
        p: P(right) by model; those not in `seen` are not looked at. Shape (k,) each.
        seen: Bit mask of the models that have answered, of one at least.
        best: The greatest of them. Shape (k,).
        order: As in `Walks`, of the whole chunk.
        inside: Which rows of the chunk the k are.
        some: Which of the k are asked about.
    """
    models = [j for j in range(len(p)) if seen >> j & 1]
    if len(models) == 1:
        return np.full(len(some), models[0], np.int8)
    top = best.take(some)
    found, count = np.zeros((2, len(some)), np.int8)
    for j in models:
        equal = (p[j].take(some) == top).view(np.int8)
        found += equal * np.int8(j)
        count += equal
    unclear = np.flatnonzero(count != 1)
    if not len(unclear):
        return found
    found[unclear] = models[0]
    rows, sought = some[unclear], top[unclear]
    rest = order[inside[rows]]
    pending = np.ones(len(rows), np.bool_)
    values = np.stack([p[j][rows] if j in models else sought - 1 for j in range(len(p))])
    for _ in models:  # from the newest call backwards
        model = rest % 16 - 1
        equal = pending & (values[model, np.arange(len(rows))] == sought)
        found[unclear[equal]] = model[equal]
        pending &= ~equal
        rest = rest // 16
    return found


def _chain_kernel(policy: Chain, table: Table) -> Kernel:
    _need_forecasts(table, policy.version)
    columns = table.columns(policy.models)
    m = len(policy.models)

    def fill(
        part: slice, state: NDArray[np.int32], kept: NDArray[np.int8], order: NDArray[np.int64]
    ) -> None:
        seen, digits = 0, 0
        going: NDArray[np.intp] = np.arange(len(state))
        for i in range(m):
            seen |= 1 << i
            digits = digits * 16 + i + 1
            rows = going + part.start
            p = [columns.p(seen, j, rows) if seen >> j & 1 else np.zeros(0) for j in range(m)]
            best = _greatest(p, seen)
            assert best is not None
            state[going], order[going] = seen, digits
            accepted = best >= policy.accept[i] if i < m - 1 else np.ones(len(going), np.bool_)
            stays = np.flatnonzero(accepted)
            kept[going[stays]] = _surest(p, seen, best, order, going, stays)
            going = going[~accepted]

    return fill


def _agreement(policy: Agreement, table: Table) -> Walks:
    if table.same is None:
        raise ValueError(
            f"{policy.version} needs answers that can be compared, and the table has none"
        )
    columns = table.columns(policy.models)
    first, second, _ = columns.at
    agree = table.same[:, first, second] == 1
    state = np.where(agree, 3, 7).astype(np.int32)
    order = np.where(agree, 0x12, 0x123).astype(np.int64)
    kept = np.where(agree, 1, 2).astype(np.int8)
    if table.q is not None:
        for s in (3, 7):
            rows = np.flatnonzero(state == s)
            p = [columns.p(s, j, rows) if s >> j & 1 else np.zeros(0) for j in range(3)]
            best = _greatest(p, s)
            assert best is not None
            kept[rows] = _surest(p, s, best, order, rows, np.arange(len(rows)))
    return _in_table_numbers(columns, state, kept, order)


def _thresholds(policy: Thresholds, table: Table) -> Walks:
    """The newest answer's own confidence against its threshold; the surest answer is kept."""
    _need_forecasts(table, policy.version)
    indices = tuple(policy.order) or tuple(range(len(table.models)))
    models = tuple(table.models[i] for i in indices)
    columns = table.columns(models)
    m = len(models)

    def fill(
        part: slice, state: NDArray[np.int32], kept: NDArray[np.int8], order: NDArray[np.int64]
    ) -> None:
        seen, digits = 0, 0
        going: NDArray[np.intp] = np.arange(len(state))
        for i in range(m):
            seen |= 1 << i
            digits = digits * 16 + i + 1
            rows = going + part.start
            p = [columns.p(seen, j, rows) if seen >> j & 1 else np.zeros(0) for j in range(m)]
            best = _greatest(p, seen)
            assert best is not None
            state[going], order[going] = seen, digits
            threshold = policy.accept.get(models[i])
            accepted = np.full(len(going), i == m - 1)
            if i < m - 1 and threshold is not None:
                accepted = p[i] >= threshold
            stays = np.flatnonzero(accepted)
            kept[going[stays]] = _surest(p, seen, best, order, going, stays)
            going = going[~accepted]

    return _in_chunks(table, models, fill)
