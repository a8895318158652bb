"""Picks the policy for a goal, on tuning rows; and, on rows kept apart, what it may promise."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..explain import format_usd
from ..policies import Fixed
from ..policy import Policy
from .metrics import bootstrap, hull
from .promise import certified_ratio, certify, growth, rows_needed
from .search import FAMILIES, Candidate, best_ladder, candidates, strongest
from .table import Table
from .tuned import Goal, Promise, Tuned
from .walks import outcome, replay_policy

__all__ = [
    "LEAST_ROWS",
    "Goal",
    "Promise",
    "Tuned",
    "frontier",
    "kept_apart",
    "pick",
    "promised",
    "strongest_alone",
    "tune",
]

LEAST_ROWS = 40
"""Fewer tuning rows than these say nothing about policies."""

ROWS_TO_RANK = 20
"""With fewer, the strongest model itself is a guess."""

CERTIFICATE_SHARE = 0.4
"""Share of the rows kept apart for the certificate."""

SEQUENCE = 12
"""Policies tested one after the other at most: each further one is a further chance to stop early."""

SEARCH_ROWS = 20_000
"""Rows of a longer log that candidates are compared on; those on the hull are then run on all."""


def kept_apart(asked: Sequence[str], share: float = CERTIFICATE_SHARE) -> NDArray[np.bool_]:
    """Return which rows are for the certificate alone: by digest of what is asked, so that it never changes. Shape (n,)."""
    edge = int(share * 2**32)
    heads = [int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) for key in asked]
    return np.array([head < edge for head in heads], dtype=np.bool_)


def tune(
    table: Table,
    goal: Goal,
    *,
    confidence: float | None = None,
    certificate: Table | None = None,
    families: Sequence[str] = FAMILIES,
    seed: int = 0,
) -> Tuned:
    """Pick the policy for a goal.

    Args:
        table: Tuning rows; those that lack a score or a cost of any model are passed over.
            Forecasts must be out of fold for rows the scorer was trained on.
        goal: What to pick it for.
        confidence: Of a promise, in (0, 1); None for no promise.
        certificate: Rows for the promise that neither scorer nor search has seen; None: a part of
            `table`, by digest of what is asked.
        families: Kinds of policies to search.
        seed: Of everything drawn.

    Of a promise on too few rows to compare policies on, the strongest model alone is left.

    Raises:
        ConfigError: Too few rows, or a goal out of reach; names the nearest that is not.
    """
    whole = rows = np.flatnonzero(table.complete)
    own = certificate is None
    if confidence is not None and certificate is None:
        apart = kept_apart([table.asked[int(i)] for i in rows])
        certificate, rows = table.take(rows[apart]), rows[~apart]
    too_few = len(rows) < LEAST_ROWS
    if too_few:
        reference = strongest_alone(table.take(whole)) if len(whole) else None
        _check_rows(len(rows), len(whole), reference, goal, confidence)
        rows, families = whole, ("fixed",)
    if len(rows) < table.n:
        table = table.take(rows)
    found = frontier(table, families=families, seed=seed)
    on = [found[i] for i in hull([c.cost for c in found], [c.quality for c in found])]
    reference = strongest_alone(table)
    chosen = pick(found, goal, reference)
    promise = None
    if too_few and confidence is not None and goal.quality is not None:
        chosen = reference
        promise = _none_tested(reference, table, goal.quality, confidence, apart=own)
    elif confidence is not None and certificate is not None:
        certificate = _as_drawn(certificate, seed)
        if goal.quality is not None:
            chosen, promise = promised(
                found, chosen, reference, table, certificate, goal.quality, confidence
            )
        else:
            promise = _bound(chosen, reference, certificate, confidence)
    quality = outcome(replay_policy(chosen.policy, table), table).quality
    return Tuned(
        chosen=chosen,
        saving=None if reference.cost <= 0 else 1.0 - chosen.cost / reference.cost,
        quality_ci=bootstrap(quality[:, None], lambda means: means[:, 0], seed=seed),
        strongest=_name(reference),
        strongest_quality=reference.quality,
        strongest_cost=reference.cost,
        frontier=tuple(on),
        promise=promise,
        n=table.n,
        tried=len(found),
        advice=() if too_few else tuple(_advice(found, reference, table)),
    )


def _check_rows(
    left: int, n: int, reference: Candidate | None, goal: Goal, confidence: float | None
) -> None:
    """Refuse to tune on too few rows, unless a promise was asked for that the strongest model keeps.

    Args:
        left: Complete rows without those kept for the certificate.
        n: Complete rows.
        reference: The strongest model alone, or None without any row.
        goal: Of the tuning.
        confidence: Of the promise, or None.

    Raises:
        ConfigError: Says how many there are, how many are needed, and what is the plain choice.
    """
    safe = confidence is not None and goal.quality is not None and goal.quality <= 1
    if safe and n >= ROWS_TO_RANK:
        return
    plain = (
        ""
        if reference is None
        else f". Until then the plain choice is {_name(reference)} alone, the best model of "
        f"{n} rows (quality {reference.quality:.4f}, {format_usd(reference.cost)} a request)"
    )
    beside = "" if confidence is None else " beside those kept for the certificate"
    raise ConfigError(
        f"{left} rows with every model's score and cost are left to tune on; at least "
        f"{LEAST_ROWS} are needed{beside}{plain}"
    )


def _none_tested(
    reference: Candidate, table: Table, ratio: float, confidence: float, *, apart: bool
) -> Promise:
    """Return why nothing was tested on so few rows, and about how many more would do.

    Enough to compare policies on and, where the certificate's rows are a part of them, to certify
    one that is just as good as the strongest model.

    Args:
        reference: The strongest model alone.
        table: All complete rows.
        ratio: Share of its quality to keep.
        confidence: Over the draw of the rows.
        apart: Whether the certificate's rows are taken from the same log.
    """
    needed = float(LEAST_ROWS)
    if apart:
        strong = table.score[:, table.models.index(_name(reference))].astype(np.float64)
        test = rows_needed(growth(strong, strong, ratio=ratio)[0], confidence) or 0
        needed = max(LEAST_ROWS / (1.0 - CERTIFICATE_SHARE), test / CERTIFICATE_SHARE)
    more = max(math.ceil(needed) - table.n, 1)
    text = (
        f"nothing cheaper can promise {ratio:.1%} of {_name(reference)}'s quality with "
        f"{confidence:.0%} confidence: {table.n} rows are too few to compare policies and to test "
        f"one; about {more} more labelled rows would do at best. The policy is the strongest model "
        "of these rows alone"
    )
    return Promise(
        certified=False, ratio=ratio, confidence=confidence, n=0, text=text, more_rows=more
    )


def _as_drawn(certificate: Table, seed: int) -> Table:
    """Return complete rows, one a question, in random order.

    The test bets row by row: in a log sorted by task it would win on the easy ones and stop there,
    and a question that stands there ten times would count as ten draws.
    """
    _, first = np.unique(np.array(certificate.asked, dtype=object), return_index=True)
    once = np.zeros(certificate.n, dtype=np.bool_)
    once[first] = True
    rows = np.flatnonzero(certificate.complete & once)
    return certificate.take(np.random.default_rng(seed).permutation(rows))


def frontier(table: Table, *, families: Sequence[str] = FAMILIES, seed: int = 0) -> list[Candidate]:
    """Return all candidates worth keeping: every one of a short log, those near the hull of a long one."""
    models = best_ladder(table)
    if table.n <= SEARCH_ROWS:
        return candidates(table, models, families=families, seed=seed)
    pick = np.sort(np.random.default_rng(seed).permutation(table.n)[:SEARCH_ROWS])
    part = candidates(table.take(pick), models, families=families, seed=seed)
    near = [part[i] for i in _undominated(part)]
    again = []
    for one in near:
        done = outcome(replay_policy(one.policy, table), table)
        again.append(
            Candidate(
                policy=one.policy,
                family=one.family,
                quality=float(done.quality.mean()),
                cost=float(done.cost.mean()),
            )
        )
    return again


def _undominated(found: Sequence[Candidate]) -> list[int]:
    """Return the candidates that no cheaper one equals in quality, by rising cost."""
    kept: list[int] = []
    for i in sorted(range(len(found)), key=lambda i: (found[i].cost, -found[i].quality)):
        if not kept or found[i].quality > found[kept[-1]].quality:
            kept.append(i)
    return kept


def strongest_alone(table: Table) -> Candidate:
    """Return the policy that everything is held against: always the strongest model."""
    top = strongest(table)
    return Candidate(
        policy=Fixed(model=table.models[top]),
        family="fixed",
        quality=float(table.score[:, top].mean(dtype=np.float64)),
        cost=float(table.cost[:, top].mean(dtype=np.float64)),
    )


def pick(found: Sequence[Candidate], goal: Goal, reference: Candidate) -> Candidate:
    """Return the candidate that fits a goal best on the tuning rows.

    Raises:
        ConfigError: None fits; names the nearest goal that one does.
    """
    if goal.quality is not None:
        wanted = goal.quality * reference.quality
        able = [c for c in found if c.quality >= wanted - 1e-12]
        if not able:
            best = max(found, key=lambda c: (c.quality, -c.cost))
            raise ConfigError(
                f"--quality {goal.quality:g} is out of reach: no policy kept "
                f"{goal.quality:g} x {reference.quality:.4f} on the tuning rows; the best kept "
                f"{best.quality:.4f}, which is --quality "
                f"{math.floor(1e4 * best.quality / reference.quality) / 1e4:.4f}"
            )
        return min(able, key=lambda c: (c.cost, -c.quality))
    if goal.budget_usd is not None:
        able = [c for c in found if c.cost <= goal.budget_usd]
        if not able:
            least = min(found, key=lambda c: c.cost)
            raise ConfigError(
                f"--budget {goal.budget_usd:g} is below the cheapest policy's cost of "
                f"{least.cost * (1 + 1e-6):.7g} US dollars a request"
            )
        return max(able, key=lambda c: (c.quality, -c.cost))
    worth = goal.tradeoff_usd
    assert worth is not None
    return max(found, key=lambda c: (c.quality - c.cost / worth, -c.cost))


def promised(
    found: Sequence[Candidate],
    wanted: Candidate,
    reference: Candidate,
    table: Table,
    certificate: Table,
    ratio: float,
    confidence: float,
) -> tuple[Candidate, Promise]:
    """Return the cheapest policy that may promise a quality, and the promise.

    Args:
        found: Candidates, with their figures on the tuning rows.
        wanted: The one to take when no promise can be tested.
        reference: The strongest model alone; it keeps any share up to 1 of its own quality.
        table: The tuning rows: they fix the order of testing.
        certificate: Rows that neither search nor scorer has seen.
        ratio: Share of the strongest model's quality to keep.
        confidence: Over the draw of `certificate`, in (0, 1).
    """
    n = certificate.n
    words = f"{ratio:.1%} of {_name(reference)}'s quality with {confidence:.0%} confidence"
    if ratio > 1:
        text = f"no promise above the strongest model's own quality is tested; asked: {words}"
        return wanted, Promise(certified=False, ratio=ratio, confidence=confidence, n=n, text=text)
    column = table.models.index(_name(reference))
    strong = table.score[:, column].astype(np.float64)
    sequence = _sequence(found, reference, table, strong, ratio)
    held = certificate.score[:, column].astype(np.float64)
    result = certify(
        [
            outcome(replay_policy(c.policy, certificate), certificate).quality
            for c, _, _ in sequence
        ],
        held,
        ratio=ratio,
        confidence=confidence,
        tuned=[stake for _, _, stake in sequence],
    )
    if result.chosen is not None:
        chosen = sequence[result.chosen][0]
        text = (
            f"with {confidence:.0%} confidence it keeps at least {ratio:.1%} of {_name(reference)}'s "
            f"quality on traffic like this log ({n} rows that the search had not seen)"
        )
        return chosen, Promise(certified=True, ratio=ratio, confidence=confidence, n=n, text=text)
    if not sequence:
        why = "no policy that is cheaper than the strongest model keeps that quality on the tuning rows"
        more = None
    else:
        speed = max(speed for _, speed, _ in sequence)
        needed = rows_needed(speed, confidence)
        more = None if needed is None else max(needed - n, n // 2, 1)
        why = (
            f"{n} rows kept apart are too few, or show another picture: a wealth of "
            f"{result.wealth[0]:.1f} was reached and {1 / (1 - confidence):.0f} is needed"
        )
        if more is not None:
            why += f"; about {more} more labelled rows would probably do"
    text = f"nothing cheaper can promise {words}: {why}. The policy is the strongest model alone"
    return reference, Promise(
        certified=False, ratio=ratio, confidence=confidence, n=n, text=text, more_rows=more
    )


def _sequence(
    found: Sequence[Candidate],
    reference: Candidate,
    table: Table,
    strong: NDArray[np.float64],
    ratio: float,
) -> list[tuple[Candidate, float, float]]:
    """Return the policies to test, from the safest to the cheapest, with growth and stake of each.

    Safe is what wealth would grow fast on, on the tuning rows. A policy that is dearer and less
    safe than another has no place.
    """
    rated = []
    for i in _undominated(found):
        one = found[i]
        if one.cost < reference.cost and one.quality >= ratio * reference.quality:
            quality = outcome(replay_policy(one.policy, table), table).quality
            speed, stake = growth(quality, strong, ratio=ratio)
            if speed > 0:
                rated.append((one, speed, stake))
    kept: list[tuple[Candidate, float, float]] = []
    for entry in sorted(rated, key=lambda entry: entry[0].cost):  # cheapest first
        if not kept or entry[1] > kept[-1][1]:
            kept.append(entry)
    kept.reverse()
    if len(kept) > SEQUENCE:
        at = np.unique(np.linspace(0, len(kept) - 1, SEQUENCE).round().astype(int))
        kept = [kept[i] for i in at]
    return kept


def _bound(
    chosen: Candidate, reference: Candidate, certificate: Table, confidence: float
) -> Promise:
    """Return what a policy that was picked for its cost may promise of quality."""
    column = certificate.models.index(_name(reference))
    ratio = certified_ratio(
        outcome(replay_policy(chosen.policy, certificate), certificate).quality,
        certificate.score[:, column].astype(np.float64),
        confidence=confidence,
    )
    text = (
        f"with {confidence:.0%} confidence it keeps at least {ratio:.1%} of {_name(reference)}'s "
        f"quality on traffic like this log ({certificate.n} rows that the search had not seen)"
    )
    return Promise(
        certified=ratio > 0, ratio=ratio, confidence=confidence, n=certificate.n, text=text
    )


def _advice(found: Sequence[Candidate], reference: Candidate, table: Table) -> list[str]:
    said = []
    cost = table.cost.mean(axis=0, dtype=np.float64)
    if reference.cost <= float(cost.min()) + 1e-15:
        said.append(
            f"{_name(reference)} is the best model and the cheapest one: use it alone, a ladder "
            "has nothing to save"
        )
        return said
    mixes = [c for c in found if c.family == "fixed"]
    others = [c for c in found if c.family not in ("fixed", "agreement")]
    on = hull([c.cost for c in mixes], [c.quality for c in mixes])
    line = [mixes[i] for i in on]
    above = [
        c.quality - float(np.interp(c.cost, [x.cost for x in line], [x.quality for x in line]))
        for c in others
    ]
    if not others:
        said.append("no scorer: only fixed models and agreement could be compared")
    elif max(above) <= 0.005:
        said.append(
            "nothing here tells right answers from wrong ones: no policy lies above a random mix "
            "of single models; a fixed model is the plain choice"
        )
    return said


def _name(reference: Candidate) -> str:
    policy: Policy = reference.policy
    assert isinstance(policy, Fixed)
    return policy.model
