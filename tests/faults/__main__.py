"""Run the scenarios, print the table, and fail on any difference."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import anyio
from rich.console import Console
from rich.markup import escape

from .harness import Setting
from .ledger import ledger_scenarios
from .lives import life_scenarios
from .plan import Plan
from .scenarios import Scenario, Unfit, fault_scenarios
from .table import Line, crashed, line, skipped, table
from .upstreams import Upstream, bad_certificate

_SHOWN = 3
"""Violations of a kind that are told in full."""


def run(
    scenarios: list[Scenario], *, asks: int, in_flight: int, console: Console | None = None
) -> list[Line]:
    """Run these scenarios, each on an event loop of its own, and return their numbers."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="cascade-faults-") as name:
        folder = Path(name)
        certificate = bad_certificate(folder)
        with Upstream(folder, "bad", certificate) as upstream, Upstream(folder, "good") as spare:
            for scenario in scenarios:
                for each in (upstream, spare):
                    each.plan(Plan())
                setting = Setting(
                    folder=folder / scenario.name,
                    upstream=upstream,
                    spare=spare,
                    asks=asks,
                    in_flight=in_flight,
                )
                began = time.monotonic()
                try:
                    finding = anyio.run(scenario.run, setting)
                except Unfit as exc:
                    # Nothing may be left out unseen where it counts.
                    told = crashed if os.environ.get("CI") else skipped  # noqa: TID251
                    lines.append(told(scenario.name, exc))
                except Exception as exc:  # noqa: BLE001 - the other scenarios are to be run too
                    lines.append(crashed(scenario.name, exc))
                else:
                    lines.append(line(scenario.name, finding, time.monotonic() - began))
                if console is not None:
                    done = lines[-1]
                    console.print(
                        f"{done.scenario}: {done.seconds:.1f} s, {len(done.violations)} violations"
                    )
    return lines


def tell(lines: list[Line], console: Console) -> None:
    """Print the first violations of each kind."""
    for one in lines:
        kinds: Counter[str] = Counter()
        for violation in one.violations:
            kind = violation.partition(":")[0]
            kinds[kind] += 1
            if kinds[kind] <= _SHOWN:
                console.print(f"[red]{escape(one.scenario)}[/]: {escape(violation[:500])}")
        for kind, count in kinds.items():
            if count > _SHOWN:
                console.print(f"[red]{escape(one.scenario)}[/]: {count:,} of this kind: {kind}")


def main() -> int:
    """Return the exit code: 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="300 asks a scenario, not 5,000")
    parser.add_argument("--only", metavar="NAME", action="append", help="this scenario")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers here too")
    given = parser.parse_args()
    scenarios = [*fault_scenarios(), *life_scenarios(), *ledger_scenarios()]
    known = {scenario.name: scenario for scenario in scenarios}
    for name in given.only or ():
        if name not in known:
            parser.error(f"--only {name}: no such scenario; there are: {', '.join(known)}")
    if given.only:
        scenarios = [known[name] for name in given.only]
    logging.getLogger("cascade").addHandler(logging.NullHandler())  # breakers tell when they open
    console = Console(width=200 if not sys.stdout.isatty() else None)
    asks, in_flight = (300, 50) if given.smoke else (5_000, 200)
    began = time.monotonic()
    lines = run(scenarios, asks=asks, in_flight=in_flight, console=console)
    wrong = sum(len(one.violations) for one in lines)
    seconds = time.monotonic() - began
    title = f"{len(lines)} scenarios, {seconds:.0f} s, {wrong:,} violations"
    console.print(table(lines, title))
    tell(lines, console)
    if given.json is not None:
        told = {"seconds": seconds, "scenarios": [one.to_json() for one in lines]}
        given.json.write_text(json.dumps(told, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
