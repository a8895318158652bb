"""What `cascade serve` is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ServeSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """What to serve, to whom, and within which bounds.

    Attributes:
        files: Ladder files; the first is the default.
        host: Name or address to listen at.
        port: Port to listen at; 0: any that is free.
        keys: File of keys; None: no keys are needed, which is for this machine alone.
        rungs: Whether single rungs may be asked by their model's name.
        check_providers: Whether `/readyz` connects to the providers.
        workers: Processes that serve, >= 1.
        grace_s: Seconds that asks in flight have at the end; None: as each ladder file says.
        max_body_mb: Most megabytes of a body.
        body_timeout_s: Seconds a client may take to send a body.
        head_timeout_s: Seconds a client may take to send a head.
        log_level: From which level on things are said.
        log_requests: Whether each request gets a line in the log.
    """

    files: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    rungs: bool = False
    check_providers: bool = False
    workers: int = 1
    grace_s: float | None = None
    max_body_mb: float = 32.0
    body_timeout_s: float = 60.0
    head_timeout_s: float = 10.0
    log_level: str = "info"
    log_requests: bool = True
