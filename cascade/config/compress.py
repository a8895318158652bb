"""What a ladder file may say of prompt compression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from .table import Table
from .values import Count, Name, PriceUsd, Says
from .yaml_source import KeyPath

__all__ = [
    "BoilerplateStage",
    "CompressConfig",
    "Compressing",
    "DedupeStage",
    "ExamplesStage",
    "ExtractStage",
    "HistoryStage",
    "MinifyStage",
    "PluginStage",
    "RungCompressing",
    "StageConfig",
    "with_absolute_paths",
]


class _Lossy(Table):
    """What every stage has that may remove something that is missed."""

    even_without_evidence: bool = Field(
        default=False,
        description="Run it although `cascade tune --compress` has not shown that it does no harm.",
    )


class MinifyStage(Table):
    """Takes padding out: spaces, blank lines, that of JSON and of pipe tables."""

    json_padding: bool = Field(default=True, description="Also that of JSON outside of code.")
    table_padding: bool = Field(default=True, description="Also that of pipe tables.")


class DedupeStage(_Lossy):
    """Removes passages that are in the prompt before. Near-duplicates make it lossy."""

    near: bool = Field(
        default=False,
        description="Also passages that are nearly the same, with the same numbers, names and negations.",
    )
    min_chars: Annotated[int, Field(ge=20)] = Field(
        default=80, description="Characters that a passage has at least."
    )


class BoilerplateStage(Table):
    """Keeps once what most prompts of a tenant have in common."""

    path: Annotated[str, Field(min_length=1)] = Field(
        description="What `cascade compress --learn` wrote; from the folder of this file."
    )


class ExtractStage(_Lossy):
    """Keeps of a long context what has to do with the question."""

    budget: Count = Field(description="Tokens that the whole prompt may have.")
    when_over: Literal["pass", "refuse", "closest"] = Field(
        default="pass",
        description="When what must be kept is more than that: `pass` the prompt as it is, `refuse` it, "
        "or keep the `closest` of what shares a name or number with the question.",
    )


class ExamplesStage(_Lossy):
    """Keeps of solved examples those that help most."""

    keep: Count = Field(default=4, description="Examples to keep.")
    by: Literal["nearest", "learned"] = Field(
        default="nearest",
        description="`nearest`: the most like the question; `learned`: the same ones for every prompt, "
        "so that a provider's prompt cache holds.",
    )
    path: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="What `cascade compress --learn` wrote, for `learned`; from the folder of this file.",
    )
    whole: bool = Field(
        default=False,
        description="Whether an example may go as a whole that holds code, quotations or addresses.",
    )


class HistoryStage(_Lossy):
    """Leaves out the oldest turns of a conversation."""

    turns: Count = Field(default=6, description="Turns at the end that are kept whole.")
    budget: Count | None = Field(
        default=None, description="Only while the prompt has more tokens. Absent: always."
    )


class PluginStage(_Lossy):
    """A stage that an installed package offers under the entry point `cascade.compressors`."""

    name: Name = Field(description="Name of the entry point.")
    options: dict[str, Any] = Field(default_factory=dict, description="Passed on to it.")


class MinifyEntry(Table):
    """`{minify: …}`"""

    minify: MinifyStage = Field(description="See there.")


class DedupeEntry(Table):
    """`{dedupe: …}`"""

    dedupe: DedupeStage = Field(description="See there.")


class BoilerplateEntry(Table):
    """`{boilerplate: …}`"""

    boilerplate: BoilerplateStage = Field(description="See there.")


class ExtractEntry(Table):
    """`{extract: …}`"""

    extract: ExtractStage = Field(description="See there.")


class ExamplesEntry(Table):
    """`{examples: …}`"""

    examples: ExamplesStage = Field(description="See there.")


class HistoryEntry(Table):
    """`{history: …}`"""

    history: HistoryStage = Field(description="See there.")


class PluginEntry(Table):
    """`{plugin: …}`"""

    plugin: PluginStage = Field(description="See there.")


_KEYS = ("minify", "dedupe", "boilerplate", "extract", "examples", "history", "plugin")


def _tag_of_stage(value: Any) -> str | None:
    if isinstance(value, str):
        return "name"
    for key in _KEYS:
        if hasattr(value, key) or (isinstance(value, dict) and key in value):
            return key
    return None


StageName = Literal["minify", "dedupe", "examples", "history"]

StageConfig = Annotated[
    Annotated[StageName, Tag("name")]
    | Annotated[MinifyEntry, Tag("minify")]
    | Annotated[DedupeEntry, Tag("dedupe")]
    | Annotated[BoilerplateEntry, Tag("boilerplate")]
    | Annotated[ExtractEntry, Tag("extract")]
    | Annotated[ExamplesEntry, Tag("examples")]
    | Annotated[HistoryEntry, Tag("history")]
    | Annotated[PluginEntry, Tag("plugin")],
    Discriminator(_tag_of_stage),
    Says(
        "minify, dedupe, examples, history, or a mapping from the name of a stage (boilerplate, extract "
        "and plugin too) to its settings"
    ),
]

Stages = Annotated[tuple[StageConfig, ...], Field(strict=False), Says("a list of stages")]


class CompressConfig(Table):
    """Prompt compression in front of a rung. See docs/compression.md."""

    stages: Stages = Field(description="What is done, in order.")
    evidence: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="What `cascade tune --compress` wrote; from the folder of this file. A lossy stage "
        "runs only where it says so, or with `even_without_evidence`.",
    )
    escalate: Literal["plain", "compressed"] = Field(
        default="plain",
        description="What a rung is sent after another one was asked: the whole prompt, or a shorter one.",
    )
    min_saving_usd: PriceUsd = Field(
        default=0.00001,
        description="Least US dollars of input that it must save in a call, by the price of the rung; with "
        "0, and only then, prompts for rungs without a price are compressed too.",
    )
    prompt_cache: bool = Field(
        default=True,
        description="Weigh a beginning that the provider has in its prompt cache, at its price for cached "
        "input, against a shorter prompt, and do what is cheaper.",
    )


def _tag_of_setting(value: Any) -> str:
    return "stages" if isinstance(value, list | tuple) else "mapping"


def _tag_of_rung_setting(value: Any) -> str:
    return "off" if value is False else _tag_of_setting(value)


_SAYS = "a list of stages, or a mapping with `stages`"

Compressing = Annotated[
    Annotated[Stages, Tag("stages")] | Annotated[CompressConfig, Tag("mapping")],
    Discriminator(_tag_of_setting),
    Says(_SAYS),
]
"""What a ladder may say."""

RungCompressing = Annotated[
    Annotated[Literal[False], Tag("off")]
    | Annotated[Stages, Tag("stages")]
    | Annotated[CompressConfig, Tag("mapping")],
    Discriminator(_tag_of_rung_setting),
    Says(f"false, {_SAYS}"),
]
"""What a rung may say: it wins over what the ladder says."""


def with_absolute_paths(
    setting: Any, place: KeyPath, absolute: Callable[[str, KeyPath], str]
) -> Any:
    """Return what a ladder or rung says, its paths made absolute by `absolute(path, where it stands)`."""
    if isinstance(setting, CompressConfig):
        update: dict[str, Any] = {
            "stages": with_absolute_paths(setting.stages, (*place, "stages"), absolute)
        }
        if setting.evidence is not None:
            update["evidence"] = absolute(setting.evidence, (*place, "evidence"))
        return setting.model_copy(update=update)
    return tuple(_absolute_stage(stage, (*place, i), absolute) for i, stage in enumerate(setting))


def _absolute_stage(stage: Any, place: KeyPath, absolute: Callable[[str, KeyPath], str]) -> Any:
    if isinstance(stage, str):
        return stage
    name = next(iter(type(stage).model_fields))
    table = getattr(stage, name)
    path = getattr(table, "path", None)
    if path is None:
        return stage
    changed = table.model_copy(update={"path": absolute(path, (*place, name, "path"))})
    return stage.model_copy(update={name: changed})
