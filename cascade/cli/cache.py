"""`cascade cache`: what a response cache holds, and what its near-duplicates are worth."""

from __future__ import annotations

import typer

from .cache_eval import EvalCommand, eval_command
from .cache_store import ls_command, rm_command, show_command, stats_command, warm_command

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Look into a response cache, change it, fill it.\n\nExample: cascade cache ls -c ladder.yaml",
)
app.command("ls")(ls_command)
app.command("show")(show_command)
app.command("rm")(rm_command)
app.command("stats")(stats_command)
app.command("warm")(warm_command)
app.command("eval", cls=EvalCommand)(eval_command)
