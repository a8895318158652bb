"""The `cascade` command: its sub-commands, and what an error becomes.

Exit codes: 0 done; 1 the run failed; 2 wrong usage (arguments, or a configuration that must change).
Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.markup import escape

from cascade.errors import AllRungsFailed, CascadeError, ConfigError

from . import (
    ask,
    cache,
    check,
    compress,
    demo,
    keys,
    log,
    probe,
    replay,
    report,
    serve,
    train,
    train_pairs,
    tune,
)
from .embed_option import EmbedCommand

__all__ = ["app", "main"]

app = typer.Typer(
    name="cascade",
    help="Answers every LLM request with the cheapest model that gets it right.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("ask")(ask.ask_command)
app.command("check")(check.check_command)
app.command("demo")(demo.demo_command)
app.command("compress")(compress.compress_command)
app.command("train")(train.train_command)
app.command("train-pairs", cls=EmbedCommand)(train_pairs.train_pairs_command)
app.command("tune")(tune.tune_command)
app.command("probe")(probe.probe_command)
app.command("replay")(replay.replay_command)
app.command("report")(report.report_command)
app.command("serve")(serve.serve_command)
app.add_typer(log.app, name="log")
app.add_typer(cache.app, name="cache")
app.add_typer(keys.app, name="keys")


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from cascade import __version__

        print(__version__)
        raise typer.Exit


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # an answer is never lost to an ASCII terminal
    try:
        app(args=None if argv is None else list(argv), prog_name="cascade")
    except CascadeError as exc:
        console = Console(stderr=True, soft_wrap=not sys.stderr.isatty(), highlight=False)
        for line in _told(exc):
            console.print(f"[bold red]error:[/] {escape(line)}")
        sys.exit(2 if isinstance(exc, ConfigError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _told(error: CascadeError) -> list[str]:
    """A group is told as its causes, anything else as its own lines."""
    if isinstance(error, AllRungsFailed):
        return [str(cause) for cause in error.exceptions]
    return str(error).splitlines()
