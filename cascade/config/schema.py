"""The one table of what a ladder file may hold: keys, types, limits, defaults and help texts.

Errors, the JSON Schema for editors and docs/configuration.md are all made from these models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from ..ladder import Ladder, Rung
from ..pricing import Price
from .values import (
    ApiKey,
    Count,
    Free,
    Headers,
    ImportName,
    Name,
    Pattern,
    PriceUsd,
    Probability,
    Says,
    Seconds,
    WebAddress,
)

__all__ = [
    "AnthropicProvider",
    "CustomPolicy",
    "CustomScorer",
    "GateConfig",
    "LadderConfig",
    "LogConfig",
    "LogprobScorer",
    "NoScorer",
    "OpenAIProvider",
    "PolicyConfig",
    "PriceConfig",
    "ProviderConfig",
    "PythonGate",
    "RecordedProvider",
    "RegexGate",
    "RungConfig",
    "ScorerConfig",
    "ThresholdPolicy",
]


class _Table(BaseModel):
    """Base of every mapping in the file: typed strictly, unknown keys refused, never changed."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # Names only: any value may have come from the environment, and reprs end up in logs.
        return iter((None, name) for name in sorted(self.model_fields_set))

    def __repr_str__(self, join_str: str) -> str:
        return join_str.join(str(name) for _, name in self.__repr_args__())

    def __str__(self) -> str:
        return repr(self)


class _HttpProvider(_Table):
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


class RecordedProvider(_Table):
    """A traffic log served as models, so that a ladder runs without a network."""

    kind: Literal["recorded"] = Field(description="A traffic log.")
    path: Annotated[str, Field(min_length=1)] = Field(
        description="The log, `.jsonl` or `.jsonl.gz`; from the folder of this file."
    )


class PriceConfig(_Table):
    """US dollars per million tokens."""

    input: PriceUsd = Field(description="Input tokens.")
    output: PriceUsd = Field(description="Output tokens, hidden reasoning included.")
    cached_input: PriceUsd | None = Field(
        default=None, description="Input tokens read from a prompt cache. Absent: as `input`."
    )
    cache_write: PriceUsd | None = Field(
        default=None, description="Input tokens written to a prompt cache. Absent: as `input`."
    )


class RungConfig(_Table):
    """One model of the ladder."""

    model: Name = Field(description="The provider's name of the model.")
    provider: Name = Field(description="One of the names under `providers`.")
    accept: Probability | None = Field(
        default=None,
        description="Confidence from which its answer is accepted. Absent: never by confidence.",
    )
    unknown: Literal["accept", "escalate"] = Field(
        default="escalate",
        description="What to do with an answer whose confidence cannot be measured.",
    )
    max_tokens: Count | None = Field(
        default=None,
        description="Output limit sent when the request sets none. Absent: no limit is sent; "
        "required with `anthropic`, whose API demands one.",
    )
    price: PriceConfig | None = Field(
        default=None,
        description="US dollars per million tokens. Absent: from the catalogue of list prices by "
        "model and address; where that knows none, costs are unknown.",
    )
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = Field(
        default=5, description="Alternatives asked for with each token."
    )
    request: Free = Field(
        default_factory=dict,
        description="Further fields of the request, sent as they are; what an ask sets wins.",
    )


class LogprobScorer(_Table):
    """Confidence from the answer's own token log-probabilities, without training."""

    kind: Literal["logprob"] = Field(default="logprob", description="Token log-probabilities.")
    measure: Literal["mean", "min", "quantile_10", "answer", "margin"] = Field(
        default="mean", description="Which measure over the tokens is the confidence."
    )


class NoScorer(_Table):
    """No confidence at all: gates and `unknown` decide."""

    kind: Literal["none"] = Field(description="No scorer.")


class CustomScorer(_Table):
    """A class of your own with the methods of `cascade.ports.Scorer`."""

    kind: ImportName = Field(description="The class, as `package.module:Class`.")
    options: Free = Field(default_factory=dict, description="Keyword arguments for it.")


class ThresholdPolicy(_Table):
    """Rungs in their order, each accepted from its threshold upwards."""

    kind: Literal["thresholds"] = Field(default="thresholds", description="Fixed order.")
    accept: dict[str, Probability] = Field(
        default_factory=dict,
        description="Threshold by model name; wins over the rung's `accept`.",
    )
    provenance: Free = Field(
        default_factory=dict, description="Where the thresholds come from. Not interpreted."
    )


class CustomPolicy(_Table):
    """A class of your own with the methods of `cascade.policy.Policy`."""

    kind: ImportName = Field(description="The class, as `package.module:Class`.")
    options: Free = Field(default_factory=dict, description="Keyword arguments for it.")
    provenance: Free = Field(
        default_factory=dict, description="Where the policy comes from. Not interpreted."
    )


class RegexGate(_Table):
    """The answer's text must hold a match."""

    regex: Pattern = Field(description="Searched for in the answer's text; no match escalates.")
    name: Name | None = Field(
        default=None, description="What attempts call the gate. Absent: `regex`."
    )


class PythonGate(_Table):
    """A function of your own decides."""

    python: ImportName = Field(
        description="Called as `function(request, answer)`: True or None passes, False or a text "
        "(the reason) escalates."
    )
    name: Name | None = Field(
        default=None, description="What attempts call the gate. Absent: the function's name."
    )


class LogConfig(_Table):
    """The decision log."""

    path: Annotated[str, Field(min_length=1)] = Field(
        description="Folder, made if absent; from the folder of this file."
    )
    text: bool = Field(
        default=False, description="Whether prompts and answers are written into it."
    )
    flush_s: Seconds = Field(
        default=0.5, description="Seconds after which what was collected is written."
    )
    flush_records: Count = Field(
        default=256, description="Records after which what was collected is written."
    )
    max_pending: Count = Field(default=10_000, description="Records that may wait to be written.")
    max_wait_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.1, description="Seconds an answer waits at most when that many are waiting."
    )
    segment_mb: Seconds = Field(default=64.0, description="Megabytes after which a file is closed.")
    segment_age_s: Seconds = Field(
        default=86_400.0, description="Seconds after which a file is closed."
    )


def _tag_by_kind(*kinds: str, default: str | None = None) -> Callable[[Any], str | None]:
    def tag(value: Any) -> str | None:
        if not isinstance(value, (dict, BaseModel)):
            return None
        kind = value.get("kind", default) if isinstance(value, dict) else value.kind  # type: ignore[attr-defined]
        if kind in kinds:
            return str(kind)
        return "custom" if default and isinstance(kind, str) and ":" in kind else None

    return tag


def _tag_of_gate(value: Any) -> str | None:
    if isinstance(value, str):
        return "name"
    for tag in ("regex", "python"):
        if hasattr(value, tag) or (isinstance(value, dict) and tag in value):
            return tag
    return None


ProviderConfig = Annotated[
    Annotated[OpenAIProvider, Tag("openai")]
    | Annotated[AnthropicProvider, Tag("anthropic")]
    | Annotated[RecordedProvider, Tag("recorded")],
    Discriminator(_tag_by_kind("openai", "anthropic", "recorded")),
]
ScorerConfig = Annotated[
    Annotated[LogprobScorer, Tag("logprob")]
    | Annotated[NoScorer, Tag("none")]
    | Annotated[CustomScorer, Tag("custom")],
    Discriminator(_tag_by_kind("logprob", "none", default="logprob")),
]
PolicyConfig = Annotated[
    Annotated[ThresholdPolicy, Tag("thresholds")] | Annotated[CustomPolicy, Tag("custom")],
    Discriminator(_tag_by_kind("thresholds", default="thresholds")),
    Says("a mapping with `kind`, or the path of a policy file"),
]
GateName = Literal["not_empty", "not_truncated", "not_refusal", "schema"]
GateConfig = Annotated[
    Annotated[GateName, Tag("name")]
    | Annotated[RegexGate, Tag("regex")]
    | Annotated[PythonGate, Tag("python")],
    Discriminator(_tag_of_gate),
    Says(
        "not_empty, not_truncated, not_refusal, schema, {regex: pattern} "
        "or {python: package.module:function}"
    ),
]


class LadderConfig(_Table):
    """One ladder file. Paths in it are absolute once it is loaded."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    name: Name = Field(default="ladder", description="What the decision log calls the ladder.")
    metadata: Free = Field(
        default_factory=dict, description="Whatever you want in every decision record."
    )
    providers: Annotated[dict[Name, ProviderConfig], Field(min_length=1)] = Field(
        description="Who serves the models, by a name of your own."
    )
    ladder: Annotated[tuple[RungConfig, ...], Field(min_length=1, strict=False)] = Field(
        description="The rungs, cheapest first; at least one."
    )
    scorer: ScorerConfig = Field(
        default=LogprobScorer(), description="How sure an answer is: where confidence comes from."
    )
    policy: PolicyConfig = Field(
        default=ThresholdPolicy(),
        description="What to do after each answer; a text is the path of a file that holds this "
        "mapping, from the folder of this file.",
    )
    gates: Annotated[tuple[GateConfig, ...], Field(strict=False)] = Field(
        default=("not_empty", "not_truncated", "not_refusal", "schema"),
        description="What an answer must pass before it is scored; a failed gate escalates.",
    )
    on_all_rejected: Literal["return", "raise"] = Field(
        default="return",
        description="When every answer failed a gate: return the last of them, marked as "
        "degraded, or raise.",
    )
    keep: Literal["surest", "last"] = Field(
        default="surest",
        description="Which of the answers tried is returned. `last` is for scorers whose "
        "confidences cannot be compared between models, as those of `logprob` sometimes cannot.",
    )
    log: LogConfig | None = Field(default=None, description="The decision log. Absent: none.")

    def to_ladder(self, prices: Callable[[str, str], Price | None]) -> Ladder:
        """Return the ladder as the engine runs it.

        Args:
            prices: Asked for the price of every rung that states none, with the model's name and
                where it is served: the provider's address, or ``recorded``.

        Raises:
            LadderError: The rungs do not make a ladder; a loaded file has been checked for that.
        """
        tuned = self.policy.accept if isinstance(self.policy, ThresholdPolicy) else {}
        rungs = []
        for rung in self.ladder:
            provider = self.providers[rung.provider]
            served_at = provider.kind if provider.kind == "recorded" else provider.base_url
            rungs.append(
                Rung(
                    model=rung.model,
                    provider=rung.provider,
                    accept=tuned.get(rung.model, rung.accept),
                    unknown=rung.unknown,
                    price=prices(rung.model, served_at)
                    if rung.price is None
                    else Price(**dict(rung.price)),
                    max_tokens=rung.max_tokens,
                    top_logprobs=rung.top_logprobs,
                    extra=rung.request,
                )
            )
        return Ladder(name=self.name, rungs=tuple(rungs), metadata=self.metadata)
