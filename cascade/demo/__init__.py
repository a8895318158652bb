"""The demo: a real ladder of small models on this machine answers questions that can be checked."""

from __future__ import annotations

from .run import run_demo

__all__ = ["run_demo"]
