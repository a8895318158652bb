"""What was learned from a log of prompts: text that most of them share, and the examples worth keeping.

It is kept as JSON, by digests: the file holds no text of any prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import msgspec

from ..errors import ConfigError

__all__ = [
    "EVERY_TENANT",
    "SCHEMA",
    "Learned",
    "example_digest",
    "passage_digest",
    "read_learned",
    "write_learned",
]

SCHEMA = 1

EVERY_TENANT = "*"

_SPACE = re.compile(r"\s+")


class Learned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `cascade compress --learn` found.

    Attributes:
        schema: Number of the layout.
        prompts: Prompts it was learned from.
        boilerplate: Tenant (``*``: any) → digests of passages that most of its prompts have.
        examples: Digests of the examples to keep.
    """

    schema: int
    prompts: int
    boilerplate: Mapping[str, frozenset[str]] = {}
    examples: frozenset[str] = frozenset()

    @property
    def version(self) -> str:
        """Digest of all of it, 12 hex digits."""
        ordered = {
            "boilerplate": {t: sorted(found) for t, found in sorted(self.boilerplate.items())},
            "examples": sorted(self.examples),
        }
        return blake2b(msgspec.json.encode(ordered), digest_size=6).hexdigest()

    def of_tenant(self, tenant: str | None) -> frozenset[str]:
        """Return the digests of a tenant's boilerplate, that of all tenants included."""
        common = self.boilerplate.get(EVERY_TENANT, frozenset())
        return common | self.boilerplate.get(tenant or EVERY_TENANT, frozenset())


def passage_digest(passage: str) -> str:
    """Return the digest of a passage or line: spaces and case of letters do not matter."""
    plain = _SPACE.sub(" ", passage).strip().casefold()
    return blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def example_digest(example: str) -> str:
    """Return the digest of an example: spaces do not matter."""
    plain = _SPACE.sub(" ", example).strip()
    return blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def read_learned(path: str | Path) -> Learned:
    """Return what a file holds.

    Raises:
        ConfigError: It cannot be read, or is not what `cascade compress --learn` writes.
    """
    try:
        found = msgspec.json.decode(Path(path).read_bytes(), type=Learned)
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror or type(exc).__name__}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: not what `cascade compress --learn` writes ({exc})") from exc
    if found.schema != SCHEMA:
        raise ConfigError(f"{path}: schema {found.schema}; allowed: {SCHEMA}; learn it again")
    return found


def write_learned(path: str | Path, learned: Learned) -> None:
    """Write a file that `read_learned` reads; the same for the same content."""
    plain = {
        "schema": learned.schema,
        "prompts": learned.prompts,
        "boilerplate": {t: sorted(found) for t, found in sorted(learned.boilerplate.items())},
        "examples": sorted(learned.examples),
    }
    Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n")
