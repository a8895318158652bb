"""A folder that appears whole or not at all, in the place of what was there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cascade.errors import ScorerError

__all__ = ["written_whole"]


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
