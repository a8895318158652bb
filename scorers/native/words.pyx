# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What is counted word by word, in compiled code: hashes, runs of three that come again, phrases."""

from cpython.object cimport PyObject_Hash
from libc.stdint cimport int32_t, int64_t, uint64_t

import numpy as np

__all__ = ["PhraseTable", "distinct_triples", "hashes_of"]


def hashes_of(list words):
    """Return Python's own hash of each word, int64."""
    cdef Py_ssize_t i, n = len(words)
    found = np.empty(n, np.int64)
    cdef int64_t[::1] out = found
    for i in range(n):
        out[i] = PyObject_Hash(words[i])
    return found


def distinct_triples(list words):
    """Return how many different runs of three words there are.

    Told apart by 64 bits of hash each: two of a text's runs have the same in one text of 10^12.
    """
    cdef Py_ssize_t i, n = len(words) - 2, size = 4, slot, count = 0
    cdef uint64_t a, b, c, key
    if n <= 0:
        return 0
    while size < 2 * n:
        size <<= 1
    table = np.zeros(size, np.uint64)
    cdef uint64_t[::1] known = table
    a = <uint64_t>PyObject_Hash(words[0])
    b = <uint64_t>PyObject_Hash(words[1])
    for i in range(n):
        c = <uint64_t>PyObject_Hash(words[i + 2])
        key = (a * 0x9E3779B97F4A7C15ULL + b) * 0xC2B2AE3D27D4EB4FULL + c
        key ^= key >> 29
        key |= <uint64_t>(key == 0)  # 0 stands for an empty slot
        slot = <Py_ssize_t>(key & <uint64_t>(size - 1))
        while known[slot] != 0 and known[slot] != key:
            slot = (slot + 1) & (size - 1)
        if known[slot] == 0:
            known[slot] = key
            count += 1
        a, b = b, c
    return count


cdef class PhraseTable:
    """Counts phrases in ASCII text, as `scorers.features.phrases` does.

    Args:
        steps: Node that a character leads to, -1 for none; the root is node 0. Shape (nodes, 128).
        groups: Group of the phrase that ends at a node, -1 where none does. Shape (nodes,).
        endless: Whether any further letters belong to that phrase. Shape (nodes,).
        count: Groups.

    Raises:
        ValueError: A node or a group is none of these.
    """

    cdef const int32_t[:, ::1] steps
    cdef const int32_t[::1] groups
    cdef const unsigned char[::1] endless
    cdef Py_ssize_t count
    cdef unsigned char word[256]

    def __init__(self, steps, groups, endless, Py_ssize_t count):
        nodes = len(steps)
        if steps.shape != (nodes, 128) or len(groups) != nodes or len(endless) != nodes:
            raise ValueError("arrays do not fit together")
        if nodes == 0 or steps.max() >= nodes or steps.min() < -1:
            raise ValueError("a character leads to no node")
        if groups.max() >= count or groups.min() < -1:
            raise ValueError("a phrase has no group")
        self.steps, self.groups, self.endless, self.count = steps, groups, endless, count
        cdef int i
        for i in range(256):
            self.word[i] = 48 <= i <= 57 or 65 <= i <= 90 or 97 <= i <= 122 or i == 95

    def __call__(self, bytes lowered):
        """Return one count a group. What is not ASCII ends a word."""
        cdef Py_ssize_t i = 0, j, end, n = len(lowered), group
        cdef const unsigned char *text = lowered
        cdef int32_t node
        cdef list counts = [0] * self.count
        while i < n:
            node, j, end, group = 0, i, -1, -1
            while j < n and text[j] < 128:
                node = self.steps[node, text[j]]
                if node < 0:
                    break
                j += 1
                if self.groups[node] >= 0:
                    if self.endless[node]:
                        while j < n and self.word[text[j]]:
                            j += 1
                        end, group = j, self.groups[node]
                        break
                    if j == n or not self.word[text[j]]:
                        end, group = j, self.groups[node]
            if end > i:
                counts[group] += 1
                i = end
            # The next phrase begins behind a character that belongs to no word.
            while i < n and self.word[text[i]]:
                i += 1
            i += 1
        return counts
