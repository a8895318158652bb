"""Ladders in YAML: one file is one ladder. `cascade.config.reference` makes its documentation."""

from __future__ import annotations

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
from .providers import AnthropicProvider, OpenAIProvider, RecordedProvider
from .schema import LadderConfig, LogConfig, RungConfig
from .scorers import (
    CustomScorer,
    JudgeScorer,
    LogprobScorer,
    NoScorer,
    PluginScorer,
    PTrueScorer,
    TrainedScorer,
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
    "PythonGate",
    "RandomSharePolicy",
    "RecordedProvider",
    "RegexGate",
    "RoutingPolicy",
    "RungConfig",
    "ThresholdPolicy",
    "TrainedScorer",
    "WeightedPolicy",
    "json_schema",
    "load_ladder_file",
    "load_policy_file",
    "parse_ladder",
    "policy_from_mapping",
]
