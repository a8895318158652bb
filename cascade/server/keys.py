"""Keys of callers: a JSON file that holds who may ask what, and of each key only a digest.

A key is ``ck-<id>-<secret>`` with 256 random bits of secret. The id finds the entry, and the digest of
the whole key is compared in constant time, so that neither is learnt from how long a refusal takes.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from ..clock import SystemClock
from ..errors import ConfigError
from ..ports import Clock

__all__ = ["Key", "KeyRing", "change_keys", "new_key", "read_keys"]

_PREFIX = "ck"
_ID_BYTES = 6
_SECRET_BYTES = 32


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key, without its secret.

    Attributes:
        id: What the key is called in lists and logs; also its second part.
        sha256: Digest of the whole key, hexadecimal.
        tenant: Whose asks come with it, as in the ladder file; None: nobody's in particular.
        ladders: Names of the ladders it may ask; empty: all.
        name: What it is for.
        created: UTC, ISO 8601 with milliseconds.
        expires: From when it is refused, in the same form; None: never.
    """

    id: str
    sha256: str
    tenant: str | None = None
    ladders: tuple[str, ...] = ()
    name: str = ""
    created: str = ""
    expires: str | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int = 1
    keys: tuple[Key, ...] = ()


class KeyRing:
    """The keys as a server looks them up.

    Args:
        keys: All of them.
        clock: Tells which have expired.
    """

    def __init__(self, keys: Sequence[Key], clock: Clock | None = None) -> None:
        self._keys = {key.id: (key, bytes.fromhex(key.sha256)) for key in keys}
        self._nobody = secrets.token_bytes(32)
        self._clock = clock or SystemClock()

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, secret: str) -> Key | None:
        """Return the key that was given, expired or not; None if there is no such key."""
        _, _, rest = secret.partition("-")
        entry = self._keys.get(rest.partition("-")[0])
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).digest()
        expected = self._nobody if entry is None else entry[1]
        return entry[0] if hmac.compare_digest(digest, expected) and entry is not None else None

    def has_expired(self, key: Key) -> bool:
        """Return whether a key is past its time."""
        return key.expires is not None and key.expires <= self._clock.now_iso()


def new_key(
    *,
    tenant: str | None = None,
    ladders: Sequence[str] = (),
    name: str = "",
    expires_in_s: float | None = None,
    clock: Clock | None = None,
) -> tuple[str, Key]:
    """Return a new key as its holder needs it, which nobody can find out again, and its entry."""
    now = (clock or SystemClock()).now_iso()
    key_id = secrets.token_hex(_ID_BYTES)
    secret = f"{_PREFIX}-{key_id}-{secrets.token_urlsafe(_SECRET_BYTES)}"
    expires = None
    if expires_in_s is not None:
        until = datetime.fromisoformat(now) + timedelta(seconds=expires_in_s)
        expires = until.isoformat(timespec="milliseconds")[:-6] + "Z"
    return secret, Key(
        id=key_id,
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
        tenant=tenant,
        ladders=tuple(ladders),
        name=name,
        created=now,
        expires=expires,
    )


def read_keys(path: Path, text: bytes | None = None) -> tuple[Key, ...]:
    """Return the keys in a file.

    Args:
        path: The file.
        text: What it held when it was read; None: it is read now.

    Raises:
        ConfigError: It cannot be read or is not a file of keys; the message shows nothing of it.
    """
    try:
        found = msgspec.json.decode(path.read_bytes() if text is None else text, type=_File)
        if found.version != 1:
            raise ConfigError(f"{path}: version {found.version} given; allowed: 1")
        for key in found.keys:
            if len(bytes.fromhex(key.sha256)) != hashlib.sha256().digest_size:
                raise ValueError("a digest of another length")
            if key.expires is not None:
                datetime.fromisoformat(key.expires)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read ({exc.strerror})") from exc
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{path}: not a file of keys ({exc})") from exc
    except ValueError as exc:
        raise ConfigError(f"{path}: not a file of keys ({type(exc).__name__})") from None
    return found.keys


def change_keys(path: Path, change: Callable[[tuple[Key, ...]], Sequence[Key]]) -> None:
    """Replace the keys in a file by what `change` makes of them: whole or not at all.

    The file is made when missing, for its owner alone to read. Two changes at once come one after
    the other.

    Raises:
        ConfigError: The file cannot be read or written.
    """
    try:
        with _locked(path):
            keys = read_keys(path) if path.exists() else ()
            text = msgspec.json.format(
                msgspec.json.encode(_File(keys=tuple(change(keys)))), indent=2
            )
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            try:
                file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(file, "wb") as writer:
                    writer.write(text + b"\n")
                    writer.flush()
                    os.fsync(writer.fileno())
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written ({exc.strerror})") from exc


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock beside a file, which itself is replaced and so cannot carry one."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
