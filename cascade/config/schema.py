"""The one table of what a ladder file may hold: keys, types, limits, defaults and help texts.

Errors, the JSON Schema for editors and docs/configuration.md are all made from these models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from ..ladder import Ladder, Rung
from ..policies import (
    Agreement,
    CascadeRouting,
    Chain,
    Fixed,
    Induction,
    RandomShare,
    Routing,
    Weighted,
)
from ..policy import Policy, Thresholds
from ..pricing import Price
from .values import (
    ApiKey,
    Count,
    Free,
    Headers,
    ImportName,
    JudgePrompt,
    Name,
    Pattern,
    PriceUsd,
    Probability,
    Says,
    Seconds,
    WebAddress,
)

__all__ = [
    "AgreementPolicy",
    "AnthropicProvider",
    "CascadeRoutingPolicy",
    "ChainPolicy",
    "ContinuationConfig",
    "CustomPolicy",
    "CustomScorer",
    "FixedPolicy",
    "GateConfig",
    "InductionPolicy",
    "JudgeScorer",
    "LadderConfig",
    "LogConfig",
    "LogprobScorer",
    "NoScorer",
    "OpenAIProvider",
    "PTrueScorer",
    "PluginScorer",
    "PolicyConfig",
    "PriceConfig",
    "ProviderConfig",
    "PythonGate",
    "RandomSharePolicy",
    "RecordedProvider",
    "RegexGate",
    "RoutingPolicy",
    "RungConfig",
    "ScorerConfig",
    "ThresholdPolicy",
    "TrainedScorer",
    "WeightedPolicy",
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


class TrainedScorer(_Table):
    """What `cascade train` wrote."""

    kind: Literal["trained"] = Field(description="A trained scorer.")
    path: Annotated[str, Field(min_length=1)] = Field(
        description="Directory of the scorer; from the folder of this file. It must have been "
        "trained on every model of the ladder."
    )


class JudgeScorer(_Table):
    """Another model is asked whether the answer is right. Its calls are part of the cost."""

    kind: Literal["judge"] = Field(description="A model as judge.")
    model: Name = Field(description="The provider's name of the judge.")
    provider: Name = Field(description="One of the names under `providers`.")
    prompt: JudgePrompt | None = Field(
        default=None,
        description="What the judge is asked. Its reply is read as Yes or No, by the "
        "log-probability of that word where there is one, or as a number from 0 to 100. Absent: "
        "`Is the proposed answer right?`, Yes or No.",
    )
    price: PriceConfig | None = Field(
        default=None,
        description="US dollars per million tokens of the judge. Absent: from the catalogue.",
    )
    max_tokens: Count = Field(default=8, description="Output limit of a verdict.")


class PTrueScorer(_Table):
    """Each model is asked in a second call whether its own answer is right, and paid for it."""

    kind: Literal["p_true"] = Field(
        description="P(Yes) by the log-probability of the first word of the reply."
    )


class PluginScorer(_Table):
    """A scorer that an installed package offers in the entry-point group `cascade.scorers`."""

    kind: Literal["plugin"] = Field(description="A scorer by its short name.")
    name: Name = Field(description="Name of the entry point.")
    options: Free = Field(default_factory=dict, description="Keyword arguments for it.")


class NoScorer(_Table):
    """No confidence at all: gates and `unknown` decide."""

    kind: Literal["none"] = Field(description="No scorer.")


class CustomScorer(_Table):
    """A class of your own with the methods of `cascade.ports.Scorer`."""

    kind: ImportName = Field(description="The class, as `package.module:Class`.")
    options: Free = Field(default_factory=dict, description="Keyword arguments for it.")


_Models = Annotated[tuple[Name, ...], Field(min_length=1, strict=False), Says("a list of models")]


class _TunedPolicy(_Table):
    """What every built-in policy may say of where it comes from."""

    scorer: Name | None = Field(
        default=None,
        description="Version of the scorer it was tuned with; a ladder with another one is refused.",
    )
    provenance: Free = Field(
        default_factory=dict, description="Where the numbers come from. Not interpreted."
    )


class ThresholdPolicy(_TunedPolicy):
    """Rungs in their order, each accepted from its threshold upwards."""

    kind: Literal["thresholds"] = Field(default="thresholds", description="Fixed order.")
    accept: dict[str, Probability] = Field(
        default_factory=dict,
        description="Threshold by model name; wins over the rung's `accept`.",
    )

    def to_policy(self) -> Policy:
        """Return the policy; its thresholds are in the ladder already."""
        return Thresholds(accept=self.accept)


class ChainPolicy(_TunedPolicy):
    """Models in an order of its own; stops when the surest answer so far reaches a threshold."""

    kind: Literal["chain"] = Field(description="A chain of models with a threshold each.")
    models: _Models = Field(description="Models of the ladder, in the order to ask.")
    accept: Annotated[tuple[Probability, ...], Field(strict=False)] = Field(
        description="Threshold of each model but the last."
    )

    def to_policy(self) -> Policy:
        """Return the policy."""
        return Chain(models=self.models, accept=self.accept)


class _ValuedPolicy(_TunedPolicy):
    """What policies that weigh quality against money have in common."""

    models: _Models = Field(description="Models of the ladder, cheapest first.")
    cost_usd: Annotated[tuple[PriceUsd, ...], Field(min_length=1, strict=False)] = Field(
        description="Expected US dollars of one call of each."
    )
    tradeoff_usd: Seconds = Field(
        description="US dollars that one right answer more is worth: a call must raise the "
        "expected quality by more than its cost divided by this."
    )


class RoutingPolicy(_ValuedPolicy):
    """One model, chosen from the prompt alone by forecast quality less cost."""

    kind: Literal["routing"] = Field(description="Prompt-only routing.")

    def to_policy(self) -> Policy:
        """Return the policy."""
        return Routing(models=self.models, cost_usd=self.cost_usd, tradeoff_usd=self.tradeoff_usd)


class CascadeRoutingPolicy(_ValuedPolicy):
    """Any model next, or stop: by the best expected answer less what it still costs."""

    kind: Literal["cascade_routing"] = Field(description="Cascade routing, one call ahead.")

    def to_policy(self) -> Policy:
        """Return the policy."""
        return CascadeRouting(
            models=self.models, cost_usd=self.cost_usd, tradeoff_usd=self.tradeoff_usd
        )


class ContinuationConfig(_Table):
    """What asking one model is worth in one state."""

    seen: Annotated[tuple[Name, ...], Field(strict=False)] = Field(
        description="The models that have answered."
    )
    next: Name = Field(description="The model to ask.")
    weights: Annotated[
        tuple[Annotated[float, Field(allow_inf_nan=False)], ...],
        Field(min_length=7, max_length=7, strict=False),
        Says("7 numbers"),
    ] = Field(
        description="Weights of 1, the surest answer's P(right), the next model's, the greater of "
        "the two, their product, the greatest of the models left, and the square of the first."
    )


class InductionPolicy(_ValuedPolicy):
    """Any model next, or stop, by what the rest of the walk is worth; `cascade tune` writes it."""

    kind: Literal["induction"] = Field(description="Backward induction over states.")
    continuations: Annotated[tuple[ContinuationConfig, ...], Field(min_length=1, strict=False)] = (
        Field(description="One a state and next model; a pair left out is never walked.")
    )

    def to_policy(self) -> Policy:
        """Return the policy.

        Raises:
            ValueError: A continuation names a model that `models` lacks.
        """
        weights: dict[tuple[int, int], tuple[float, ...]] = {}
        where = {model: i for i, model in enumerate(self.models)}
        for i, entry in enumerate(self.continuations):
            missing = [model for model in (*entry.seen, entry.next) if model not in where]
            if missing:
                raise ValueError(f"continuations[{i}]: {missing[0]!r} is not one of `models`")
            mask = sum({1 << where[model] for model in entry.seen})
            weights[mask, where[entry.next]] = entry.weights
        return Induction(
            models=self.models,
            cost_usd=self.cost_usd,
            tradeoff_usd=self.tradeoff_usd,
            weights=weights,
        )


class AgreementPolicy(_TunedPolicy):
    """Asks two models; the same final answer stops, anything else asks the last. Needs no scorer."""

    kind: Literal["agreement"] = Field(description="Two models that say the same.")
    models: Annotated[
        tuple[Name, ...], Field(min_length=3, max_length=3, strict=False), Says("3 models")
    ] = Field(description="First, second and last model.")

    def to_policy(self) -> Policy:
        """Return the policy; what \"the same\" means is put in by whoever builds the engine."""
        first, second, last = self.models
        return Agreement(models=(first, second, last))


class FixedPolicy(_TunedPolicy):
    """One model for everything."""

    kind: Literal["fixed"] = Field(description="One model.")
    model: Name = Field(description="A model of the ladder.")

    def to_policy(self) -> Policy:
        """Return the policy."""
        return Fixed(model=self.model)


class WeightedPolicy(_TunedPolicy):
    """One model a request, drawn with fixed weights; the same request always goes the same way."""

    kind: Literal["weighted"] = Field(description="A random split.")
    models: _Models = Field(description="Models of the ladder.")
    weights: Annotated[tuple[Probability, ...], Field(strict=False)] = Field(
        description="Probability of each; they sum to 1."
    )
    seed: int = Field(default=0, description="Another seed is another split.")

    def to_policy(self) -> Policy:
        """Return the policy."""
        return Weighted(models=self.models, weights=self.weights, seed=self.seed)


class RandomSharePolicy(_TunedPolicy):
    """A dear model for a random share of requests, a cheap one for the rest."""

    kind: Literal["random_share"] = Field(description="A random share.")
    weak: Name = Field(description="The cheap model.")
    strong: Name = Field(description="The dear model.")
    share: Probability = Field(description="Probability of the dear one.")
    seed: int = Field(default=0, description="Another seed is another split.")

    def to_policy(self) -> Policy:
        """Return the policy."""
        return RandomShare(weak=self.weak, strong=self.strong, share=self.share, seed=self.seed)


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
    | Annotated[TrainedScorer, Tag("trained")]
    | Annotated[JudgeScorer, Tag("judge")]
    | Annotated[PTrueScorer, Tag("p_true")]
    | Annotated[PluginScorer, Tag("plugin")]
    | Annotated[NoScorer, Tag("none")]
    | Annotated[CustomScorer, Tag("custom")],
    Discriminator(
        _tag_by_kind("logprob", "trained", "judge", "p_true", "plugin", "none", default="logprob")
    ),
]
PolicyConfig = Annotated[
    Annotated[ThresholdPolicy, Tag("thresholds")]
    | Annotated[ChainPolicy, Tag("chain")]
    | Annotated[InductionPolicy, Tag("induction")]
    | Annotated[CascadeRoutingPolicy, Tag("cascade_routing")]
    | Annotated[RoutingPolicy, Tag("routing")]
    | Annotated[AgreementPolicy, Tag("agreement")]
    | Annotated[FixedPolicy, Tag("fixed")]
    | Annotated[WeightedPolicy, Tag("weighted")]
    | Annotated[RandomSharePolicy, Tag("random_share")]
    | Annotated[CustomPolicy, Tag("custom")],
    Discriminator(
        _tag_by_kind(
            "thresholds",
            "chain",
            "induction",
            "cascade_routing",
            "routing",
            "agreement",
            "fixed",
            "weighted",
            "random_share",
            default="thresholds",
        )
    ),
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
