"""Finds the cached prompts that mean most nearly the same as a new one: by the cosine of their vectors.

Where the words differ an index over pieces of words finds nothing. Few vectors are all compared; of more a
graph is kept by usearch, if it is installed, so that a lookup hardly grows with the cache.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

__all__ = ["VectorIndex"]

_FEW = 64
"""So many vectors of a scope are kept as plain rows."""
_LINKS, _TRIED_ADDING, _TRIED_FINDING = 16, 64, 48
"""Of the graph (HNSW, Malkov and Yashunin 2018): neighbours of a vector, and how many are looked at."""


class _Vectors(Protocol):
    """The vectors of one scope."""

    def add(self, key: str, vector: np.ndarray) -> None:
        """Keep a vector under a key that has none."""

    def discard(self, key: str) -> None:
        """Drop the vector of a key that has one."""

    def nearest(self, vector: np.ndarray, k: int) -> list[str]:
        """Return the keys of the nearest, best first."""


class VectorIndex:
    """Vectors of length 1 by key, findable within their scope. Not thread-safe.

    Args:
        graph: Whether many vectors of a scope are kept as a graph; None: if usearch is installed.
    """

    def __init__(self, *, graph: bool | None = None) -> None:
        self._graph = find_spec("usearch") is not None if graph is None else graph
        self._scopes: dict[str, _Vectors] = {}
        self._scope_of: dict[str, str] = {}
        self._sizes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._scope_of)

    def add(self, key: str, scope: str, vector: np.ndarray) -> None:
        """Keep a vector, in the place of any with its key."""
        self.discard(key)
        home = self._scopes.get(scope)
        if home is None:
            home = self._scopes[scope] = _Rows(len(vector))
        elif self._graph and isinstance(home, _Rows) and len(home.keys) >= _FEW:
            home = self._scopes[scope] = _Graph(home)
        home.add(key, vector)
        self._scope_of[key] = scope
        self._sizes[scope] = self._sizes.get(scope, 0) + 1

    def discard(self, key: str) -> bool:
        """Drop a vector; return whether there was one."""
        scope = self._scope_of.pop(key, None)
        if scope is None:
            return False
        self._sizes[scope] -= 1
        if self._sizes[scope]:
            self._scopes[scope].discard(key)
        else:
            del self._sizes[scope], self._scopes[scope]
        return True

    def find(self, scope: str, vector: np.ndarray, k: int) -> list[str]:
        """Return the keys of the nearest vectors of a scope, best first, k at most."""
        home = self._scopes.get(scope)
        return [] if home is None else home.nearest(vector, k)


class _Rows:
    """All in one matrix; the last takes the place of one that is dropped."""

    def __init__(self, width: int) -> None:
        import numpy as np

        self.keys: list[str] = []
        self._place: dict[str, int] = {}
        self._matrix = np.empty((4, width), np.float32)

    @property
    def matrix(self) -> np.ndarray:
        """The rows in use, in the order of `keys`."""
        return self._matrix[: len(self.keys)]

    def add(self, key: str, vector: np.ndarray) -> None:
        import numpy as np

        at = len(self.keys)
        if at == len(self._matrix):
            self._matrix = np.concatenate([self._matrix, np.empty_like(self._matrix)])
        self._matrix[at] = vector
        self._place[key] = at
        self.keys.append(key)

    def discard(self, key: str) -> None:
        at, last = self._place.pop(key), self.keys.pop()
        if last != key:
            self.keys[at] = last
            self._matrix[at] = self._matrix[len(self.keys)]
            self._place[last] = at

    def nearest(self, vector: np.ndarray, k: int) -> list[str]:
        import numpy as np

        likeness = self.matrix @ vector.astype(np.float32)
        best = np.argpartition(-likeness, k)[:k] if len(likeness) > k else np.arange(len(likeness))
        return [self.keys[i] for i in best[np.argsort(-likeness[best], kind="stable")].tolist()]


class _Graph:
    """A graph of usearch, vectors in 16 bits, begun with some rows."""

    def __init__(self, rows: _Rows) -> None:
        import numpy as np
        from usearch.index import Index

        self._index: Any = Index(
            ndim=rows.matrix.shape[1],
            metric="ip",
            dtype="f16",
            connectivity=_LINKS,
            expansion_add=_TRIED_ADDING,
            expansion_search=_TRIED_FINDING,
        )
        self._names = dict(enumerate(rows.keys))
        self._numbers = {key: number for number, key in self._names.items()}
        self._next = len(self._names)
        self._index.add(np.arange(self._next, dtype=np.uint64), rows.matrix, threads=1)

    def add(self, key: str, vector: np.ndarray) -> None:
        number, self._next = self._next, self._next + 1
        self._names[number], self._numbers[key] = key, number
        self._index.add(number, vector, threads=1)

    def discard(self, key: str) -> None:
        number = self._numbers.pop(key)
        del self._names[number]
        self._index.remove(number)

    def nearest(self, vector: np.ndarray, k: int) -> list[str]:
        found = self._index.search(vector, k, threads=1).keys
        return [self._names[number] for number in found.tolist() if number in self._names]
