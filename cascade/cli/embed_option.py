"""`--embed`, alone or with the name of an embedder, and what it loads."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

if TYPE_CHECKING:
    from scorers.embedders import Embedder, EmbedderKind

__all__ = ["EmbedCommand", "EmbedOption", "embedder_for"]

_BEST = "best"
_NAMED: tuple[EmbedderKind, ...] = ("static", "minilm")


class EmbedCommand(TyperCommand):
    """Reads `--embed` without a name as `--embed best`, so that what follows is not taken for the name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name where there is none."""
        given: list[str] = []
        for arg, after in pairwise([*args, ""]):
            given.append(arg)
            if arg == "--embed" and after not in _NAMED:
                given.append(_BEST)
        return super().parse_args(ctx, given)


def _check(value: str | None) -> str | None:
    if value is not None and value not in (_BEST, *_NAMED):
        raise typer.BadParameter(f"{value!r} is none of {', '.join(_NAMED)}")
    return value


EmbedOption = Annotated[
    str | None,
    typer.Option(
        "--embed",
        metavar="[static|minilm]",
        callback=_check,
        help="Compare meanings too: by vectors of words (extra `embed`) or by all-MiniLM-L6-v2 (extra "
        "`minilm`). Without a name: by the best that is installed.",
    ),
]


def embedder_for(name: str | None, console: Console) -> Embedder | None:
    """Load what `--embed` asks for; None where it was not given.

    Raises:
        ScorerError: It is not installed.
    """
    from scorers.embedders import best_embedder, kind_of, open_embedder

    for kind in _NAMED:
        if kind == name:
            return open_embedder(kind)
    if name is None:
        return None
    found = best_embedder()
    console.print(f"embedder: {kind_of(found.name)}")
    return found
