"""What comes out: a row of numbers for each scenario, as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from .scenarios import Finding

__all__ = ["Line", "crashed", "line", "skipped", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The numbers of one scenario.

    Attributes:
        scenario: Its name.
        asks: Asks made.
        answered: With an answer as good as was asked for.
        degraded: With a lesser one.
        failed: With one typed error.
        cancelled: By their callers.
        tries: Requests made, as the engine tells it.
        requests: Requests that arrived, as the upstreams tell it.
        skips: Calls that were not made, to spare an upstream.
        p50_ms: Median wait of a caller.
        p99_ms: The wait that one in a hundred passes.
        max_ms: Longest wait.
        lag_ms: Longest the event loop itself was late.
        cost_usd: What the engine knows to have spent.
        billed_usd: What the upstreams served whole for those same calls.
        unknown: Asks whose cost is not known.
        seconds: Whole time of the scenario.
        violations: Everything that should not have been.
        note: More about it, or why it was not run.
    """

    scenario: str
    asks: int = 0
    answered: int = 0
    degraded: int = 0
    failed: int = 0
    cancelled: int = 0
    tries: int = 0
    requests: int = 0
    skips: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    lag_ms: float = 0.0
    cost_usd: float = 0.0
    billed_usd: float = 0.0
    unknown: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def line(name: str, finding: Finding, seconds: float) -> Line:
    """Return the numbers of a scenario that was run."""
    evidence = finding.evidence
    seen = evidence.seen
    outcomes = [one.outcome for one in seen]
    waits = sorted(1e3 * one.latency_s for one in seen) or [0.0]
    tries = [tried for one in seen for tried in one.tries]
    bills = evidence.billed()
    known = [
        (cost, bills.get((one.ask, model), 0.0))
        for one in seen
        for model, cost in one.costs.items()
        if cost is not None
    ]
    return Line(
        scenario=name,
        asks=len(seen),
        answered=outcomes.count("answered"),
        degraded=outcomes.count("degraded"),
        failed=outcomes.count("failed"),
        cancelled=outcomes.count("cancelled"),
        tries=sum(1 for tried in tries if tried.called),
        requests=sum(len(counts.rows) for counts in evidence.counts),
        skips=sum(1 for tried in tries if not tried.called),
        p50_ms=waits[len(waits) // 2],
        p99_ms=waits[int(0.99 * (len(waits) - 1))],
        max_ms=waits[-1],
        lag_ms=1e3 * evidence.lag.most,
        cost_usd=sum(cost for cost, _ in known),
        billed_usd=sum(billed for _, billed in known),
        unknown=sum(1 for one in seen if one.cost_usd is None),
        seconds=seconds,
        violations=finding.violations,
        note=finding.note,
    )


def skipped(name: str, error: Exception) -> Line:
    """Return the line of a scenario that this machine cannot run."""
    return Line(scenario=name, note=f"not run: {error}")


def crashed(name: str, error: Exception) -> Line:
    """Return the line of a scenario that ended in an error of its own: the engine would not open."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return Line(scenario=name, violations=[f"crashed: {type(error).__name__}: {error}"])


def table(lines: list[Line], title: str) -> Table:
    """Return the table."""
    made = Table(title=title, caption=_CAPTION, caption_justify="left", title_justify="left")
    made.add_column("scenario", no_wrap=True)
    for name in ("asks", "answered", "degraded", "failed", "cancelled", "tries", "skips"):
        made.add_column(name, justify="right", no_wrap=True)
    for name in ("p50 ms", "p99 ms", "max ms", "lag ms"):
        made.add_column(name, justify="right", no_wrap=True)
    for name in ("known USD", "billed USD", "unknown", "s", "violations"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("note")
    for one in lines:
        wrong = len(one.violations)
        counts = (one.asks, one.answered, one.degraded, one.failed, one.cancelled, one.tries)
        made.add_row(
            one.scenario,
            *(f"{count:,}" for count in (*counts, one.skips)),
            *(f"{ms:,.0f}" for ms in (one.p50_ms, one.p99_ms, one.max_ms, one.lag_ms)),
            f"{one.cost_usd:.6f}",
            f"{one.billed_usd:.6f}",
            f"{one.unknown:,}",
            f"{one.seconds:.1f}",
            f"[bold red]{wrong:,}[/]" if wrong else "0",
            one.note,
        )
    return made


_CAPTION = (
    "tries: requests made; skips: calls not made to spare an upstream (breaker, pause, limit).\n"
    "An ask is late when it passes its deadline by more than 100 ms and the time for which the\n"
    "event loop of this very process was late in the meantime (lag: the longest such moment).\n"
    "known USD: what the engine says its calls cost; billed USD: what the upstreams served whole\n"
    "for these; unknown: asks with a call that was cut or timed out."
)
