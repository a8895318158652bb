# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`scorers.text_bank` for one text at a time, in compiled code: words found by hash, counted, weighed."""

from libc.math cimport sqrt
from libc.stdint cimport int32_t, int64_t, uint64_t

import numpy as np

__all__ = ["TextWeights", "find"]

cdef uint64_t ODD = 0x5851F42D4C957F2D


def find(
    const int64_t[::1] keys,
    const int64_t[::1] values,
    int64_t mask,
    Py_ssize_t most,
    int64_t no_key,
    const int64_t[::1] words,
    tuple salts,
    int64_t[::1] out,
):
    """Write the values of the words and the pairs of words that a hash table knows; return how many.

    Args:
        keys: The table's keys, `most` longer than its mask. Shape (slots,).
        values: What each stands for. Shape (slots,).
        mask: Of the slot that a key's search begins in.
        most: How many slots a search looks at.
        no_key: What stands in a slot that holds nothing.
        words: A hash a word.
        salts: Mixed into the hashes, one a vocabulary.
        out: Room for twice as many numbers as there are words, a salt.
    """
    cdef Py_ssize_t i, k, slot, n = words.shape[0], count = 0
    cdef int64_t salt, key
    if keys.shape[0] < mask + most or values.shape[0] != keys.shape[0] or mask < 0:
        raise ValueError("the table is shorter than its mask")
    if out.shape[0] < 2 * n * len(salts):
        raise ValueError("there is no room for what may be found")
    for one in salts:
        salt = one
        for i in range(2 * n - 1 if n else 0):
            if i < n:
                key = words[i]
            else:
                key = <int64_t>(<uint64_t>words[i - n] * ODD + <uint64_t>words[i - n + 1])
            key ^= salt
            slot = key & mask
            for k in range(slot, slot + most):
                if keys[k] == key:
                    out[count] = values[k]
                    count += 1
                elif keys[k] == no_key:
                    break
    return count


cdef class TextWeights:
    """What is said of texts by the terms that stand in them.

    Args:
        starts: First column of each vocabulary, ascending. Shape (k,).
        tables: Weights on the terms of each, shape (terms, …) each, float64.
        places: Of which of all tables' numbers, in their order, each said number is. Shape (numbers,).
        bias: Added to each. Shape (numbers,).
        idf: Weight of each column. Shape (columns,).
        log_weights: Weight of a term by how often it stands in a text.

    Raises:
        ValueError: The arrays do not fit together.
    """

    cdef const int64_t[::1] starts, places
    cdef const double[::1] bias, idf, log_weights
    cdef list tables
    cdef Py_ssize_t size
    cdef int32_t[::1] times

    def __init__(self, starts, tables, places, bias, idf, log_weights):
        self.starts, self.places, self.bias = starts, places, bias
        self.idf, self.log_weights = idf, log_weights
        self.tables = [np.ascontiguousarray(table, np.float64) for table in tables]
        self.size = sum(table.shape[1] for table in self.tables)
        if len(self.tables) != self.starts.shape[0] or self.bias.shape[0] != self.places.shape[0]:
            raise ValueError("arrays do not fit together")
        if any(not 0 <= place < self.size for place in places):
            raise ValueError("a number stands in no table")
        self.times = np.zeros(max(1, len(idf)), np.int32)

    def __call__(self, int64_t[::1] columns):
        """Return what is said. The columns are put in another order.

        Args:
            columns: Column of each term as often as it stands there, in any order. One of no vocabulary
                of these counts for nothing.

        Raises:
            ValueError: A term has no column.
        """
        cdef Py_ssize_t i, k, n = columns.shape[0], distinct = 0, vocabulary, at = 0, width
        cdef int64_t column, start, end
        cdef double squares, length, weight
        cdef double *total
        cdef const double[:, ::1] table
        for i in range(n):
            if not 0 <= columns[i] < self.idf.shape[0]:
                raise ValueError("a term has no column")
        # Each column once; how often it came is kept beside until it has been weighed.
        for i in range(n):
            column = columns[i]
            if self.times[column] == 0:
                columns[distinct] = column
                distinct += 1
            self.times[column] += 1
        weights = np.empty(distinct)
        cdef double[::1] weighed = weights
        for i in range(distinct):
            column = columns[i]
            k = min(self.times[column], self.log_weights.shape[0] - 1)
            self.times[column] = 0
            weighed[i] = self.log_weights[k] * self.idf[column]
        sums = np.zeros(max(1, self.size))
        cdef double[::1] summed = sums
        for vocabulary in range(self.starts.shape[0]):
            table = self.tables[vocabulary]
            start, width = self.starts[vocabulary], table.shape[1]
            end = start + table.shape[0]
            squares = 0.0
            for i in range(distinct):
                if start <= columns[i] < end:
                    squares += weighed[i] * weighed[i]
            length = sqrt(squares) if squares > 0.0 else 1.0
            total = &summed[at] if width else NULL
            for i in range(distinct):
                if start <= columns[i] < end:
                    weight = <float>(weighed[i] / length)  # as the sparse matrices have them
                    column = columns[i] - start
                    for k in range(width):
                        total[k] += weight * table[column, k]
            at += width
        said = np.empty(self.places.shape[0])
        cdef double[::1] out = said
        for i in range(self.places.shape[0]):
            out[i] = summed[self.places[i]] + self.bias[i]
        return said
