"""Which kind of task a request is: the nearest of a few centroids over its words, in plain Python.

Fitted offline (`cascade.replay.task_clusters`), kept as a file, and used live, so it needs no numpy.
Words are kept as numbers (CRC-32): the file holds none of anybody's prompts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import msgspec

from ..errors import ConfigError
from ..fingerprint import digest
from ..types import Message, Request

__all__ = ["ONE_CLUSTER", "TaskClusters", "task_text", "term_counts"]

HEAD_CHARS = 1_500
"""Of the system's messages, and of either end of the last user message, at most: what kind of task it
is stands at the beginning or the end, and a long context in between says little about it."""

_WORD = re.compile(r"[^\W\d_]{2,}|\d+")


def task_text(messages: Sequence[Message]) -> str:
    """Return the part of a chat that tells its task: the system's text and both ends of the last user's."""
    system = "\n".join(_text(m) for m in messages if m.role in ("system", "developer"))
    asked = next((_text(m) for m in reversed(messages) if m.role == "user"), "")
    if len(asked) > 2 * HEAD_CHARS:
        asked = f"{asked[:HEAD_CHARS]}\n{asked[-HEAD_CHARS:]}"
    return f"{system[:HEAD_CHARS]}\n{asked}"


def term_counts(text: str) -> Counter[int]:
    """Return how often each word is in a text, by its number; all numbers are one word.

    >>> sum(term_counts("Pay 12 or 14 dollars").values()), len(term_counts("12 14"))
    (5, 1)
    """
    words = _WORD.findall(text.casefold())
    return Counter(crc32(b"0" if word[0].isdigit() else word.encode()) for word in words)


def _text(message: Message) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    return "\n".join(p["text"] for p in content or () if isinstance(p.get("text"), str))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskClusters:
    """Centroids of kinds of task.

    Attributes:
        names: Name of each cluster; at least one.
        idf: Inverse document frequency of each word that is known, by its number.
        centroids: For each cluster the weights of its words, > 0. Empty with a single cluster.
        version: Digest of the content.
    """

    names: tuple[str, ...]
    idf: Mapping[int, float] = field(default_factory=dict)
    centroids: tuple[Mapping[int, float], ...] = ()
    version: str = field(init=False)

    def __post_init__(self) -> None:
        content = [self.names, *(self._rows())]
        object.__setattr__(self, "version", digest(content)[:12])

    def of(self, request: Request) -> str:
        """Return the name of the cluster that a request belongs to.

        Cost: some 50 µs for a prompt of 3,000 characters.
        """
        return self.of_text(task_text(request.messages))

    def of_text(self, text: str) -> str:
        """Return the cluster of what `task_text` returned: the one with the nearest centroid.

        Nearest by Euclidean distance to the unit vector of TF-IDF weights, which is what k-means
        fits; the first of equals.
        """
        if len(self.names) == 1:
            return self.names[0]
        weights = self.weights(text)
        best, place = -math.inf, 0
        for i, centroid in enumerate(self.centroids):
            # |x - c|² = |x|² - 2 x·c + |c|², and |x| is the same for all
            near = 2.0 * sum(w * centroid.get(term, 0.0) for term, w in weights.items())
            near -= sum(w * w for w in centroid.values())
            if near > best:
                best, place = near, i
        return self.names[place]

    def weights(self, text: str) -> dict[int, float]:
        """Return the TF-IDF weights of a text, of length 1, over the words that are known."""
        found = {
            term: (1.0 + math.log(count)) * self.idf[term]
            for term, count in term_counts(text).items()
            if term in self.idf
        }
        length = math.sqrt(sum(w * w for w in found.values()))
        return {term: w / length for term, w in found.items()} if length else {}

    def to_json(self) -> bytes:
        """Return the content of a file that `from_json` reads."""
        content = {
            "kind": "cascade task clusters",
            "version": 1,
            "names": self.names,
            "terms": self._rows(),
        }
        return msgspec.json.encode(content) + b"\n"

    @classmethod
    def from_json(cls, content: bytes, where: str) -> TaskClusters:
        """Return the clusters that `to_json` wrote.

        Args:
            content: The bytes of the file.
            where: Its name, for the error.

        Raises:
            ConfigError: It is no such file, or one of a newer version.
        """
        try:
            read = msgspec.json.decode(content, type=_File)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{where}: no file of task clusters ({type(exc).__name__})") from exc
        if read.kind != "cascade task clusters" or read.version != 1 or not read.names:
            raise ConfigError(
                f"{where}: {read.kind!r:.40} of version {read.version}; allowed: cascade task "
                "clusters of version 1"
            )
        centroids: tuple[dict[int, float], ...] = tuple({} for _ in read.names)
        idf = {}
        for row in read.terms:
            if len(row) != 2 + len(read.names):
                raise ConfigError(
                    f"{where}: a term has {len(row)} numbers for {len(read.names)} clusters"
                )
            term = int(row[0])
            idf[term] = row[1]
            for centroid, weight in zip(centroids, row[2:], strict=True):
                if weight:
                    centroid[term] = weight
        one = len(read.names) == 1
        return cls(names=tuple(read.names), idf=idf, centroids=() if one else centroids)

    def _rows(self) -> list[list[Any]]:
        """Return a row a term: its number, its idf, its weight in each cluster."""
        return [
            [term, idf, *(centroid.get(term, 0) for centroid in self.centroids)]
            for term, idf in sorted(self.idf.items())
        ]


ONE_CLUSTER = TaskClusters(names=("all",))
"""Everything is one kind of task."""


class _File(msgspec.Struct):
    kind: str
    version: int
    names: list[str]
    terms: list[list[float]]
