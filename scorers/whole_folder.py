"""A folder that appears whole or not at all, in the place of what was there, and what its files are known by."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cascade.errors import ScorerError

__all__ = ["sha256_of", "version_of", "written_whole"]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a new folder to write into; when the block ends well it stands at `path`, else nothing changes.

    Raises:
        ScorerError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            yield folder
            folder.chmod(0o755)
            if path.exists():
                old = folder.with_name(folder.name + "-old")
                path.rename(old)
                folder.rename(path)
                shutil.rmtree(old)
            else:
                folder.rename(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as exc:
        raise ScorerError(f"{path} cannot be written ({exc.strerror or exc})") from exc


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def version_of(kind: str, files: Mapping[str, str]) -> str:
    """Return what a scorer is known by: its kind and a digest of its files.

    Args:
        kind: Such as ``trained``.
        files: File name → its SHA-256.

    >>> version_of("trained", {"model.json": "ab"})
    'trained/70f8cfa51726'
    """
    told = "\n".join(f"{name} {digest}" for name, digest in sorted(files.items()))
    return f"{kind}/{hashlib.sha256(told.encode()).hexdigest()[:12]}"
