# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What is counted word by word, in compiled code: hashes of words, and runs of three that come again."""

from cpython.object cimport PyObject_Hash
from libc.stdint cimport int64_t, uint64_t

import numpy as np

__all__ = ["distinct_triples", "hashes_of"]


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
