"""Ladders in YAML: one file is one ladder. `cascade.config.reference` makes its documentation."""

from __future__ import annotations

from .editors import json_schema
from .load import load_ladder_file, parse_ladder
from .schema import (
    AnthropicProvider,
    CustomPolicy,
    CustomScorer,
    LadderConfig,
    LogConfig,
    LogprobScorer,
    NoScorer,
    OpenAIProvider,
    PriceConfig,
    PythonGate,
    RecordedProvider,
    RegexGate,
    RungConfig,
    ThresholdPolicy,
)

__all__ = [
    "AnthropicProvider",
    "CustomPolicy",
    "CustomScorer",
    "LadderConfig",
    "LogConfig",
    "LogprobScorer",
    "NoScorer",
    "OpenAIProvider",
    "PriceConfig",
    "PythonGate",
    "RecordedProvider",
    "RegexGate",
    "RungConfig",
    "ThresholdPolicy",
    "json_schema",
    "load_ladder_file",
    "parse_ladder",
]
