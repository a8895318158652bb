"""What the engine adds to a call: latency, throughput and memory, against a local upstream.

The upstream runs in another process on another core and answers from memory, so that what is left is
the client's own work. Contenders are measured in turns within one run: compare ratios, not machines.

    python benchmarks/overhead.py            # all of it, some three minutes
    python benchmarks/overhead.py --smoke    # the same paths in seconds, numbers worth nothing

aiohttp, the OpenAI SDK and LiteLLM are measured if they are installed where this runs. The table is printed;
raw samples go to out/overhead.json.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from upstream import Upstream, answer_body, running_upstream

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cascade import Cascade  # noqa: E402
from cascade.clients.http import default_transport  # noqa: E402

PROMPT = "Which is heavier, a mole of iron or a mole of lead?"
IN_FLIGHT = (1, 64, 256)
TOKENS = {20: "9 KB", 200: "87 KB"}
BODY = json.dumps(
    {
        "model": "bench-model",
        "messages": [{"role": "user", "content": PROMPT}],
        "logprobs": True,
        "top_logprobs": 5,
    }
).encode()
HEADERS = {"content-type": "application/json", "authorization": "Bearer key"}

LADDER = """
version: 1
name: overhead
providers:
  first: {{kind: openai, base_url: "{first}", max_connections: {connections}{provider}}}
  second: {{kind: openai, base_url: "{second}", max_connections: {connections}{provider}}}
ladder:
{rungs}
scorer: {{kind: logprob}}
{log}
{rest}
"""
ONE_RUNG = "  - {model: bench-model, provider: second, accept: 0.01, price: {input: 1, output: 1}}"
TWO_RUNGS = "  - {model: unsure-model, provider: first, accept: 0.99}\n" + ONE_RUNG

SAFETY = {
    "none": (", retry: null, breaker: null", "deadline_s: null"),
    "as it is by default": ("", ""),
    "everything but hedging": (
        ", first_token_timeout_s: 30, between_tokens_timeout_s: 10, limits: {concurrent: 5000, "
        "requests_per_min: 1.0e+8, tokens_per_min: 1.0e+10, adaptive: true}",
        "deadline_s: 60\nbudgets: [{usd: 1.0e+6, tokens: 1000000000000, per: month}]\n"
        'tenants: {"*": {budgets: [{usd: 1.0e+6, per: day}], limits: {concurrent: 5000}}}',
    ),
}
SAFETY["everything"] = (
    SAFETY["everything but hedging"][0],
    SAFETY["everything but hedging"][1] + "\nhedge: {after_s: 10}",
)
"""What providers and the ladder say of failures, limits and budgets; `none` is the engine without."""

SPARE_RUNG = ONE_RUNG + "\n  - {model: spare-model, provider: first, price: {input: 1, output: 1}}"
"""A second rung that is there to be hedged with and never asked; with one rung nothing is hedged."""

Ask = Callable[[], Awaitable[object]]
"""Makes one call and returns the text of its answer, or the body when it reads nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured.

    Attributes:
        rounds: Turns that every contender gets.
        calls: Calls of one turn at each concurrency; slow contenders make a fifth.
        pairs: Sequential pairs of a bare call and an ask.
        crowd: Asks in flight in the memory test.
        delay_ms: How long the upstream of the memory test takes.
        idle_s: Seconds before and after the crowd, in which idle connections are closed.
    """

    rounds: int
    calls: int
    pairs: int
    crowd: int
    delay_ms: int
    idle_s: float


FULL = Scale(rounds=5, calls=3_000, pairs=1_000, crowd=10_000, delay_ms=5_000, idle_s=21.0)
SMOKE = Scale(rounds=1, calls=100, pairs=30, crowd=300, delay_ms=300, idle_s=0.2)


# Contenders: each opens what it needs and gives back a function that makes one call.


@asynccontextmanager
async def bare_transport(base_url: str) -> AsyncIterator[Ask]:
    """Our default transport alone."""
    transport = default_transport()

    async def ask() -> object:
        answer = await transport.post(
            f"{base_url}/chat/completions",
            HEADERS,
            BODY,
            timeout_s=600.0,
            provider="bench",
            model="bench-model",
        )
        return answer.body

    yield ask
    await transport.aclose()


@asynccontextmanager
async def stock_httpx(base_url: str) -> AsyncIterator[Ask]:
    """`httpx.AsyncClient()` as it comes; only the timeout is lifted, or it fails at 256."""
    import httpx

    async with httpx.AsyncClient(timeout=600) as client:

        async def ask() -> object:
            response = await client.post(
                f"{base_url}/chat/completions", content=BODY, headers=HEADERS
            )
            return response.content

        yield ask


@asynccontextmanager
async def stock_aiohttp(base_url: str) -> AsyncIterator[Ask]:
    """An aiohttp session as it comes, with room for all connections."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1_000)) as session:

        async def ask() -> object:
            url = f"{base_url}/chat/completions"
            async with session.post(url, data=BODY, headers=HEADERS) as response:
                return await response.read()

        yield ask


@asynccontextmanager
async def openai_sdk(base_url: str) -> AsyncIterator[Ask]:
    """The OpenAI SDK's async client."""
    import openai

    async with openai.AsyncOpenAI(base_url=base_url, api_key="key", max_retries=0) as client:

        async def ask() -> object:
            answer = await client.chat.completions.create(
                model="bench-model",
                messages=[{"role": "user", "content": PROMPT}],
                logprobs=True,
                top_logprobs=5,
            )
            return answer.choices[0].message.content

        yield ask


@asynccontextmanager
async def litellm_router(base_url: str) -> AsyncIterator[Ask]:
    """LiteLLM's Router with one deployment."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would ask the network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm

    litellm.suppress_debug_info = True
    router = litellm.Router(
        model_list=[
            {
                "model_name": "bench",
                "litellm_params": {
                    "model": "openai/bench-model",
                    "api_base": base_url,
                    "api_key": "key",
                },
            }
        ]
    )

    async def ask() -> object:
        answer = await router.acompletion(
            model="bench",
            messages=[{"role": "user", "content": PROMPT}],
            logprobs=True,
            top_logprobs=5,
        )
        return answer.choices[0].message.content

    yield ask


@asynccontextmanager
async def engine(
    upstream: Upstream,
    *,
    tokens: int = 20,
    rungs: int = 1,
    log: bool = False,
    delay_ms: int = 0,
    connections: int = 1_000,
    safety: str | None = None,
) -> AsyncIterator[Ask]:
    """Our engine, from YAML, with the log-probability scorer and every gate."""
    provider, rest = SAFETY["as it is by default" if safety is None else safety]
    one = ONE_RUNG if safety is None else SPARE_RUNG
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "ladder.yaml")
        config.write_text(
            LADDER.format(
                first=upstream.base_url(tokens, unsure=True, delay_ms=delay_ms),
                second=upstream.base_url(tokens, delay_ms=delay_ms),
                rungs=one if rungs == 1 else TWO_RUNGS,
                log=f"log: {{path: {folder}/logs}}" if log else "",
                connections=connections,
                provider=provider,
                rest=rest,
            )
        )
        async with Cascade.from_yaml(config) as ladder:

            async def ask() -> object:
                result = await ladder.ask(PROMPT, tenant="bench")
                assert len(result.attempts) == rungs
                assert result.confidence is not None
                return result.text

            yield ask


# Measurements.


async def throughput(ask: Ask, *, calls: int, in_flight: int) -> float:
    """Return calls a second with `in_flight` tasks, each calling again and again."""
    left = calls

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask()

    await asyncio.gather(*(ask() for _ in range(in_flight)))  # connections are open from here on
    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return calls / (time.perf_counter() - began)


async def paired_latency(bare: Ask, ask: Ask, *, pairs: int) -> tuple[list[float], list[float]]:
    """Return microseconds of bare calls and of asks, made alternately."""
    samples: tuple[list[float], list[float]] = ([], [])
    for i in range(-10, pairs):
        for call, kept in zip((bare, ask), samples, strict=True):
            began = time.perf_counter()
            await call()
            if i >= 0:
                kept.append((time.perf_counter() - began) * 1e6)
    return samples


def resident_mb() -> float:
    """Return the process's resident memory in MB.

    By a plain system call: paths and files made in the midst of a crowd leave small objects behind
    that keep whole arenas of the allocator, and the measurement would grow what it measures.
    """
    pages = int(os.pread(_STATM, 64, 0).split()[1])
    return pages * _PAGE / 1e6


_STATM = os.open("/proc/self/statm", os.O_RDONLY) if Path("/proc/self/statm").exists() else -1
_PAGE = resource.getpagesize()


async def check_answers(upstream: Upstream) -> dict[str, str]:
    """Make one call with every contender and compare the answer; return those not installed."""
    missing: dict[str, str] = {}
    url = upstream.base_url(20)
    expected = answer_body(20)
    text = json.loads(expected)["choices"][0]["message"]["content"]
    contenders = {
        "httpx": (stock_httpx, expected),
        "ours": (bare_transport, expected),
        "aiohttp": (stock_aiohttp, expected),
        "openai": (openai_sdk, text),
        "litellm": (litellm_router, text),
    }
    for name, (contender, answer) in contenders.items():
        try:
            async with contender(url) as ask:
                assert await ask() == answer, name
        except ModuleNotFoundError as exc:
            missing[name] = f"not installed ({exc.name})"
    for rungs in (1, 2):
        async with engine(upstream, rungs=rungs) as ask:
            assert await ask() == text
    return missing


async def measure_throughput(
    upstream: Upstream, scale: Scale, missing: dict[str, str]
) -> dict[str, dict[int, list[float]]]:
    """Return calls a second of each contender at each concurrency, one number a round."""
    url = upstream.base_url(20)
    contenders: dict[str, tuple[Callable[[], Any], float]] = {
        "httpx, stock": (lambda: stock_httpx(url), 0.2),
        "our transport": (lambda: bare_transport(url), 1.0),
        "ask, one rung": (lambda: engine(upstream), 1.0),
        "ask, one rung, logged": (lambda: engine(upstream, log=True), 1.0),
        "ask, two rungs": (lambda: engine(upstream, rungs=2), 0.5),
    }
    if "aiohttp" not in missing:
        contenders["aiohttp, stock"] = (lambda: stock_aiohttp(url), 1.0)
    if "openai" not in missing:
        contenders["OpenAI SDK"] = (lambda: openai_sdk(url), 0.2)
    if "litellm" not in missing:
        contenders["LiteLLM Router"] = (lambda: litellm_router(url), 0.1)
    found: dict[str, dict[int, list[float]]] = {
        name: {n: [] for n in IN_FLIGHT} for name in contenders
    }
    async with AsyncExitStack() as stack:
        asks = {
            name: (await stack.enter_async_context(contender()), share)
            for name, (contender, share) in contenders.items()
        }
        gc.freeze()  # what LiteLLM has imported must not cost the others
        for _ in range(scale.rounds):
            for in_flight in IN_FLIGHT:
                for name, (ask, share) in asks.items():
                    calls = max(in_flight, int(scale.calls * share * (1 if in_flight > 1 else 0.2)))
                    rate = await throughput(ask, calls=calls, in_flight=in_flight)
                    found[name][in_flight].append(rate)
    return found


async def measure_latency(upstream: Upstream, scale: Scale) -> dict[str, dict[str, list[float]]]:
    """Return microseconds of bare calls and asks, by size and by whether a log is written."""
    found: dict[str, dict[str, list[float]]] = {}
    for tokens, size in TOKENS.items():
        for log in (False, True):
            async with (
                bare_transport(upstream.base_url(tokens)) as bare,
                engine(upstream, tokens=tokens, log=log) as ask,
            ):
                samples = await paired_latency(bare, ask, pairs=scale.pairs)
            name = f"{size}, logged" if log else size
            found[name] = {"bare": samples[0], "ask": samples[1]}
    return found


async def measure_safety(upstream: Upstream, scale: Scale) -> dict[str, dict[str, list[float]]]:
    """Return, for each setting of safety, asks without and with it in turns: µs, and calls/s at 64.

    Beside the calls a second stands the processor time of each, which other programs on the machine
    change little.
    """
    found: dict[str, dict[str, list[float]]] = {}
    async with engine(upstream, safety="none") as without:
        for name in list(SAFETY)[1:]:
            async with engine(upstream, safety=name) as ask:
                samples = await paired_latency(without, ask, pairs=scale.pairs)
                rates: tuple[list[float], list[float]] = ([], [])
                busy: tuple[list[float], list[float]] = ([], [])
                for _ in range(scale.rounds):
                    for i, one in enumerate((without, ask)):
                        began = time.process_time()
                        rates[i].append(await throughput(one, calls=scale.calls, in_flight=64))
                        spent_us = (time.process_time() - began) * 1e6
                        busy[i].append(spent_us / (scale.calls + 64))
            found[name] = {
                "without_us": samples[0],
                "with_us": samples[1],
                "without_per_s": rates[0],
                "with_per_s": rates[1],
                "without_cpu_us": busy[0],
                "with_cpu_us": busy[1],
            }
    return found


async def measure_memory(upstream: Upstream, scale: Scale, connections: int) -> dict[str, float]:
    """Return MB resident before, at the peak of, and after `scale.crowd` asks in flight."""
    async with engine(upstream, delay_ms=scale.delay_ms, connections=connections) as ask:
        await asyncio.gather(*(ask() for _ in range(scale.crowd // 10)))
        await asyncio.sleep(scale.idle_s)
        gc.collect()
        before = peak = resident_mb()
        asks = [asyncio.create_task(_forget(ask)) for _ in range(scale.crowd)]
        while (done := sum(map(asyncio.Task.done, asks))) < scale.crowd:
            peak = max(peak, resident_mb())
            await asyncio.sleep(0.05)
        for task in asks:
            task.result()
        del asks, task
        await asyncio.sleep(scale.idle_s)
        gc.collect()
        after = resident_mb()
    return {"before_mb": before, "peak_mb": peak, "after_mb": after, "answered": float(done)}


async def _forget(ask: Ask) -> None:
    await ask()


# Report.


def latency_table(found: dict[str, dict[str, list[float]]]) -> Table:
    """Return bare calls beside asks: median, p90, p99, and what the engine adds."""
    table = Table("one at a time", "bare µs", "ask µs p50", "p90", "p99", "engine adds µs")
    for name, samples in found.items():
        bare, ask = statistics.median(samples["bare"]), statistics.median(samples["ask"])
        cuts = statistics.quantiles(samples["ask"], n=100)
        numbers = (bare, ask, cuts[89], cuts[98], ask - bare)
        table.add_row(name, *(f"{number:,.0f}" for number in numbers))
    return table


def safety_table(found: dict[str, dict[str, list[float]]]) -> Table:
    """Return what each setting of safety adds to an ask, and the throughput it leaves at 64."""
    table = Table(
        "retries, breaker, limits, budgets, deadline",
        "without µs",
        "with µs",
        "adds µs",
        "at 64, %",
        "CPU µs at 64",
        "adds",
    )
    for name, samples in found.items():
        without, with_it = map(statistics.median, (samples["without_us"], samples["with_us"]))
        pairs = zip(samples["without_per_s"], samples["with_per_s"], strict=True)
        left = statistics.median(rate / base for base, rate in pairs)
        cpu = list(zip(samples["without_cpu_us"], samples["with_cpu_us"], strict=True))
        adds = statistics.median(more - less for less, more in cpu)
        numbers = (without, with_it, with_it - without, 100 * left, min(cpu)[0], adds)
        table.add_row(name, *(f"{number:,.0f}" for number in numbers))
    return table


def throughput_table(found: dict[str, dict[int, list[float]]], missing: dict[str, str]) -> Table:
    """Return calls a second, and how many times stock httpx, the median over rounds of both."""
    heads = [f"{n} in flight: calls/s (× httpx)" for n in IN_FLIGHT]
    table = Table("", *heads)
    stock = found["httpx, stock"]
    for name, rates in found.items():
        cells = []
        for n in IN_FLIGHT:
            times = [rate / base for rate, base in zip(rates[n], stock[n], strict=True)]
            cells.append(f"{statistics.median(rates[n]):,.0f} ({statistics.median(times):.1f})")
        table.add_row(name, *cells)
    for name, why in missing.items():
        table.add_row(name, *[why] * len(IN_FLIGHT))
    return table


def memory_table(found: dict[int, dict[str, float]], crowd: int) -> Table:
    """Return memory before, during and after the crowd."""
    table = Table(
        f"{crowd:,} asks in flight", "before MB", "peak MB", "growth MB", "after / before"
    )
    for connections, m in found.items():
        growth, after = m["peak_mb"] - m["before_mb"], m["after_mb"] / m["before_mb"]
        table.add_row(
            f"{connections:,} connections",
            *(f"{number:,.0f}" for number in (m["before_mb"], m["peak_mb"], growth)),
            f"{after:.2f}",
        )
    return table


def environment() -> dict[str, Any]:
    """Return commit, versions and machine."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    versions = {}
    for name in ("httptools", "httpx", "anyio", "msgspec", "aiohttp", "openai", "litellm"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "commit": git.stdout.strip(),
        "versions": {"python": platform.python_version(), **versions},
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def pin() -> int | None:
    """Pin this process to one core and return another for the upstream; None if there is no choice."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    return cores[-1] if len(cores) > 1 else None


def run_memory_alone(args: argparse.Namespace, connections: int) -> dict[str, float]:
    """Measure memory in a fresh process, where nothing else has grown the heap."""
    command = [sys.executable, __file__, "--memory-child", str(connections)]
    command += ["--smoke"] if args.smoke else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Check answers, measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="run everything in seconds")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "overhead.json")
    parser.add_argument("--memory-child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    scale = SMOKE if args.smoke else FULL
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    core = pin()
    with running_upstream(core) as upstream:
        if args.memory_child is not None:
            memory_of_one = asyncio.run(measure_memory(upstream, scale, args.memory_child))
            print(json.dumps(memory_of_one))
            return
        console = Console(width=100)
        missing = asyncio.run(check_answers(upstream))
        latency = asyncio.run(measure_latency(upstream, scale))
        console.print(latency_table(latency))
        safety = asyncio.run(measure_safety(upstream, scale))
        console.print(safety_table(safety))
        rates = asyncio.run(measure_throughput(upstream, scale, missing))
        console.print(throughput_table(rates, missing))
    memory = {n: run_memory_alone(args, n) for n in (1_000, scale.crowd) if n <= hard - 100}
    console.print(memory_table(memory, scale.crowd))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    parameters = {field: getattr(scale, field) for field in scale.__slots__}
    report = {
        **environment(),
        "parameters": {**parameters, "open_files": hard, "pinned": core is not None},
        "latency_us": latency,
        "safety": safety,
        "calls_per_s": rates,
        "not_installed": missing,
        "memory": memory,
    }
    args.out.write_text(json.dumps(report))
    console.print(f"raw samples: {args.out}")


if __name__ == "__main__":
    main()
