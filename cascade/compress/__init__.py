"""Prompt compression: stages that make a prompt shorter and never touch what must not change."""

from __future__ import annotations

from .draft import Draft, Slot
from .extract import Extract
from .minify import Minify
from .pipeline import Pipeline, Stage

__all__ = ["Draft", "Extract", "Minify", "Pipeline", "Slot", "Stage"]
