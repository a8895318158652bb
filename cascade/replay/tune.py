"""Picks the policy for a goal, on tuning rows; and, on rows kept apart, what it may promise."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..policies import Fixed
from ..policy import Policy
from .metrics import bootstrap, hull
from .promise import certified_ratio, certify, growth, rows_needed
from .search import FAMILIES, Candidate, best_ladder, candidates, strongest
from .table import Table
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

CERTIFICATE_SHARE = 0.4
"""Share of the rows kept apart for the certificate."""

SEQUENCE = 12
"""Policies tested one after the other at most: each further one is a further chance to stop early."""

SEARCH_ROWS = 20_000
"""Rows of a longer log that candidates are compared on; those on the hull are then run on all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the policy is to be picked for: exactly one of the three.

    Attributes:
        quality: At least this share of the strongest model's quality, at the least cost.
        budget_usd: At most this mean cost a request, at the best quality.
        tradeoff_usd: The best quality less cost, one unit of quality being worth this many dollars.
    """

    quality: float | None = None
    budget_usd: float | None = None
    tradeoff_usd: float | None = None

    def __post_init__(self) -> None:
        given = [x for x in (self.quality, self.budget_usd, self.tradeoff_usd) if x is not None]
        if len(given) != 1:
            raise ConfigError(
                f"{len(given)} goals given; allowed: one of --quality, --budget, --tradeoff"
            )
        if not given[0] > 0:
            raise ConfigError(f"goal: {given[0]!r} is not above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What may be said about the policy, and on what grounds.

    Attributes:
        certified: Whether anything is promised.
        ratio: Share of the strongest model's quality that is kept at least.
        confidence: Over the draw of the rows.
        n: Rows of the test.
        text: The promise, or why there is none, in words.
        more_rows: About how many further labelled rows would let the policy that was wanted
            promise; None when it is promised, or never could.
    """

    certified: bool
    ratio: float
    confidence: float
    n: int
    text: str
    more_rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What tuning came to.

    Attributes:
        chosen: The policy, with its figures on the tuning rows.
        saving: 1 - its cost / the strongest model's; None when that is free.
        quality_ci: 95 % interval of its quality on the tuning rows.
        strongest: Model with the best mean quality on the tuning rows.
        strongest_quality: That quality.
        strongest_cost: Its cost, US dollars a request.
        frontier: The hull of cost and quality on the tuning rows, by rising cost.
        promise: None when no confidence was asked for.
        n: Tuning rows used.
        tried: Policies compared.
        advice: What the user should know before trusting this, in words.
    """

    chosen: Candidate
    saving: float | None
    quality_ci: tuple[float, float]
    strongest: str
    strongest_quality: float
    strongest_cost: float
    frontier: tuple[Candidate, ...]
    promise: Promise | None
    n: int
    tried: int
    advice: tuple[str, ...]


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

    Raises:
        ConfigError: Too few rows, or a goal out of reach; names the nearest that is not.
    """
    rows = np.flatnonzero(table.complete)
    if confidence is not None and certificate is None:
        apart = kept_apart([table.asked[int(i)] for i in rows])
        certificate, rows = table.take(rows[apart]), rows[~apart]
    if len(rows) < LEAST_ROWS:
        raise ConfigError(
            f"{len(rows)} rows with every model's score and cost are left to tune on; at least "
            f"{LEAST_ROWS} are needed"
            + ("" if confidence is None else " beside those kept for the certificate")
        )
    if len(rows) < table.n:
        table = table.take(rows)
    found = frontier(table, families=families, seed=seed)
    on = [found[i] for i in hull([c.cost for c in found], [c.quality for c in found])]
    reference = strongest_alone(table)
    chosen = pick(found, goal, reference)
    promise = None
    if confidence is not None and certificate is not None:
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
        advice=tuple(_advice(found, reference, table)),
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
