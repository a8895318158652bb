"""What a ladder file may say of the cache in front of the rungs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from .table import Table, tag_by_kind
from .values import Hidden, ImportName, Name, Probability, Seconds

__all__ = ["CacheConfig", "DiskCache", "MemoryCache", "NearConfig", "RedisCache"]

_Megabytes = Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False)]


class NearConfig(Table):
    """When the answer to another prompt is taken for this one. See docs/cache.md before switching it on."""

    scorer: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="What `cascade train-pairs` wrote; from the folder of this file. Absent: the one "
        "that comes with cascade.",
    )
    threshold: Probability | None = Field(
        default=None,
        description="P(same answer) from which it is a hit. Absent: what the scorer was tuned for.",
    )
    audit: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=0.02,
        description="Share of near hits that are asked of the ladder all the same and compared, so "
        "that the rate of false hits is known; the threshold rises when it is too high.",
    )
    false_hits: Probability = Field(
        default=0.01, description="Share of near hits that may be false before the threshold rises."
    )
    embedder: Literal["none", "static", "minilm"] | None = Field(
        default=None,
        description="Compare meanings too: `static` by vectors of words (the extra `embed`), `minilm` by "
        "all-MiniLM-L6-v2 (the extra `minilm` and its weights), which finds more and takes some 4 ms a "
        "prompt. Absent: what the scorer was fitted with; `none` for the one that comes with cascade.",
    )
    tools: bool = Field(default=False, description="Also among requests with tools.")
    allow: Annotated[tuple[Literal["time_dependent", "refers_back"], ...], Field(strict=False)] = (
        Field(
            default=(),
            description="Also questions whose answer changes with time (today, latest), or that refer to "
            "something said before.",
        )
    )


def _read_switch(value: Any) -> Any:
    """`false` is no near-duplicates, `true` those as they are by default."""
    if value is False:
        return None
    return {} if value is True else value


_Near = Annotated[NearConfig | None, BeforeValidator(_read_switch)]


class _Cache(Table):
    """What every cache has."""

    ttl_s: Seconds | None = Field(
        default=86_400.0, description="Seconds an answer is kept. `null`: for good."
    )
    near: _Near = Field(
        default=None,
        description="`false`: only the same request is a hit. `true`, or a mapping that says more: "
        "near-duplicates that are verified to have the same answer, too.",
    )
    min_confidence: Probability | None = Field(
        default=None,
        description="Least confidence of an answer that is kept. Absent: whatever was accepted.",
    )
    max_temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0,
        description="Answers to requests that set a higher temperature are not kept.",
    )
    tool_calls: bool = Field(default=False, description="Keep answers that call tools.")
    private: ImportName | None = Field(
        default=None,
        description="Called as `function(request)`; where it says True, the answer is not kept.",
    )


class MemoryCache(_Cache):
    """A cache in this process."""

    kind: Literal["memory"] = Field(default="memory", description="In memory.")
    max_mb: _Megabytes = Field(
        default=256.0, description="Megabytes; the least recently used goes first."
    )


class DiskCache(_Cache):
    """A cache in a folder, which processes of one machine may share and which survives them."""

    kind: Literal["disk"] = Field(description="In a folder.")
    path: Annotated[str, Field(min_length=1)] = Field(
        default="cache", description="The folder, made if absent; from the folder of this file."
    )
    max_mb: _Megabytes = Field(default=1024.0, description="Megabytes on disk.")
    memory_mb: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=64.0, description="Megabytes kept in memory in front of it; 0: none."
    )


class RedisCache(_Cache):
    """A cache that machines share. While Redis is gone, everything is a miss."""

    kind: Literal["redis"] = Field(description="A Redis server.")
    url: Annotated[Name, Hidden()] = Field(
        description="Such as redis://127.0.0.1:6379/0; write `${NAME}` if it holds a password."
    )
    prefix: Name = Field(default="cascade:cache:", description="What its keys begin with.")
    memory_mb: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=64.0, description="Megabytes kept in memory in front of it; 0: none."
    )


CacheConfig = Annotated[
    Annotated[MemoryCache, Tag("memory")]
    | Annotated[DiskCache, Tag("disk")]
    | Annotated[RedisCache, Tag("redis")],
    Discriminator(tag_by_kind("memory", "disk", "redis", default="memory")),
]
