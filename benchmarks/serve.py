"""What the server can bear and what it adds: requests a second, latency, first bytes, memory, long runs.

One worker is pinned to one core; upstream and load generator have the other. Contenders are measured in
turns within one run: compare ratios, not machines.

    python benchmarks/serve.py                    # some two minutes
    python benchmarks/serve.py --soak 30          # and half an hour of mixed load with faults
    python benchmarks/serve.py --soak 30 --only-soak --pause-ms 100     # that alone, at a moderate rate
    python benchmarks/serve.py --smoke            # the same paths in a minute and a half, most of it mixed load

A bare forwarder with aiohttp is measured beside it where aiohttp is installed, and LiteLLM's proxy with
`--litellm PATH`, the program `litellm` of an environment of its own (`pip install 'litellm[proxy]'`). Raw
numbers go to out/serve.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _load import Connection, Seen, closed_loop, connect, request
from rich.console import Console
from rich.table import Table
from upstream import Upstream, running_upstream

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "Which is heavier, a mole of iron or a mole of lead?"
CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"

LADDER = """
name: {name}
grace_s: 2
providers:
  first: {{kind: openai, base_url: "{first}", max_connections: 2000}}
  second: {{kind: openai, base_url: "{second}", max_connections: 2000}}
ladder:
{rungs}
scorer: {{kind: logprob}}
{more}
"""
ONE = "  - {model: bench-model, provider: second, accept: 0.01, price: {input: 1, output: 1}}"
TWO = (
    "  - {model: unsure-model, provider: first, accept: 0.99, price: {input: 1, output: 1}}\n" + ONE
)

FORWARDER = """
import os, sys
from aiohttp import ClientSession, TCPConnector, web
os.sched_setaffinity(0, {int(sys.argv[2])}) if len(sys.argv) > 2 else None
async def start(app):
    app["session"] = ClientSession(connector=TCPConnector(limit=0))
async def forward(request):
    headers = {"content-type": "application/json"}
    async with request.app["session"].post(sys.argv[1], data=await request.read(), headers=headers) as r:
        return web.Response(body=await r.read(), status=r.status, content_type="application/json")
async def serve():
    app = web.Application()
    await start(app)
    app.router.add_post("/v1/chat/completions", forward)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    import asyncio
    await asyncio.Event().wait()
import asyncio
asyncio.run(serve())
"""


LITELLM = """
model_list:
  - model_name: cascade/two
    litellm_params: {{model: openai/bench-model, api_base: "{url}", api_key: none}}
litellm_settings: {{telemetry: false}}
"""
LITELLM_SETTINGS = {
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # at a loopback address
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured.

    Attributes:
        rounds: Turns that every contender gets.
        seconds: Of one turn.
        pairs: Direct calls and calls through the server, in turns.
        crowd: Slow streams at once.
        gap_ms: Milliseconds between two tokens of those.
    """

    rounds: int
    seconds: float
    pairs: int
    crowd: int
    gap_ms: int


FULL = Scale(rounds=3, seconds=4.0, pairs=500, crowd=1_000, gap_ms=500)
SMOKE = Scale(rounds=1, seconds=0.4, pairs=20, crowd=50, gap_ms=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server under measurement.

    Attributes:
        port: Where it listens.
        process: It.
        folder: Where its log is.
    """

    port: int
    process: subprocess.Popen[Any]
    folder: Path

    def resident_mb(self) -> float:
        """Return its resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6

    def open_files(self) -> int:
        """Return its descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextlib.contextmanager
def running_server(ladders: dict[str, str], core: int | None) -> Iterator[Server]:
    """Run `cascade serve` over these ladders, one log line a request included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "cascade", "serve", "--port", "0"]
        for ladder, text in ladders.items():
            file = folder / f"{ladder}.yaml"
            file.write_text(text)
            command += ["-c", str(file)]
        said = folder / "stderr"
        with said.open("w") as stderr:
            process = subprocess.Popen(
                command, stderr=stderr, cwd=ROOT, preexec_fn=lambda: _pin(core)
            )
            try:
                yield Server(port=_port_of(said, process), process=process, folder=folder)
            finally:
                process.terminate()
                process.wait(timeout=30)


def _pin(core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})


def _port_of(said: Path, process: subprocess.Popen[Any]) -> int:
    for _ in range(600):
        for line in said.read_text().splitlines():
            told = json.loads(line)
            if told["event"] == "listening":
                return int(told["url"].rsplit(":", 1)[1])
        if process.poll() is not None:
            raise RuntimeError(said.read_text())
        time.sleep(0.05)
    raise RuntimeError("the server does not listen")


@contextlib.contextmanager
def running_forwarder(upstream: Upstream, core: int | None) -> Iterator[tuple[int, int]]:
    """Run the bare forwarder; yield its port and its process's id."""
    url = upstream.base_url(20) + "/chat/completions"
    command = [sys.executable, "-c", FORWARDER, url, *([] if core is None else [str(core)])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def running_litellm(
    program: Path, upstream: Upstream, core: int | None
) -> Iterator[tuple[int, int]]:
    """Run LiteLLM's proxy with one worker; yield its port and its process's id."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        file = Path(folder) / "config.yaml"
        file.write_text(LITELLM.format(url=upstream.base_url(20)))
        command = [str(program), "--config", str(file), "--host", "127.0.0.1"]
        command += ["--port", str(port), "--num_workers", "1"]
        known = os.environ | LITELLM_SETTINGS
        process = subprocess.Popen(
            command,
            env=known,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: _pin(core),
        )
        try:
            _wait_for(port, process)
            yield port, process.pid
        finally:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[Any]) -> None:
    for _ in range(1_200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if process.poll() is not None:
            raise RuntimeError("LiteLLM's proxy has ended")
        time.sleep(0.1)
    raise RuntimeError("LiteLLM's proxy does not listen")


def ladders(upstream: Upstream, scale: Scale) -> dict[str, str]:
    """Return the ladder files, by name."""
    unsure, sure = upstream.base_url(20, unsure=True), upstream.base_url(20)
    slow = upstream.base_url(20, gap_ms=scale.gap_ms)
    faulty = upstream.base_url(20, faults=True)
    drips = upstream.base_url(20, gap_ms=2)
    paced = upstream.base_url(3, gap_ms=20)

    def text(name: str, first: str, second: str, rungs: str, more: str = "") -> str:
        return LADDER.format(name=name, first=first, second=second, rungs=rungs, more=more)

    return {
        "two": text("two", unsure, sure, TWO),
        "one": text("one", unsure, sure, ONE),
        "slow": text("slow", unsure, slow, ONE),
        "paced": text("paced", unsure, paced, ONE),
        "drips": text("drips", unsure, drips, ONE),
        "faulty": text("faulty", faulty, sure, TWO, "log: {path: logs}"),
    }


def body(model: str, **fields: Any) -> bytes:
    """Return a chat-completions body."""
    messages = [{"role": "user", "content": PROMPT}]
    return json.dumps({"model": model, "messages": messages, **fields}).encode()


SHOWN = {"logprobs": True, "top_logprobs": 5}


async def check_answers(server: Server) -> None:
    """Ask each way once, and look at the answers."""
    connection = await connect(server.port)
    seen = await connection.ask(request(CHAT, body("cascade/two", **SHOWN), server.port))
    found = json.loads(seen.body)
    assert seen.status == 200
    assert found["cascade"]["rung"] == 1
    assert len(found["choices"][0]["logprobs"]["content"]) == 20
    seen = await connection.ask(request(CHAT, body("cascade/one", stream=True), server.port))
    assert seen.status == 200
    assert seen.body.count(b'"content":"') >= 20, seen.body
    connection.close()


async def measure_throughput(
    contenders: dict[str, tuple[int, bytes, int]], scale: Scale
) -> dict[str, list[tuple[float, float]]]:
    """Return requests a second at 64 connections, by the clock and by processor time, one pair a round.

    On a machine that others use too, the second is what a core of its own would bear.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(scale.rounds):
        for name, (port, bytes_, pid) in contenders.items():
            before = _cpu_s(pid)
            load = await closed_loop(
                port, lambda sent=bytes_: sent, connections=64, seconds=scale.seconds
            )
            assert set(load.statuses) == {200}, (name, load.statuses)
            answers = load.statuses[200] + 64  # each connection's first is not timed
            found[name].append((load.per_s, answers / max(0.01, _cpu_s(pid) - before)))
    return found


def _cpu_s(pid: int) -> float:
    """Return the processor time a process has had, seconds, to a hundredth."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure_pairs(
    direct: tuple[int, bytes], through: tuple[int, bytes], pairs: int, *, first: bool
) -> tuple[list[float], list[float]]:
    """Return microseconds directly and through the server, in turns: whole answers, or first words."""
    connections = [await connect(port) for port, _ in (direct, through)]
    samples: tuple[list[float], list[float]] = ([], [])
    for i in range(-10, pairs):
        for connection, (_, sent), kept in zip(
            connections, (direct, through), samples, strict=True
        ):
            seen = await connection.ask(sent)
            assert seen.status == 200
            if i >= 0:
                kept.append((seen.first_s if first else seen.whole_s) * 1e6)
    for connection in connections:
        connection.close()
    return samples


async def measure_crowd(server: Server, scale: Scale) -> dict[str, float]:
    """Return MB before, and the most while so many slow streams are under way."""
    sent = request(CHAT, body("cascade/slow", stream=True), server.port)
    before = server.resident_mb()
    opened = [await connect(server.port) for _ in range(scale.crowd)]
    tasks = [asyncio.create_task(connection.ask(sent)) for connection in opened]
    peak = before
    while not all(task.done() for task in tasks):
        peak = max(peak, server.resident_mb())
        await asyncio.sleep(0.1)
    whole = sum(task.result().status == 200 for task in tasks)
    assert whole == scale.crowd, f"{scale.crowd - whole} streams are not whole"
    for connection in opened:
        connection.close()
    return {"before_mb": before, "peak_mb": peak}


async def soak(server: Server, seconds: float, pause_s: float) -> dict[str, Any]:
    """Return what mixed load does to the server over time.

    Whole answers of both APIs, two choices at once, and streams, from a ladder whose first rung fails one
    time in ten; asks that are bad, and clients that go away in the midst of a stream.

    Args:
        server: It.
        seconds: How long.
        pause_s: Seconds that each of the 16 clients rests after an answer.
    """
    rng = random.Random(1)
    port = server.port
    whole = request(CHAT, body("cascade/faulty"), port)
    streamed = request(CHAT, body("cascade/faulty", stream=True), port)
    slow = request(CHAT, body("cascade/drips", stream=True), port)
    bad = request(CHAT, b'{"model": "cascade/faulty"}', port)
    message = request(MESSAGES, body("cascade/faulty", max_tokens=64), port)
    choices = request(CHAT, body("cascade/faulty", n=2), port)
    latencies: list[float] = []
    counts = {"answered": 0, "refused": 0, "left": 0, "lost": 0}
    until = time.perf_counter() + seconds

    async def client() -> None:
        connection = await connect(port)
        while time.perf_counter() < until:
            drawn = rng.random()
            if drawn < 0.05:
                await _leave(connection, slow)
                counts["left"] += 1
                connection = await connect(port)
                continue
            sent = whole
            for share, other in ((0.1, bad), (0.2, message), (0.25, choices), (0.6, streamed)):
                if drawn < share:
                    sent = other
                    break
            seen: Seen = await connection.ask(sent)
            if seen.status == (400 if sent is bad else 200):
                counts["refused" if sent is bad else "answered"] += 1
                if sent is not bad:
                    latencies.append(seen.whole_s)
            else:
                counts["lost"] += 1
            if not connection.is_open:
                connection = await connect(port)
            if pause_s:
                await asyncio.sleep(pause_s)
        connection.close()

    samples: list[tuple[float, float, int]] = []

    async def watch() -> None:
        began = time.perf_counter()
        while time.perf_counter() < until:
            await asyncio.sleep(min(5.0, seconds / 10))
            at = time.perf_counter() - began
            samples.append((at, server.resident_mb(), server.open_files()))

    await asyncio.gather(watch(), *(client() for _ in range(16)))
    await asyncio.sleep(1.0)
    quarter = max(1, len(samples) // 4)
    return {
        **counts,
        "seconds": seconds,
        "pause_ms": pause_s * 1e3,
        "p50_ms": statistics.median(latencies) * 1e3,
        "p99_ms": statistics.quantiles(latencies, n=100)[98] * 1e3,
        "mb_second_quarter": statistics.median(mb for _, mb, _ in samples[quarter : 2 * quarter]),
        "mb_last_quarter": statistics.median(mb for _, mb, _ in samples[-quarter:]),
        "files_second_quarter": max(files for _, _, files in samples[quarter : 2 * quarter]),
        "files_at_end": server.open_files(),
        "samples": samples,
    }


async def _leave(connection: Connection, sent: bytes) -> None:
    """Begin a stream, and go away in its midst."""
    asking = asyncio.create_task(connection.ask(sent))
    await asyncio.sleep(0.01)
    connection.close()
    await asking


def table(found: dict[str, Any]) -> Table:
    """Return the numbers beside what they are held to."""
    shown = Table("", "measured", "wanted")
    if "crowd" in found:
        add_speed(shown, found)
    ran = found["soak"]
    shown.add_row(
        f"{ran['seconds'] / 60:.1f} minutes of mixed load",
        f"{ran['answered']:,} answered, {ran['refused']:,} refused, {ran['left']:,} left, "
        f"{ran['lost']} lost; p50 {ran['p50_ms']:,.1f} ms, p99 {ran['p99_ms']:,.0f} ms",
        "0 lost",
    )
    shown.add_row(
        "memory, second quarter and last",
        f"{ran['mb_second_quarter']:,.0f} MB, {ran['mb_last_quarter']:,.0f} MB",
        "flat",
    )
    shown.add_row(
        "open files, at most in the second quarter, and at the end",
        f"{ran['files_second_quarter']}, {ran['files_at_end']}",
        "no growth",
    )
    return shown


def add_speed(shown: Table, found: dict[str, Any]) -> None:
    """Add what was measured beside the mixed load."""
    for name, rates in found["requests_per_s"].items():
        wanted = ">= 1,500" if name.startswith("two rungs") else ""
        by_clock, by_cpu = (statistics.median(column) for column in zip(*rates, strict=True))
        words = f"{by_clock:,.0f} ({by_cpu:,.0f} per second of processor time)"
        shown.add_row(f"{name}, requests/s at 64", words, wanted)
    for name, (direct, through) in found["latency_us"].items():
        added = statistics.median(through) - statistics.median(direct)
        words = f"+{added:,.0f} µs ({statistics.median(direct):,.0f} directly)"
        shown.add_row(f"{name}, median at 1", words, "<= +1,000 µs")
    crowd = found["crowd"]
    words = f"{crowd['peak_mb']:,.0f} MB (from {crowd['before_mb']:,.0f})"
    shown.add_row(f"{found['parameters']['crowd']:,} slow streams", words, "<= 300 MB")


async def measure(
    server: Server, upstream: Upstream, others: dict[str, tuple[int, int]], args: Any
) -> Any:
    """Return all numbers.

    Args:
        server: What is measured.
        upstream: What it asks.
        others: Ports and process ids of what is measured beside it, by name.
        args: As the command line says.
    """
    scale = SMOKE if args.smoke else FULL
    port, up = server.port, upstream.port
    await check_answers(server)
    plain = body("cascade/two")
    pid = server.process.pid
    asked = {
        "two rungs, log-probabilities returned": body("cascade/two", **SHOWN),
        "two rungs": plain,
        "one rung": body("cascade/one"),
    }
    contenders = {name: (port, request(CHAT, b, port), pid) for name, b in asked.items()}
    for name, (own, its_pid) in others.items():
        contenders[name] = (own, request(CHAT, plain, own), its_pid)
    found: dict[str, Any] = {"requests_per_s": await measure_throughput(contenders, scale)}
    direct = (up, request("/t20/v1/chat/completions", plain, up))
    first = (up, request("/t3-g20/v1/chat/completions", body("m", stream=True), up))
    found["latency_us"] = {
        "one rung": await measure_pairs(
            direct, contenders["one rung"][:2], scale.pairs, first=False
        ),
        "two rungs, beside one call": await measure_pairs(
            direct, contenders["two rungs"][:2], scale.pairs, first=False
        ),
        "first word of a last rung's stream": await measure_pairs(
            first,
            (port, request(CHAT, body("cascade/paced", stream=True), port)),
            max(10, scale.pairs // 5),
            first=True,
        ),
    }
    found["crowd"] = await measure_crowd(server, scale)
    return {"parameters": asdict(scale)} | found | await measure_soak(server, args)


async def measure_soak(server: Server, args: Any) -> dict[str, Any]:
    """Return what mixed load does, for as long as is wanted: a minute where nothing is said."""
    seconds = 60.0 * (args.soak or 1.0)
    return {"soak": await soak(server, seconds, args.pause_ms / 1e3)}


def main() -> int:
    """Check answers, measure, print the table, write the JSON; 1 when something was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="run everything in seconds")
    parser.add_argument(
        "--soak", type=float, help="minutes of mixed load with faults; 1 if not given"
    )
    parser.add_argument("--pause-ms", type=float, default=0.0, help="rest of each client in it")
    parser.add_argument("--only-soak", action="store_true", help="leave out everything else")
    parser.add_argument("--litellm", type=Path, help="LiteLLM's program, to measure its proxy too")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "serve.json")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    ours, theirs = (cores[-1], cores[0]) if len(cores) > 1 else (None, None)
    _pin(ours)
    scale = SMOKE if args.smoke else FULL
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(running_upstream(ours))
        server = stack.enter_context(running_server(ladders(upstream, scale), theirs))
        if args.only_soak:
            found = asyncio.run(measure_soak(server, args))
        else:
            others: dict[str, tuple[int, int]] = {}
            with contextlib.suppress(ModuleNotFoundError):
                import aiohttp  # noqa: F401

                forwarder = stack.enter_context(running_forwarder(upstream, theirs))
                others["aiohttp forwarder, one call"] = forwarder
            if args.litellm:
                proxy = stack.enter_context(running_litellm(args.litellm, upstream, theirs))
                others["LiteLLM's proxy, one call"] = proxy
            found = asyncio.run(measure(server, upstream, others, args))
        log = list((server.folder / "logs").glob("*.jsonl"))
        assert log, "no decision log was written"
    Console(width=110).print(table(found))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found))
    print(f"raw numbers: {args.out}")
    return 1 if found["soak"]["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
