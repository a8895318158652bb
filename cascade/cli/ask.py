"""`cascade ask`: one question through a ladder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
import typer

from cascade.engine import Cascade
from cascade.errors import AllRungsFailed, RunError
from cascade.explain import explain
from cascade.types import Attempt, CacheUse, Result

__all__ = ["ask_command"]


def ask_command(
    prompt: Annotated[
        str, typer.Argument(help="The question; - reads standard input, less a final newline.")
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            "-c", "--config", help="Ladder file. Default: $CASCADE_CONFIG, or ./cascade.yaml."
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message put before it.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Most tokens of output a rung may use.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.")] = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Accept nothing less sure than this, 0 to 1.")
    ] = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(help="Start no call known to pass this total.")
    ] = None,
    deadline_s: Annotated[
        float | None, typer.Option(help="Seconds the whole ask may take.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose ask it is.")] = None,
    cache: Annotated[
        CacheUse, typer.Option(help="use: look and keep; read: look only; refresh: keep only.")
    ] = "use",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only the answer.")] = False,
) -> None:
    """Ask one question; the answer goes to stdout, the path it took to stderr.

    Example: cascade ask "What is the capital of France?" -c configs/recorded.yaml
    """
    from cascade.build import default_config_path

    text = _read_stdin() if prompt == "-" else prompt
    messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})

    async def run() -> Result:
        async with Cascade.from_yaml(config or default_config_path()) as ladder:
            return await ladder.ask(
                messages if system is not None else text,
                max_tokens=max_tokens,
                temperature=temperature,
                min_confidence=min_confidence,
                max_cost_usd=max_cost_usd,
                deadline_s=deadline_s,
                tenant=tenant,
                cache=cache,
            )

    try:
        result = anyio.run(run)
    except RunError as exc:
        if not json:
            raise
        causes = exc.exceptions if isinstance(exc, AllRungsFailed) else ()
        failed = {
            "type": type(exc).__name__,
            "message": str(exc),
            "causes": [{"type": type(c).__name__, "message": str(c)} for c in causes],
        }
        print(msgspec.json.format(msgspec.json.encode({"error": failed}), indent=2).decode())
        raise typer.Exit(1) from exc
    if json:
        print(msgspec.json.format(msgspec.json.encode(result_json(result)), indent=2).decode())
        return
    print(result.text or msgspec.json.encode(list(result.tool_calls)).decode())
    if not quiet:
        print(explain(result), file=sys.stderr)


def _read_stdin() -> str:
    """Return standard input without the one line end that `echo` and editors put behind a text."""
    return sys.stdin.read().removesuffix("\n")


def result_json(result: Result) -> dict[str, object]:
    """Return a result as the object that `--json` prints."""
    return {
        "id": result.id,
        "text": result.text,
        "tool_calls": list(result.tool_calls),
        "model": result.model,
        "rung": result.rung,
        "confidence": result.confidence,
        "cost_usd": result.cost_usd,
        "saving_usd_estimate": result.saving_usd_estimate,
        "latency_s": result.latency_s,
        "degraded": result.degraded,
        "cache": None if result.cache is None else msgspec.to_builtins(result.cache),
        "cache_miss": result.cache_miss,
        "attempts": [_attempt_json(attempt) for attempt in result.attempts],
    }


def _attempt_json(attempt: Attempt) -> dict[str, object]:
    return {
        "rung": attempt.rung,
        "model": attempt.model,
        "provider": attempt.provider,
        "verdict": attempt.verdict,
        "reason": attempt.reason,
        "threshold": attempt.threshold,
        "confidence": attempt.confidence,
        "failed_gates": list(attempt.failed_gates),
        "error": None if attempt.error is None else type(attempt.error).__name__,
        "text": None if attempt.answer is None else attempt.answer.text,
        "cost_usd": attempt.cost_usd,
        "latency_s": attempt.latency_s,
    }
