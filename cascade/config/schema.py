"""What a ladder file may hold: keys, types, limits, defaults and help texts, in one table.

Errors, the JSON Schema for editors and docs/configuration.md are all made from these models; the
keys of each part have a module of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from ..ladder import Ladder, Rung
from ..many import MOST_PER_CALL
from ..pricing import Price
from .caches import CacheConfig
from .compress import Compressing, RungCompressing
from .gates import GateConfig
from .policies import PolicyConfig, ThresholdPolicy
from .prices import PriceConfig
from .providers import PoolProvider, ProviderConfig, RecordedProvider
from .resilience import HedgeConfig
from .scorers import LogprobScorer, ScorerConfig
from .shared import SharedConfig
from .streams import RungStreamConfig, StreamConfig
from .table import Table
from .telemetry import TelemetryConfig
from .tenants import Budgets, LedgerConfig, SqliteLedger, TenantConfig, WhenSpent
from .values import Count, Free, Name, Probability, Seconds

__all__ = ["AskManyConfig", "LadderConfig", "LogConfig", "RungConfig"]


class RungConfig(Table):
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
    context_window: Count | None = Field(
        default=None,
        description="Tokens that prompt and answer may have together. After a prompt too long for "
        "another rung, rungs with a window no larger are passed over. Absent: unknown.",
    )
    expected_s: Seconds | None = Field(
        default=None,
        description="Seconds a call takes as long as fewer than five have been seen. With a deadline, "
        "rungs that would take longer than what is left are passed over. Absent: unknown.",
    )
    compress: RungCompressing | None = Field(
        default=None,
        description="How prompts are made shorter for it. `false`: not at all. Absent: as the ladder says.",
    )
    stream: RungStreamConfig | None = Field(
        default=None, description="How streams handle its drafts. Absent: as `stream` of the file."
    )
    request: Free = Field(
        default_factory=dict,
        description="Further fields of the request, sent as they are; what an ask sets wins.",
    )


class AskManyConfig(Table):
    """Several questions in one call, for `ask_many`; a plain ask is not touched by it."""

    per_call: Annotated[int, Field(ge=1, le=MOST_PER_CALL)] = Field(
        default=1,
        description="Most questions in one call where the caller does not say. 1: each is asked "
        "alone.",
    )


class LogConfig(Table):
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


class LadderConfig(Table):
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
    cache: CacheConfig | None = Field(
        default=None, description="Answers kept for the next time. Absent: none."
    )
    compress: Compressing | None = Field(
        default=None,
        description="How prompts are made shorter before a rung is asked: a list of stages, or a mapping "
        "that says more. Absent: not at all. See docs/compression.md.",
    )
    deadline_s: Seconds | None = Field(
        default=600.0,
        description="Seconds an ask may take that names no `deadline_s`; then it ends with the best "
        "answer it has. `null`: no end is set.",
    )
    grace_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=10.0, description="Seconds that closing lets asks in flight finish."
    )
    hedge: HedgeConfig | None = Field(
        default=None,
        description="Ask the next rung beside a slow one. Absent: never. (A pool asks another member "
        "of its own.)",
    )
    stream: StreamConfig | None = Field(
        default=None,
        description="How streams handle drafts. Absent: they are held until they are accepted, and the "
        "last rung streams straight through.",
    )
    ask_many: AskManyConfig = Field(
        default=AskManyConfig(), description="What `ask_many` puts together."
    )
    tenants: dict[Name, TenantConfig] = Field(
        default_factory=dict,
        description='Limits and budgets by tenant; `"*"` is each tenant not named. Without it, asks '
        "of tenants not named here are refused. Absent: every tenant may do everything.",
    )
    budgets: Budgets = Field(default=(), description="What the whole ladder may spend.")
    when_spent: WhenSpent = Field(
        default="cached", description="What then happens, as under `tenants`."
    )
    ledger: LedgerConfig = Field(
        default=SqliteLedger(), description="Where it is kept what was spent of `budgets`."
    )
    shared: SharedConfig | None = Field(
        default=None,
        description="What the processes and machines that serve this ladder keep together: limits, and "
        "which breakers are open. Absent: each keeps its own.",
    )
    log: LogConfig | None = Field(default=None, description="The decision log. Absent: none.")
    telemetry: TelemetryConfig | None = Field(
        default=None, description="Metrics and traces. Absent: none."
    )

    def served_at(self, provider: str) -> str:
        """Return where a provider serves its models: its address, or ``recorded``.

        Of a pool it is where its first member does.
        """
        found = self.providers[provider]
        if isinstance(found, PoolProvider):
            first = found.of[0]
            return self.served_at(first if isinstance(first, str) else first.provider)
        return found.kind if isinstance(found, RecordedProvider) else found.base_url

    def spoken_by(self, provider: str) -> str:
        """Return whose API a provider speaks: its kind; of a pool that of its first member."""
        found = self.providers[provider]
        if isinstance(found, PoolProvider):
            first = found.of[0]
            return self.spoken_by(first if isinstance(first, str) else first.provider)
        return found.kind

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
            served_at = self.served_at(rung.provider)
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
                    context_window=rung.context_window,
                    expected_s=rung.expected_s,
                )
            )
        return Ladder(name=self.name, rungs=tuple(rungs), metadata=self.metadata)
