"""All text heads of a ladder: each text is read once, whoever asks, and weighed for all of them together.

One text at a time goes through a table of hashes and a few short arrays; many go through sparse
matrices. Both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import native
from .heads import HeadSet
from .labels import LabelSet
from .text_head import MAX_CHARS, TextAxes, TextHead, Vocabulary, grams_of

__all__ = ["Source", "TextBank", "TextReader", "hashes_of"]

PROMPT_KINDS = ("prompt", "chars")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What is read: `prompt` and `chars` are the prompt's words and n-grams; `both` and `cross` need an answer.

    Compared by identity, as it is looked up at every step: a `TextBank` makes one of each.

    Attributes:
        kind: Kind of text, as `heads` names it.
        model: Whose answer, or None.
        labels: The labels of `cross`, or None.
    """

    kind: str
    model: int | None = None
    labels: LabelSet | None = None

    @property
    def chars(self) -> bool:
        """Whether it is read by character n-grams."""
        return self.kind == "chars"


@dataclass(slots=True)
class _Reading:
    """Everything that one source is read for. What is said of a text is one column of numbers.

    Attributes:
        vocabularies: Of different content.
        heads: Number of the vocabulary, weights, bias and place of each head.
        axes: Number of the vocabulary, weights and first place of each set of axes.
        width: How many numbers are said of a text.
    """

    vocabularies: list[Vocabulary] = field(default_factory=list)
    heads: list[tuple[int, np.ndarray, float, int]] = field(default_factory=list)
    axes: list[tuple[int, np.ndarray, int]] = field(default_factory=list)
    width: int = 0

    def number(self, wanted: Vocabulary) -> int:
        """Return the number of the vocabulary with this content."""
        for i, known in enumerate(self.vocabularies):
            if known is wanted or (
                known.chars == wanted.chars
                and known.index == wanted.index
                and np.array_equal(known.idf, wanted.idf)
            ):
                return i
        self.vocabularies.append(wanted)
        return len(self.vocabularies) - 1

    def head(self, head: TextHead) -> int:
        """Return the place of a head; the same one twice, as two seeds fit it, has one place."""
        number, bias = self.number(head.vocabulary), float(head.bias[0])
        weights = head.weights[:, 0]
        for known, known_weights, known_bias, place in self.heads:
            if (known, known_bias) == (number, bias) and np.array_equal(known_weights, weights):
                return place
        self.heads.append((number, weights, bias, self.width))
        self.width += 1
        return self.width - 1

    def axis(self, axes: TextAxes) -> int:
        """Return the first place of a set of axes."""
        number = self.number(axes.vocabulary)
        for known, weights, place in self.axes:
            if known == number and np.array_equal(weights, axes.axes):
                return place
        self.axes.append((number, axes.axes, self.width))
        self.width += axes.axes.shape[1]
        return self.axes[-1][2]

    def table(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return all weights on a vocabulary, shape (terms, k), and their places, shape (k,)."""
        columns = [np.zeros((len(self.vocabularies[number].index), 0))]
        places: list[int] = []
        for v, weights, _, place in self.heads:
            if v == number:
                columns.append(weights[:, None])
                places.append(place)
        for v, weights, place in self.axes:
            if v == number:
                columns.append(weights)
                places += range(place, place + weights.shape[1])
        return np.hstack(columns), np.array(places, np.intp)

    def bias(self) -> np.ndarray:
        """Return what is added to each number. Shape (width,)."""
        found = np.zeros(self.width)
        for _, _, bias, place in self.heads:
            found[place] = bias
        return found


class TextBank:
    """The text heads and axes of several judges.

    Args:
        judges: Their heads.
    """

    def __init__(self, judges: Iterable[HeadSet]) -> None:
        self._sources: dict[tuple[str, int | None, LabelSet | None], Source] = {}
        self.prompt = self._known("prompt", None, None)
        """The prompt's words, which the axes are on."""
        self._readings: dict[Source, _Reading] = {}
        self._places: dict[int, tuple[Source, int]] = {}
        self._held: list[object] = []  # so that no id comes again
        for heads in judges:
            for kind, head in heads.text:
                source = self._source(kind, heads)
                self._hold(head, source, self._reading(source).head(head))
            if heads.axes is not None:
                place = self._reading(self.prompt).axis(heads.axes)
                self._hold(heads.axes, self.prompt, place)

    def place(self, part: TextHead | TextAxes) -> tuple[Source, int]:
        """Return what a head, or a set of axes, reads, and where what it says begins."""
        return self._places[id(part)]

    def reader(self) -> TextReader:
        """Return what reads one text of each source at a time."""
        return TextReader(self._readings)

    def rows(
        self, source: Source, texts: Callable[[], list[str]], read: dict[Any, Any]
    ) -> np.ndarray:
        """Return what is said of many texts.

        Args:
            source: What is read.
            texts: Gives the texts; only called for what has not been read before.
            read: Keeps what was read of these texts.

        Returns:
            A row a place. Shape (width, n).
        """
        reading = self._readings[source]
        key = source.kind, source.model, source.labels
        if key not in read:
            written = texts()
            read[key] = [vocabulary.transform(written) for vocabulary in reading.vocabularies]
        matrices = read[key]
        found = np.empty((reading.width, matrices[0].shape[0]))
        for number, matrix in enumerate(matrices):
            weights, places = reading.table(number)
            found[places] = (matrix @ weights).T
        found += reading.bias()[:, None]
        return found

    def _reading(self, source: Source) -> _Reading:
        return self._readings.setdefault(source, _Reading())

    def _hold(self, part: object, source: Source, place: int) -> None:
        self._places[id(part)] = source, place
        self._held.append(part)

    def _source(self, kind: str, heads: HeadSet) -> Source:
        if kind in PROMPT_KINDS:
            return self._known(kind, None, None)
        labels = heads.labels[0] if kind == "cross" else None
        return self._known(kind, heads.answered[0], labels)

    def _known(self, kind: str, model: int | None, labels: LabelSet | None) -> Source:
        key = kind, model, labels
        return self._sources.setdefault(key, Source(*key))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What does not change between texts of the same sources.

    Attributes:
        salts: For each source, what is mixed into the keys of each of its vocabularies.
        starts: First column of each vocabulary of these sources, ascending. Shape (k,).
        tables: Weights on each of them. Shape (terms, …) each.
        compiled: What weighs terms in compiled code, where there is any.
        places: Where the numbers of all tables belong. Shape (numbers,).
        bias: Added to what is said. Shape (numbers,).
        parts: Where each source's numbers stand.
    """

    salts: list[list[np.int64]]
    starts: np.ndarray
    tables: list[np.ndarray]
    compiled: native.TextWeights | None
    places: np.ndarray
    bias: np.ndarray
    parts: list[slice]


class TextReader:
    """Reads one text of each source at a time: what `Vocabulary.transform` and the heads give for it.

    Texts that are read together share every step, as each is a few calls on short arrays. Words and
    pairs of words are found by their hashes, all at once: a dictionary of strings waits for memory
    at every word, 170 µs for 300 words in a busy process. Two terms with one 64-bit hash would
    be taken for each other, in one text of 10^12. Character n-grams are looked up a word at a time
    and remembered, as most words come again; at most ``MAX_KNOWN`` words are.
    """

    MAX_KNOWN = 50_000
    MAX_WORD = 40

    def __init__(self, readings: Mapping[Source, _Reading]) -> None:
        self._readings = readings
        self._plans: dict[tuple[Source, ...], _Plan] = {}
        self._starts: dict[tuple[Source, int], int] = {}
        self._tables: dict[tuple[Source, int], tuple[np.ndarray, np.ndarray]] = {}
        self._grams: dict[str, bytes] = {}
        self._gram_columns: list[dict[str, int]] = []
        keys: list[np.ndarray] = [np.zeros(0, np.int64)]
        columns: list[np.ndarray] = [np.zeros(0, np.intp)]
        idf: list[np.ndarray] = [np.zeros(0)]
        size = 0
        # The columns of all vocabularies stand one after another.
        for source, reading in readings.items():
            for number, vocabulary in enumerate(reading.vocabularies):
                self._starts[source, number] = size
                own = np.fromiter(vocabulary.index.values(), np.intp) + size
                if source.chars:
                    self._gram_columns.append(
                        dict(zip(vocabulary.index, own.tolist(), strict=True))
                    )
                else:
                    keys.append(_keys_of(vocabulary) ^ _salt(size))
                    columns.append(own)
                idf.append(np.asarray(vocabulary.idf, np.float64))
                size += len(vocabulary.index)
        self._table = _HashTable(np.concatenate(keys), np.concatenate(columns))
        self._idf = np.concatenate(idf)

    def __call__(
        self, sources: tuple[Source, ...], words: Sequence[np.ndarray | list[str]]
    ) -> list[np.ndarray]:
        """Return what is said of a text of each source, shape (width,) each.

        Args:
            sources: Different ones.
            words: `hashes_of` the words of each text; for character n-grams the words themselves.
        """
        plan = self._plans.get(sources)
        if plan is None:
            plan = self._plans[sources] = self._plan(sources)
        keys, found = [], []
        for salts, of_one in zip(plan.salts, words, strict=True):
            if isinstance(of_one, list):
                found.append(self._gram_numbers(of_one))
            elif plan.compiled is not None:
                found.append(self._table.find_words(of_one, salts))
            else:
                pairs = _paired(of_one[:-1], of_one[1:])
                for salt in salts:
                    keys.append(of_one ^ salt)
                    keys.append(pairs ^ salt)
        if keys:
            found.append(self._table.find(np.concatenate(keys)))
        if plan.compiled is not None:
            said = plan.compiled(np.concatenate(found))
            return [said[part] for part in plan.parts]
        columns, times = _counted(np.concatenate(found))
        value = _LOG_WEIGHTS.take(times, mode="clip")
        value *= self._idf.take(columns)
        # Columns ascend, so those of one vocabulary stand together.
        bounds = columns.searchsorted(plan.starts)
        squares = np.zeros(len(value) + 1)  # one more, where a last vocabulary knows no term
        np.multiply(value, value, out=squares[:-1])
        lengths = np.sqrt(np.maximum(np.add.reduceat(squares, bounds), _TINY))
        firsts = bounds.tolist()
        ends = [*firsts[1:], len(columns)]
        counts = np.subtract(ends, bounds)
        value /= lengths.repeat(counts)
        # as the sparse matrices have them
        value = value.astype(np.float32).astype(np.float64)
        columns -= plan.starts.repeat(counts)
        # No product of matrices: BLAS would wake its threads for it.
        sums = [
            np.einsum("i,ij->j", value[first:end], table.take(columns[first:end], axis=0))
            for first, end, table in zip(firsts, ends, plan.tables, strict=True)
        ]
        said = np.concatenate(sums).take(plan.places)
        said += plan.bias
        return [said[part] for part in plan.parts]

    def _plan(self, sources: tuple[Source, ...]) -> _Plan:
        tables: list[tuple[int, np.ndarray, np.ndarray]] = []
        salts, parts = [], []
        size = 0
        for source in sources:
            reading = self._readings[source]
            starts = [self._starts[source, i] for i in range(len(reading.vocabularies))]
            salts.append([np.int64(_salt(start)) for start in starts])
            parts.append(slice(size, size + reading.width))
            for number, start in enumerate(starts):
                key = source, number
                if key not in self._tables:
                    self._tables[key] = reading.table(number)
                weights, places = self._tables[key]
                tables.append((start, weights, places + size))
            size += reading.width
        tables.sort(key=lambda table: table[0])
        first_columns = np.array([start for start, _, _ in tables], np.int64)
        weights_of_each = [of_one for _, of_one, _ in tables]
        numbers = np.argsort(np.concatenate([places for _, _, places in tables]))
        bias = np.concatenate([self._readings[source].bias() for source in sources])
        compiled = None
        if native.TextWeights is not None:
            compiled = native.TextWeights(
                first_columns, weights_of_each, numbers, bias, self._idf, _LOG_WEIGHTS
            )
        return _Plan(
            salts=salts,
            starts=first_columns,
            tables=weights_of_each,
            compiled=compiled,
            places=numbers,
            bias=bias,
            parts=parts,
        )

    def _gram_numbers(self, words: list[str]) -> np.ndarray:
        known = self._grams
        try:
            pieces = [known[word] for word in words]
        except KeyError:
            pieces = [self._grams_of(word) for word in words]
        return np.frombuffer(b"".join(pieces), np.int64)

    def _grams_of(self, word: str) -> bytes:
        found = self._grams.get(word)
        if found is None:
            grams = grams_of(word)
            columns = [
                known[gram] for known in self._gram_columns for gram in grams if gram in known
            ]
            found = np.array(columns, np.int64).tobytes()
            if len(self._grams) < self.MAX_KNOWN and len(word) <= self.MAX_WORD:
                self._grams[word] = found
        return found


def hashes_of(words: Sequence[str]) -> np.ndarray:
    """Return Python's own hash of each word, int64: alike within one process only."""
    if native.hashes_of is not None and isinstance(words, list):
        return native.hashes_of(words)
    return np.fromiter(map(hash, words), np.int64, len(words))


def _keys_of(vocabulary: Vocabulary) -> np.ndarray:
    """Return the key of each word or pair of words, in the order of its index. Int64."""
    terms = [term.split(" ", 1) for term in vocabulary.index]
    first, last = hashes_of([term[0] for term in terms]), hashes_of([term[-1] for term in terms])
    pair = np.array([len(term) > 1 for term in terms], bool)
    return np.where(pair, _paired(first, last), first)


def _paired(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return a hash of each pair; products of 64 bits that overflow, on purpose."""
    return np.asarray(first * _ODD + second)


def _salt(start: int) -> int:
    """Return a number to be mixed into the keys of the vocabulary that begins at this column."""
    return start * 0x9E3779B97F4A7C1 & 0x7FFFFFFFFFFFFFFF


_TINY = 1e-300
_ODD = np.int64(0x5851F42D4C957F2D)
_NO_KEY = np.int64(-0x61C8864680B583EB)
_LOG_WEIGHTS = 1.0 + np.log(np.maximum(np.arange(MAX_CHARS + 2), 1))
"""Weight of a term that stands so many times in a text."""


class _HashTable:
    """Finds many keys at once, by open addressing.

    Args:
        keys: Int64, well mixed in their low bits. Shape (n,).
        values: What each stands for. Shape (n,).
    """

    ROOM = 4
    """Slots a key, at least."""

    def __init__(self, keys: np.ndarray, values: np.ndarray) -> None:
        self._mask = (1 << (self.ROOM * max(1, len(keys))).bit_length()) - 1
        home = keys & self._mask
        order = np.argsort(home, kind="stable")
        steps = np.arange(len(keys))
        # each key in the first free slot from its home on
        slot = np.maximum.accumulate(home[order] - steps) + steps
        most = int((slot - home[order]).max(initial=0)) + 1
        self._steps = np.arange(most)[:, None]
        self._keys = np.full(self._mask + 1 + most, _NO_KEY)
        self._values = np.zeros(len(self._keys), np.intp)
        self._keys[slot] = keys[order]
        self._values[slot] = values[order]

    def find_words(self, words: np.ndarray, salts: Sequence[np.int64]) -> np.ndarray:
        """Return the values of the words and pairs of words that are known, in no order: `find` compiled."""
        found = np.empty(2 * len(words) * len(salts), np.int64)
        count = native.find(
            self._keys,
            self._values,
            self._mask,
            len(self._steps),
            _NO_KEY,
            words,
            tuple(salts),
            found,
        )
        return found[:count]

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the values of the keys that are known, in no order."""
        slots = (keys & self._mask) + self._steps
        found: np.ndarray = self._values.take(slots[self._keys.take(slots) == keys])
        return found


def _counted(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different numbers, ascending, and how often each stands there; sorts in place."""
    numbers.sort()
    last = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=last[:-1])
    ends = last.nonzero()[0]
    before = np.empty(len(ends), np.intp)
    before[:1] = -1
    before[1:] = ends[:-1]
    return numbers.take(ends), ends - before
