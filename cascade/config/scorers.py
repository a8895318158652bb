"""What a ladder file may say of where confidence comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from .prices import PriceConfig
from .table import Table, tag_by_kind
from .values import Count, Free, ImportName, JudgePrompt, Name

__all__ = [
    "CustomScorer",
    "JudgeScorer",
    "LogprobScorer",
    "NoScorer",
    "PTrueScorer",
    "PluginScorer",
    "ScorerConfig",
    "TrainedScorer",
]


class LogprobScorer(Table):
    """Confidence from the answer's own token log-probabilities, without training."""

    kind: Literal["logprob"] = Field(default="logprob", description="Token log-probabilities.")
    measure: Literal["mean", "min", "quantile_10", "answer", "margin"] = Field(
        default="mean", description="Which measure over the tokens is the confidence."
    )


class TrainedScorer(Table):
    """What `cascade train` wrote."""

    kind: Literal["trained"] = Field(description="A trained scorer.")
    path: Annotated[str, Field(min_length=1)] = Field(
        description="Directory of the scorer; from the folder of this file. It must have been "
        "trained on every model of the ladder."
    )


class JudgeScorer(Table):
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


class PTrueScorer(Table):
    """Each model is asked in a second call whether its own answer is right, and paid for it."""

    kind: Literal["p_true"] = Field(
        description="P(Yes) by the log-probability of the first word of the reply."
    )


class PluginScorer(Table):
    """A scorer that an installed package offers in the entry-point group `cascade.scorers`."""

    kind: Literal["plugin"] = Field(description="A scorer by its short name.")
    name: Name = Field(description="Name of the entry point.")
    options: Free = Field(default_factory=dict, description="Keyword arguments for it.")


class NoScorer(Table):
    """No confidence at all: gates and `unknown` decide."""

    kind: Literal["none"] = Field(description="No scorer.")


class CustomScorer(Table):
    """A class of your own with the methods of `cascade.ports.Scorer`."""

    kind: ImportName = Field(description="The class, as `package.module:Class`.")
    options: Free = Field(default_factory=dict, description="Keyword arguments for it.")


ScorerConfig = Annotated[
    Annotated[LogprobScorer, Tag("logprob")]
    | Annotated[TrainedScorer, Tag("trained")]
    | Annotated[JudgeScorer, Tag("judge")]
    | Annotated[PTrueScorer, Tag("p_true")]
    | Annotated[PluginScorer, Tag("plugin")]
    | Annotated[NoScorer, Tag("none")]
    | Annotated[CustomScorer, Tag("custom")],
    Discriminator(
        tag_by_kind("logprob", "trained", "judge", "p_true", "plugin", "none", default="logprob")
    ),
]
