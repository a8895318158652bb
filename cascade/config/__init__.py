"""Ladders in YAML: one file is one ladder. `cascade.config.reference` makes its documentation."""

from __future__ import annotations

from .caches import DiskCache, MemoryCache, NearConfig, RedisCache
from .compress import CompressConfig
from .editors import json_schema
from .gates import PythonGate, RegexGate
from .load import load_ladder_file, load_policy_file, parse_ladder, policy_from_mapping
from .policies import (
    AgreementPolicy,
    CascadeRoutingPolicy,
    ChainPolicy,
    ContinuationConfig,
    CustomPolicy,
    FixedPolicy,
    InductionPolicy,
    PolicyConfig,
    RandomSharePolicy,
    RoutingPolicy,
    ThresholdPolicy,
    WeightedPolicy,
)
from .prices import PriceConfig
from .providers import (
    AnthropicProvider,
    OpenAIProvider,
    PoolMember,
    PoolProvider,
    RecordedProvider,
)
from .resilience import BreakerConfig, HedgeConfig, LimitsConfig, RetryConfig
from .schema import AskManyConfig, LadderConfig, LogConfig, RungConfig
from .scorers import (
    CustomScorer,
    JudgeScorer,
    LogprobScorer,
    NoScorer,
    PluginScorer,
    PTrueScorer,
    TrainedScorer,
)
from .streams import RungStreamConfig, StreamConfig
from .telemetry import OtelConfig, PrometheusConfig, TelemetryConfig
from .tenants import BudgetConfig, MemoryLedger, RedisLedger, SqliteLedger, TenantConfig

__all__ = [
    "AgreementPolicy",
    "AnthropicProvider",
    "AskManyConfig",
    "BreakerConfig",
    "BudgetConfig",
    "CascadeRoutingPolicy",
    "ChainPolicy",
    "CompressConfig",
    "ContinuationConfig",
    "CustomPolicy",
    "CustomScorer",
    "DiskCache",
    "FixedPolicy",
    "HedgeConfig",
    "InductionPolicy",
    "JudgeScorer",
    "LadderConfig",
    "LimitsConfig",
    "LogConfig",
    "LogprobScorer",
    "MemoryCache",
    "MemoryLedger",
    "NearConfig",
    "NoScorer",
    "OpenAIProvider",
    "OtelConfig",
    "PTrueScorer",
    "PluginScorer",
    "PolicyConfig",
    "PoolMember",
    "PoolProvider",
    "PriceConfig",
    "PrometheusConfig",
    "PythonGate",
    "RandomSharePolicy",
    "RecordedProvider",
    "RedisCache",
    "RedisLedger",
    "RegexGate",
    "RetryConfig",
    "RoutingPolicy",
    "RungConfig",
    "RungStreamConfig",
    "SqliteLedger",
    "StreamConfig",
    "TelemetryConfig",
    "TenantConfig",
    "ThresholdPolicy",
    "TrainedScorer",
    "WeightedPolicy",
    "json_schema",
    "load_ladder_file",
    "load_policy_file",
    "parse_ladder",
    "policy_from_mapping",
]
