"""`cascade demo`: the whole story on real local models, no key needed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console

__all__ = ["demo_command"]


def demo_command(
    cache: Annotated[
        Path | None,
        typer.Option(help="Where the models are kept. Default: the user's cache folder."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the servers running at the end, until Ctrl-C.")
    ] = False,
) -> None:
    """Install small open models, ask them checkable questions, and show what the ladder saved.

    Example: cascade demo
    """
    from cascade.build import cache_folder
    from cascade.demo import run_demo

    code = anyio.run(partial(run_demo, Console(), cache or cache_folder(), keep=keep))
    raise typer.Exit(code)
