"""What a ladder file may say of who serves the models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from .table import Table, tag_by_kind
from .values import ApiKey, Count, Headers, Says, Seconds, WebAddress

__all__ = ["AnthropicProvider", "OpenAIProvider", "ProviderConfig", "RecordedProvider"]


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
    max_connections: Count = Field(
        default=1000, description="Connections open at once; further calls wait for one."
    )


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


class RecordedProvider(Table):
    """A traffic log served as models, so that a ladder runs without a network."""

    kind: Literal["recorded"] = Field(description="A traffic log.")
    path: Annotated[str, Field(min_length=1)] = Field(
        description="The log, `.jsonl` or `.jsonl.gz`; from the folder of this file."
    )


ProviderConfig = Annotated[
    Annotated[OpenAIProvider, Tag("openai")]
    | Annotated[AnthropicProvider, Tag("anthropic")]
    | Annotated[RecordedProvider, Tag("recorded")],
    Discriminator(tag_by_kind("openai", "anthropic", "recorded")),
]
