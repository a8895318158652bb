"""What must hold whatever the upstream does. Each check takes the evidence and returns violations.

Pure: all that happened is in the evidence, so that a check can be tried on evidence made up.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .upstreams import Counts
from .watch import Lag, Resources, Seen, Tried

__all__ = ["CHECKS", "Evidence", "violations"]

GRACE_S = 0.1
"""Seconds by which an ask may outlast its deadline."""

_UNKNOWN_COST = frozenset({"ConnectFailed", "ProviderTimeout", "BadResponse", "DeadlineExceeded"})
"""Errors after which nobody knows what a call cost: it may have been served."""

_CENT_OF_NOTHING = 1e-12
"""US dollars below which two sums are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is known about one scenario after its end.

    Attributes:
        seen: Every ask as its caller saw it.
        records: Every decision record, read back from disk.
        torn: Lines of the log that could not be read.
        dropped: Records that the log says were dropped.
        lost: Records that were to be lost: the disk was full.
        counts: What each upstream says it was asked and what it served.
        before: What the process held before the engine was opened.
        after: What it held after the engine was closed.
        lag: How late the event loop was.
        deadline_s: Seconds an ask was given.
        in_flight: Asks at once.
        elapsed_s: Seconds from the first ask to the last.
        probes: Seconds between two probes of an open breaker; None where none is set.
    """

    seen: Sequence[Seen]
    records: Sequence[Mapping[str, Any]]
    torn: int
    dropped: int
    counts: Sequence[Counts]
    before: Resources
    after: Resources
    lag: Lag = field(repr=False)
    deadline_s: float
    in_flight: int
    elapsed_s: float
    probes: float | None
    lost: int = 0

    def billed(self) -> dict[tuple[int, str], float]:
        """Return (ask, model) → US dollars that the upstreams bill for what they served whole."""
        bills: dict[tuple[int, str], float] = defaultdict(float)
        for counts in self.counts:
            for row in counts.rows:
                bills[row.ask, row.model] += row.cost_usd
        return bills


def on_time(evidence: Evidence) -> Iterator[str]:
    """Every ask ends within its deadline and the grace, and the time the loop itself was late."""
    for seen in evidence.seen:
        late = seen.latency_s - evidence.deadline_s - GRACE_S
        if late > 0:
            lag = evidence.lag.within(seen.began + evidence.deadline_s, seen.ended)
            if late > lag:
                yield (
                    f"ask {seen.ask} took {seen.latency_s * 1e3:.0f} ms, {late * 1e3:.0f} ms too "
                    f"long, of which the loop was late for {lag * 1e3:.0f} ms"
                )


def ended_well(evidence: Evidence) -> Iterator[str]:
    """Every ask ends in an answer, an error of ours, or its cancellation; an answer is intact."""
    for seen in evidence.seen:
        if seen.outcome == "broken":
            yield f"ask {seen.ask} ended with {seen.error}"
        elif not seen.intact:
            yield f"ask {seen.ask} was given an answer of {seen.model} that is not intact"


def recorded_once(evidence: Evidence) -> Iterator[str]:
    """Every ask has exactly one decision record, and it says what the caller saw."""
    if evidence.torn or evidence.dropped != evidence.lost:
        yield f"the log has {evidence.torn} torn lines and {evidence.dropped} dropped records"
    missing = []
    found: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for record in evidence.records:
        found[record["metadata"]["ask"]].append(record)
    for seen in evidence.seen:
        records = found.pop(seen.ask, [])
        if not records:
            missing.append(seen.ask)
            continue
        if len(records) > 1:
            yield f"ask {seen.ask} has {len(records)} records"
        told = records[0]
        if told["outcome"] != seen.outcome:
            yield f"ask {seen.ask} was {seen.outcome}, its record says {told['outcome']}"
        elif seen.outcome != "cancelled" and not _equal(told["cost_usd"], seen.cost_usd):
            yield f"ask {seen.ask} cost {seen.cost_usd}, its record says {told['cost_usd']}"
    if len(missing) != evidence.lost:
        yield f"{len(missing)} asks have no record, beginning with {missing[:3]}"
    if found:
        yield f"{len(found)} asks have a record and were never asked: {sorted(found)[:3]}"


def costs_add_up(evidence: Evidence) -> Iterator[str]:
    """A cost that is known is what the upstream billed; an unknown one has a call that was cut."""
    bills = evidence.billed()
    arrived = {(row.ask, row.model) for counts in evidence.counts for row in counts.rows}
    for seen in evidence.seen:
        if seen.outcome not in ("answered", "degraded", "failed"):
            continue
        total: float | None = 0.0
        for model, cost in seen.costs.items():
            total = None if total is None or cost is None else total + cost
            if cost is None:
                if not any(_may_have_cost(tried) for tried in seen.tries_of(model)):
                    yield f"ask {seen.ask}: what {model} cost is unknown, and nothing was cut"
            elif (seen.ask, model) in arrived and all(
                tried.called and not tried.sent for tried in seen.tries_of(model)
            ):
                yield f"ask {seen.ask}: {model} has a request that the engine says it never sent"
            elif not _equal(cost, bills.get((seen.ask, model), 0.0)):
                billed = bills.get((seen.ask, model), 0.0)
                yield f"ask {seen.ask}: {model} billed {billed:.9f}, the engine says {cost:.9f}"
        if not _equal(total, seen.cost_usd):
            yield f"ask {seen.ask}: its attempts cost {total}, the ask {seen.cost_usd}"
    asked = {(seen.ask, model) for seen in evidence.seen for model in seen.costs}
    cancelled = {seen.ask for seen in evidence.seen if seen.outcome == "cancelled"}
    strays = [key for key, bill in bills.items() if bill and key not in asked]
    for ask, model in strays:
        if ask not in cancelled:
            yield f"ask {ask}: {model} billed a call of which the engine says nothing"


def cancelled_costs_add_up(evidence: Evidence) -> Iterator[str]:
    """The record of a cancelled ask says what it had cost; a call in flight makes that unknown."""
    bills = evidence.billed()
    for record in evidence.records:
        if record["outcome"] != "cancelled":
            continue
        ask = record["metadata"]["ask"]
        told = {a["model"]: a["cost_usd"] for a in record["attempts"] if a["verdict"] != "skipped"}
        for model, cost in told.items():
            if cost is not None and not _equal(cost, bills.get((ask, model), 0.0)):
                yield f"ask {ask}, cancelled: {model} billed another sum than {cost}"
        billed = sum(bill for (of, _), bill in bills.items() if of == ask)
        if record["cost_usd"] is None:
            if record["calling"] is None and None not in told.values():
                yield f"ask {ask}, cancelled: its cost is unknown, and no call was in flight"
        elif not _equal(record["cost_usd"], billed):
            yield f"ask {ask}, cancelled: was billed {billed}, its record says {record['cost_usd']}"


def nothing_leaks(evidence: Evidence) -> Iterator[str]:
    """After closing the process holds what it held before, and the upstream sees nobody."""
    if evidence.after != evidence.before:
        yield f"held before: {evidence.before}, after: {evidence.after}"
    for counts in evidence.counts:
        working = counts.states().get("working", 0)
        if counts.connections or working:
            yield f"the upstream still has {counts.connections} connections, works on {working}"


def no_second_wait(evidence: Evidence) -> Iterator[str]:
    """No ask waits twice for one deployment in vain; an open breaker lets only probes wait."""
    waits: Counter[str] = Counter()
    for seen in evidence.seen:
        vain = Counter(tried.deployment for tried in seen.tries if tried.timed_out)
        waits.update(vain)
        for deployment, count in vain.items():
            if count > 1:
                yield f"ask {seen.ask} waited {count} times for {deployment}"
    if evidence.probes is None:
        return
    # Until the breaker opens everybody in flight may be waiting; from then on one at a time.
    most = evidence.in_flight + math.ceil(evidence.elapsed_s / evidence.probes)
    for deployment, count in waits.items():
        if count > most:
            yield f"{count} calls waited for {deployment}; with its breaker open at most {most} may"


def _may_have_cost(tried: Tried) -> bool:
    return tried.sent and tried.error in _UNKNOWN_COST


def _equal(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return abs(first - second) < _CENT_OF_NOTHING


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    on_time,
    ended_well,
    recorded_once,
    costs_add_up,
    cancelled_costs_add_up,
    nothing_leaks,
    no_second_wait,
)


def violations(evidence: Evidence) -> list[str]:
    """Return every violation, in the order of the checks."""
    return [f"{check.__name__}: {said}" for check in CHECKS for said in check(evidence)]
