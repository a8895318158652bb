"""The stages by name, and those that the command line runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import ConfigError
from ..tokens import TokenCounter
from .boilerplate import Boilerplate
from .dedupe import Dedupe
from .extract import Extract, WhenOver
from .fewshot import KEEP, Examples
from .history import History
from .learned import Learned
from .minify import Minify
from .pipeline import Pipeline, Stage

__all__ = ["STAGES", "command_line_pipeline"]

STAGES: Mapping[str, Callable[[], Stage]] = {
    "minify": Minify,
    "dedupe": Dedupe,
    "history": History,
    "examples": Examples,
    "extract": Extract,
}
"""Name of a stage → the stage as it is by default."""


def command_line_pipeline(
    names: Sequence[str] | None,
    budget: int | None,
    counter: TokenCounter | None = None,
    *,
    learned: Learned | None = None,
    keep: int = KEEP,
    when_over: WhenOver = "pass",
) -> Pipeline:
    """Return the pipeline of `cascade compress`.

    Args:
        names: The stages to run, in order; None: all that fit, the lossy ones only with a budget.
        budget: Most tokens that may be left, or None.
        counter: Counts tokens.
        learned: What was learned from a log, or None.
        keep: Examples to keep.
        when_over: What to do when what must be kept is over the budget.

    Raises:
        ConfigError: There is no stage of such a name, or one that needs a budget has none.
    """
    made: dict[str, Stage] = {name: make() for name, make in STAGES.items()}
    made["examples"] = Examples(
        keep=keep, learned=learned if learned and learned.examples else None
    )
    made["extract"] = Extract(when_over=when_over, place="--budget")
    if learned is not None:
        made["boilerplate"] = Boilerplate(learned)
    unknown = [name for name in names or () if name not in made]
    if unknown:
        raise ConfigError(f"--stage: {unknown[0]!r:.40} given; allowed: {', '.join(made)}")
    if "extract" in (names or ()) and budget is None:
        raise ConfigError(
            "--stage extract: it needs to know how many tokens may be left: --budget N"
        )
    stages = [made[name] for name in names or made]
    if names is None and budget is None:
        stages = [stage for stage in stages if not stage.lossy]
    return Pipeline(stages, counter)
