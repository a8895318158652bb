"""Takes the compression off bodies, whole or in pieces, up to a size."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from .faults import BrokenAnswer, TooLarge

__all__ = ["Unpacker", "coding_of", "unpacked"]


def coding_of(headers: Mapping[str, str]) -> str | None:
    """Return how a body is packed, or None when it is not.

    Raises:
        BrokenAnswer: In a way nobody has asked for.
    """
    coding = headers.get("content-encoding", "identity").lower()
    if coding == "identity":
        return None
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise BrokenAnswer("an unknown Content-Encoding")
    return coding


def unpacked(packed: bytes, most: int) -> bytes:
    """Return what gzip or zlib packed, up to `most` bytes."""
    unpacker = Unpacker(most)
    body = unpacker.add(packed)
    unpacker.end()
    return body


class Unpacker:
    """Unpacks what gzip or zlib packed, piece by piece.

    Args:
        most: Most bytes of all that comes out.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._most = most
        self._unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)

    def add(self, packed: bytes) -> bytes:
        """Return what a further piece holds.

        Raises:
            BrokenAnswer: It is damaged.
            TooLarge: It is more than is taken.
        """
        try:
            body = self._unpacker.decompress(packed, self._left + 1)
        except zlib.error as exc:
            raise BrokenAnswer("damaged compression") from exc
        self._left -= len(body)
        if self._left < 0:
            raise TooLarge(self._most)
        return body

    def end(self) -> None:
        """Note that nothing more comes.

        Raises:
            BrokenAnswer: Something is missing.
        """
        if not self._unpacker.eof:
            raise BrokenAnswer("compression cut short")
