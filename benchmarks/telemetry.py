"""What metrics and spans add to an ask, whose two calls are answered from memory.

    python benchmarks/telemetry.py            # some twenty seconds
    python benchmarks/telemetry.py --smoke    # the same paths in a second, numbers worth nothing

Contenders take turns within one run, each a batch of asks one after the other; spans go over HTTP to a
receiver in another process that throws them away. The table is printed; raw samples go to
out/telemetry.json.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import anyio
from _shared import ROOT, write_result
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(ROOT))

from cascade import Cascade, Ladder, Price, Rung
from cascade.telemetry.otel import Destination, OtelTracer, export_to
from cascade.telemetry.prometheus import PrometheusMetrics
from cascade.testing import ScriptedScorer, reply
from cascade.types import Answer, ModelCall

RECEIVER = """
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
print(server.server_port, flush=True)
server.serve_forever()
"""


class FromMemory:
    """A client that answers at once: unsure, then sure."""

    keeps_deadlines = True

    def __init__(self) -> None:
        self._answers = {"small": reply("4?", confidence=0.3), "large": reply("4", confidence=0.9)}

    async def complete(self, call: ModelCall) -> Answer:
        """Return it."""
        return self._answers[call.model]

    async def aclose(self) -> None:
        """Nothing is open."""


class Nothing:
    """An observer that does nothing: what is left is the making of the record."""

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Do nothing."""


def engine(**options: Any) -> Cascade:
    """Return an engine of two rungs, both of which are asked."""
    price = Price(input=1, output=1)
    rungs = (
        Rung(model="small", provider="p", accept=0.8, price=price),
        Rung(model="large", provider="p", price=price),
    )
    ladder = Ladder(name="telemetry", rungs=rungs)
    return Cascade(ladder, {"p": FromMemory()}, scorer=ScriptedScorer(), **options)


@contextmanager
def receiver() -> Iterator[str]:
    """Run the receiver; yield where it takes spans."""
    command = [sys.executable, "-c", RECEIVER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1/traces"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def measure(rounds: int, asks: int) -> dict[str, list[float]]:
    """Return seconds an ask, one sample a round, by contender."""
    samples: dict[str, list[float]] = {}
    with receiver() as endpoint:
        unsampled = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        contenders = {
            "nothing": engine(),
            "a decision record": engine(observers=[Nothing()]),
            "metrics": engine(observers=[PrometheusMetrics(CollectorRegistry())]),
            "spans, none sampled": engine(tracer=OtelTracer(unsampled)),
            "spans": engine(tracer=OtelTracer(export_to(Destination(endpoint=endpoint)))),
        }
        async with AsyncExitStack() as stack:
            for contender in contenders.values():
                await stack.enter_async_context(contender)
                answer = await contender.ask("What is 2 + 2?")
                assert (answer.text, len(answer.attempts)) == ("4", 2)
            for _ in range(rounds):
                for name, contender in contenders.items():
                    began = time.perf_counter()
                    for _ in range(asks):
                        await contender.ask("What is 2 + 2?")
                    seconds = (time.perf_counter() - began) / asks
                    samples.setdefault(name, []).append(seconds)
    return samples


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a second, numbers worth nothing")
    rounds, asks = (2, 20) if parser.parse_args().smoke else (40, 200)
    samples = anyio.run(measure, rounds, asks)
    table = Table(title="Microseconds an ask with two calls")
    for column in ("with", "median", "p90", "more than nothing"):
        table.add_column(column, justify="left" if column == "with" else "right")
    base = statistics.median(samples["nothing"])
    for name, seconds in samples.items():
        median = statistics.median(seconds)
        p90 = sorted(seconds)[int(0.9 * len(seconds))]
        table.add_row(
            name, f"{median * 1e6:.0f}", f"{p90 * 1e6:.0f}", f"{(median - base) * 1e6:+.0f}"
        )
    Console().print(table)
    write_result("telemetry", {"rounds": rounds, "asks": asks, "seconds": samples})


if __name__ == "__main__":
    main()
