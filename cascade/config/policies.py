"""What a ladder file may say of what to do after each answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

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
from .table import Table, tag_by_kind
from .values import Free, ImportName, Name, PriceUsd, Probability, Says, Seconds

__all__ = [
    "AgreementPolicy",
    "CascadeRoutingPolicy",
    "ChainPolicy",
    "ContinuationConfig",
    "CustomPolicy",
    "FixedPolicy",
    "InductionPolicy",
    "PolicyConfig",
    "RandomSharePolicy",
    "RoutingPolicy",
    "ThresholdPolicy",
    "WeightedPolicy",
]


_Models = Annotated[tuple[Name, ...], Field(min_length=1, strict=False), Says("a list of models")]


class _TunedPolicy(Table):
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


class ContinuationConfig(Table):
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


class CustomPolicy(Table):
    """A class of your own with the methods of `cascade.policy.Policy`."""

    kind: ImportName = Field(description="The class, as `package.module:Class`.")
    options: Free = Field(default_factory=dict, description="Keyword arguments for it.")
    provenance: Free = Field(
        default_factory=dict, description="Where the policy comes from. Not interpreted."
    )


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
        tag_by_kind(
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
