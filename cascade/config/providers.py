"""What a ladder file may say of who serves the models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from .prices import PriceConfig
from .resilience import BreakerConfig, HedgeConfig, LimitsConfig, RetryConfig
from .table import Table, tag_by_kind
from .values import ApiKey, Count, Headers, Name, Says, Seconds, WebAddress

__all__ = [
    "AnthropicProvider",
    "OpenAIProvider",
    "PoolMember",
    "PoolProvider",
    "ProviderConfig",
    "RecordedProvider",
]


class _HttpProvider(Table):
    """What every provider reached over HTTP has."""

    api_key: ApiKey = Field(
        default=None,
        description="Key sent with every call; write `${NAME}` and keep it in the environment. "
        "Absent or empty: none is sent.",
    )
    headers: Headers = Field(
        default_factory=dict, description="Further HTTP headers. Kept out of messages and logs."
    )
    timeout_s: Seconds = Field(default=600.0, description="Seconds one whole call may take.")
    connect_timeout_s: Seconds = Field(
        default=10.0, description="Seconds to wait for a connection."
    )
    first_token_timeout_s: Seconds | None = Field(
        default=None,
        description="Seconds until the first byte of the answer. Absent: `timeout_s` alone.",
    )
    between_tokens_timeout_s: Seconds | None = Field(
        default=None,
        description="Seconds between two pieces of the answer. Absent: `timeout_s` alone.",
    )
    max_connections: Count = Field(
        default=1000, description="Connections open at once; further calls wait for one."
    )
    retry: RetryConfig | None = Field(
        default=RetryConfig(), description="Repetition of failed calls; `null`: none."
    )
    breaker: BreakerConfig | None = Field(
        default=BreakerConfig(), description="Leaving it alone while it fails; `null`: never."
    )
    limits: LimitsConfig = Field(default=LimitsConfig(), description="Calls at once and a minute.")


class OpenAIProvider(_HttpProvider):
    """Any server that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp, Ollama, Groq, …"""

    kind: Literal["openai"] = Field(description="The OpenAI-compatible API.")
    base_url: WebAddress = Field(
        default="https://api.openai.com/v1",
        description="Address that `/chat/completions` is appended to.",
    )
    logprobs: bool = Field(
        default=True,
        description="Ask for token log-probabilities. A server that refuses them is then asked "
        "without; set `false` where it is known that there are none.",
    )


class AnthropicProvider(_HttpProvider):
    """Anthropic's Messages API. It gives no log-probabilities, and its rungs need `max_tokens`."""

    kind: Literal["anthropic"] = Field(description="Anthropic's Messages API.")
    base_url: WebAddress = Field(
        default="https://api.anthropic.com",
        description="Address that `/v1/messages` is appended to.",
    )
    version: Annotated[
        str, Field(pattern=r"^[0-9A-Za-z.-]+$"), Says("a date such as 2023-06-01")
    ] = Field(default="2023-06-01", description="The `anthropic-version` header.")


class PoolMember(Table):
    """One deployment of a pool."""

    provider: Name = Field(description="One of the names under `providers`; no pool.")
    weight: Seconds = Field(default=1.0, description="Its share of the calls beside the others'.")
    model: Name | None = Field(
        default=None, description="What the model is called there. Absent: as the rung calls it."
    )
    price: PriceConfig | None = Field(
        default=None, description="US dollars per million tokens there. Absent: the rung's."
    )


def _tag_of_member(value: Any) -> str:
    return "name" if isinstance(value, str) else "table"


MemberConfig = Annotated[
    Annotated[Name, Tag("name")] | Annotated[PoolMember, Tag("table")],
    Discriminator(_tag_of_member),
    Says("the name of a provider, or {provider: name, …}"),
]


class PoolProvider(Table):
    """Several providers of the same models as one: keys, regions, resellers."""

    kind: Literal["pool"] = Field(description="A pool of other providers.")
    of: Annotated[tuple[MemberConfig, ...], Field(min_length=1, strict=False)] = Field(
        description="Its members: names of providers, or mappings that say more."
    )
    strategy: Literal["weighted", "round_robin", "least_busy", "fastest", "cheapest"] = Field(
        default="weighted",
        description="How calls are spread. `fastest`: the quicker of two drawn at random, by recent "
        "latency and load.",
    )
    sticky: Literal["none", "tenant", "session"] = Field(
        default="none",
        description="Keep a tenant or a session on one member as long as it takes calls, so that "
        "prompt caches stay warm.",
    )
    hedge: HedgeConfig | None = Field(
        default=None, description="Ask a second member beside a slow one. Absent: never."
    )
    retry: RetryConfig | None = Field(
        default=RetryConfig(),
        description="Repetition of failed calls, on another member first; `null`: none. The members' "
        "own `retry` does not count here.",
    )


class RecordedProvider(Table):
    """A traffic log served as models, so that a ladder runs without a network."""

    kind: Literal["recorded"] = Field(description="A traffic log.")
    path: Annotated[str, Field(min_length=1)] = Field(
        description="The log, `.jsonl` or `.jsonl.gz`; from the folder of this file."
    )


ProviderConfig = Annotated[
    Annotated[OpenAIProvider, Tag("openai")]
    | Annotated[AnthropicProvider, Tag("anthropic")]
    | Annotated[RecordedProvider, Tag("recorded")]
    | Annotated[PoolProvider, Tag("pool")],
    Discriminator(tag_by_kind("openai", "anthropic", "recorded", "pool")),
]
