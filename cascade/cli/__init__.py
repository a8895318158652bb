"""The command line: one module a command, one place that turns errors into exit codes."""

from __future__ import annotations

from .app import main

__all__ = ["main"]
