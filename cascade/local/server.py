"""Run llama.cpp's OpenAI-compatible server for one model in a child process on loopback.

The server lives exactly as long as the `async with` block: it is stopped on leaving, on an
exception and on cancellation, and it ends by itself if this process is killed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import anyio
import anyio.abc

from ..errors import ConfigError, RunError
from . import _llama_child
from .catalogue import RUNTIME

__all__ = ["LocalRuntimeMissing", "LocalServer", "LocalServerFailed", "serve"]

_STOP_S = 3.0
_POLL_S = 0.05
_TAIL_BYTES = 1500
_PYTHON = (sys.executable, "-P")
"""-P keeps the package's folder off the child's path, where `types.py` would hide Python's own."""


class LocalRuntimeMissing(ConfigError):
    """The package that runs local models is not installed or does not load on this machine."""


class LocalServerFailed(RunError):
    """A local model's server did not come up; the message ends with what it wrote last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """A running server.

    Attributes:
        name: The model's name in requests.
        base_url: What an OpenAI-compatible client takes as its base, such as
            ``http://127.0.0.1:45369/v1``.
        pid: Process id of the server.
        start_s: Seconds from starting the process to its first answer.
    """

    name: str
    base_url: str
    pid: int
    start_s: float


@asynccontextmanager
async def serve(
    path: Path,
    *,
    name: str,
    context_tokens: int = 2048,
    parallel: int = 1,
    threads: int | None = None,
    log: Path | None = None,
    start_timeout_s: float = 120.0,
    python: Sequence[str] = _PYTHON,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[LocalServer]:
    """Start a server for the GGUF file at `path` and yield it once it answers.

    Args:
        path: The model's file.
        name: The model's name in requests and in `/v1/models`.
        context_tokens: Prompt and answer of one request, in tokens.
        parallel: Requests worked on at once; others wait their turn.
        threads: Threads that compute; None for one a usable core.
        log: File for what the server writes, appended to; None keeps it for errors only.
        start_timeout_s: Seconds allowed until the first answer.
        python: The interpreter that runs the child, with its options.
        env: Environment of the child; None for this process's own.

    Raises:
        LocalRuntimeMissing: If xllamacpp cannot be imported.
        LocalServerFailed: If the file is not there, the server ends, or it takes too long.
    """
    if not await anyio.Path(path).is_file():
        raise LocalServerFailed(f"{name}: there is no file {path}")
    settings = {
        "path": str(path),
        "name": name,
        "context": context_tokens,
        "parallel": parallel,
        "threads": threads or _usable_cores(),
    }
    command = [*python, str(Path(_llama_child.__file__)), json.dumps(settings)]
    started = anyio.current_time()
    with _log_file(log) as written:
        begin = written.seek(0, os.SEEK_END)
        process = await anyio.open_process(
            command,
            stderr=written,
            env=env,
            # A Ctrl-C reaches the whole group; this process stops the server in its own order.
            start_new_session=True,
        )
        try:
            try:
                with anyio.fail_after(start_timeout_s):
                    address = await _address(process)
                    ready = address is not None and await _answers(process, address)
            except TimeoutError:
                said = _tail(written, begin)
                raise LocalServerFailed(
                    f"{name}: no answer within {start_timeout_s:g} s{said}"
                ) from None
            if not ready:
                raise await _why_ended(process, name, _tail(written, begin))
            yield LocalServer(
                name=name,
                base_url=f"{address}/v1",
                pid=process.pid,
                start_s=anyio.current_time() - started,
            )
        finally:
            await _stop(process)


async def _address(process: anyio.abc.Process) -> str | None:
    """Return the address that the child reports, or None if it ends without one."""
    assert process.stdout is not None
    line = b""
    try:
        while not line.endswith(b"\n"):
            line += await process.stdout.receive()
    except anyio.EndOfStream:
        return None
    return str(json.loads(line)["address"])


async def _answers(process: anyio.abc.Process, address: str) -> bool:
    """Return True when the server says that the model is loaded, False when it has ended."""
    url = urlsplit(address)
    request = f"GET /health HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n"
    while process.returncode is None:
        try:
            async with await anyio.connect_tcp(str(url.hostname), url.port or 80) as stream:
                await stream.send(request.encode())
                if (await stream.receive()).split(b" ", 2)[1] == b"200":
                    return True
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError, IndexError):
            pass  # not listening yet, or going down: then the deadline or the child's end tells
        await anyio.sleep(_POLL_S)
    return False


async def _why_ended(
    process: anyio.abc.Process, name: str, said: str
) -> LocalServerFailed | LocalRuntimeMissing:
    code = await process.wait()
    if code == _llama_child.MISSING_RUNTIME:
        wanted = f"{RUNTIME.name}=={RUNTIME.version}"
        return LocalRuntimeMissing(
            f"{RUNTIME.name} is not installed or does not load. Run `pip install {wanted}` "
            f"(or install cascade-ask[local]) and try again{said}"
        )
    return LocalServerFailed(f"{name}: the server ended with {code} while starting{said}")


async def _stop(process: anyio.abc.Process) -> None:
    """End the child whatever state it is in, and wait until it is gone."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None and process.stdin is not None:
            await process.stdin.aclose()
            with anyio.move_on_after(_STOP_S):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        await process.aclose()


def _log_file(log: Path | None) -> IO[bytes]:
    if log is None:
        return tempfile.TemporaryFile(prefix="cascade-server-")
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("ab+")


def _tail(written: IO[Any], begin: int) -> str:
    end = written.seek(0, os.SEEK_END)
    written.seek(max(begin, end - _TAIL_BYTES))
    text: str = written.read().decode("utf-8", "replace").strip()
    return f". It wrote last:\n{text}" if text else ". It wrote nothing."


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
