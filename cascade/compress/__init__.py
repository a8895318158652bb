"""Prompt compression: stages that make a prompt shorter and never touch what must not change."""

from __future__ import annotations

from .boilerplate import Boilerplate
from .dedupe import Dedupe
from .draft import Draft, Slot
from .evidence import Evidence, read_evidence
from .extract import Extract
from .fewshot import Examples
from .gate import EvidenceGate
from .history import History
from .learned import Learned, read_learned, write_learned
from .minify import Minify
from .pipeline import Pipeline, Stage
from .plugins import COMPRESSOR_GROUP, Plugin, load_plugin
from .savings import CachedPrefix

__all__ = [
    "COMPRESSOR_GROUP",
    "Boilerplate",
    "CachedPrefix",
    "Dedupe",
    "Draft",
    "Evidence",
    "EvidenceGate",
    "Examples",
    "Extract",
    "History",
    "Learned",
    "Minify",
    "Pipeline",
    "Plugin",
    "Slot",
    "Stage",
    "load_plugin",
    "read_evidence",
    "read_learned",
    "write_learned",
]
