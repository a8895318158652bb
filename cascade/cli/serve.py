"""`cascade serve`: ladders behind OpenAI's and Anthropic's APIs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cascade.errors import ConfigError

__all__ = ["serve_command"]


class _Level(StrEnum):
    """Levels of the log."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


def serve_command(
    config: Annotated[
        list[Path] | None,
        typer.Option(
            "-c",
            "--config",
            help="Ladder file; give several for several ladders, the first is cascade/default. "
            "Default: $CASCADE_CONFIG, or ./cascade.yaml.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Where to listen. 127.0.0.1 is this machine alone; anything else lets others spend "
            "your money, and needs --keys."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(help="File of keys (`cascade keys new`). Absent: none are needed."),
    ] = None,
    check_providers: Annotated[
        bool,
        typer.Option(
            "--check-providers", help="Have /readyz connect to the providers, every ten seconds."
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            max=256,
            help="Processes that serve at the address. Above 1, budgets and limits must be kept in "
            "Redis: each process would count for itself.",
        ),
    ] = 1,
    rungs: Annotated[
        bool, typer.Option("--rungs", help="Let single rungs be asked by their model's name.")
    ] = False,
    grace_s: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds asks have to finish at the end. Default: the ladder's."),
    ] = None,
    max_body_mb: Annotated[float, typer.Option(min=0.001, help="Largest body taken.")] = 32.0,
    body_timeout_s: Annotated[
        float, typer.Option(min=0.1, help="Seconds a client may take to send a body.")
    ] = 60.0,
    head_timeout_s: Annotated[
        float, typer.Option(min=0.1, help="Seconds a client may take to send a head.")
    ] = 10.0,
    log_level: Annotated[_Level, typer.Option(help="From which level on things are said.")] = (
        _Level.info
    ),
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Do not log each request.")] = False,
) -> None:
    """Serve ladders over HTTP, in OpenAI's and in Anthropic's words.

    SIGHUP or a changed file loads ladders and keys anew; SIGTERM lets asks in flight finish.

    Example: cascade serve -c ladder.yaml --port 8000
    """
    from cascade.build import default_config_path

    try:
        from cascade.server.run import ServeSettings, serve
    except ModuleNotFoundError as exc:
        if exc.name not in ("starlette", "uvicorn"):
            raise
        raise ConfigError(
            f"{exc.name} is not installed; `pip install 'cascade-ask[server]'` brings it"
        ) from exc
    serve(
        ServeSettings(
            files=tuple(config or [default_config_path()]),
            host=host,
            port=port,
            keys=keys,
            rungs=rungs,
            check_providers=check_providers,
            workers=workers,
            grace_s=grace_s,
            max_body_mb=max_body_mb,
            body_timeout_s=body_timeout_s,
            head_timeout_s=head_timeout_s,
            log_level=log_level.value,
            log_requests=not quiet,
        )
    )
