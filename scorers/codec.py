"""Turn fitted values into JSON + npz + LightGBM text and back: no pickle, only the classes registered here can be built.

A loaded file cannot run code: JSON names a class from ``CLASSES`` and exactly its fields; arrays are
read with ``allow_pickle=False``, after their sizes have been added up; LightGBM's text is checked
tree by tree before LightGBM sees it (`trees`); what was read must fit together (`sound`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from cascade.errors import ScorerError

from .calibrate import Calibration
from .heads import HeadSet
from .judges import Judge, PairScorer
from .labels import LabelSet
from .linear_head import ColumnMap, LinearHead
from .sound import check
from .stack import Stack
from .states import StateModel
from .text_head import TextAxes, TextHead, Vocabulary
from .trees import check_trees

__all__ = ["CLASSES", "load_fitted", "save_fitted"]

CLASSES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(Calibration, ColumnMap, HeadSet, Judge, LabelSet, LinearHead, PairScorer, Stack),
        *(StateModel, TextAxes, TextHead, Vocabulary),
    )
}
MODEL, ARRAYS = "model.json", "arrays.npz"
MAX_BYTES = 4 << 30
"""Of all arrays together, once unpacked."""
MAX_JSON_BYTES = 1 << 30
MAX_WHOLE = 1 << 53
"""Integers beyond it are not numbers of a model."""

_TREE = re.compile(r"tree_\d{1,6}\.txt")
_END_OF_TREES = "end of trees\n"
_BROKEN = (
    *(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError),
    *(RecursionError, MemoryError, EOFError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lgb.basic.LightGBMError),
)
"""What reading a file that was damaged, or made to do harm, can raise."""


def save_fitted(value: Any, folder: Path) -> None:
    """Write a value as ``model.json``, ``arrays.npz`` and ``tree_*.txt`` into ``folder``.

    Arrays and vocabularies of the same content are written once, and shared once loaded.

    Args:
        value: Registered dataclasses, arrays, boosters, numbers, strings, None, and lists, tuples
            and dicts of these; keys are strings, or tuples of numbers and strings.
        folder: Made if it is not there.

    Raises:
        TypeError: It holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = _Encoder()
    top = encoder.encode(value)
    text = json.dumps({"shared": encoder.shared, "value": top}, separators=(",", ":"))
    (folder / MODEL).write_text(text, encoding="utf-8")
    with zipfile.ZipFile(folder / ARRAYS, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in encoder.arrays.items():
            # a fixed date: the same model gives the same bytes
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    for i, tree in enumerate(encoder.trees):
        (folder / f"tree_{i}.txt").write_text(tree, encoding="utf-8")


class _Encoder:
    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.trees: list[str] = []
        self.shared: list[Any] = []
        self._array_names: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._vocabularies: dict[Any, int] = {}

    def encode(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, np.ndarray):
            return {"$array": self._array(value)}
        if isinstance(value, lgb.Booster):
            self.trees.append(value.model_to_string())
            return {"$tree": f"tree_{len(self.trees) - 1}.txt"}
        if isinstance(value, tuple | list):
            return {"$tuple": [self.encode(x) for x in value]}
        if isinstance(value, dict):
            if all(isinstance(key, str) for key in value):
                return {"$dict": [[key, self.encode(x)] for key, x in value.items()]}
            return {"$pairs": [[list(key), self.encode(x)] for key, x in value.items()]}
        if isinstance(value, Vocabulary):
            return {"$shared": self._vocabulary(value)}
        return self._fields(value)

    def _fields(self, value: Any) -> dict[str, Any]:
        kind = type(value)
        if CLASSES.get(kind.__name__) is not kind:
            raise TypeError(f"{kind.__name__} is not a class this codec writes")
        fields = dataclasses.fields(kind)
        return {
            "$class": kind.__name__,
            "fields": {field.name: self.encode(getattr(value, field.name)) for field in fields},
        }

    def _array(self, array: np.ndarray) -> str:
        if array.dtype.hasobject:
            raise TypeError("an array of objects is not written")
        key = (array.dtype.str, array.shape, array.tobytes())
        name = self._array_names.setdefault(key, f"a{len(self._array_names)}")
        self.arrays.setdefault(name, array)
        return name

    def _vocabulary(self, vocabulary: Vocabulary) -> int:
        key = (vocabulary.chars, tuple(vocabulary.index.items()), vocabulary.idf.tobytes())
        if key not in self._vocabularies:
            self._vocabularies[key] = len(self.shared)
            self.shared.append(self._fields(vocabulary))
        return self._vocabularies[key]


def load_fitted(folder: Path) -> Any:
    """Read what ``save_fitted`` wrote.

    Raises:
        ScorerError: A file is missing or damaged, or holds an unknown class, another field, a
            number that none can be, or parts that do not fit together; names the file or class.
    """
    try:
        return _Decoder(folder).value()
    except FileNotFoundError as exc:
        raise ScorerError(f"{folder}: {Path(exc.filename or '').name} is missing") from exc
    except _BROKEN as exc:
        reason = str(exc) or type(exc).__name__
        raise ScorerError(f"{folder} cannot be read: {reason[:300]}") from exc


class _Decoder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if (folder / MODEL).stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"{MODEL} is larger than {MAX_JSON_BYTES >> 20} MB")
        data = json.loads((folder / MODEL).read_bytes(), parse_constant=_no_constant)
        if not isinstance(data, dict) or set(data) != {"shared", "value"}:
            raise ValueError(f"{MODEL} does not hold shared parts and a value")
        self._data = data
        self._arrays = _read_arrays(folder / ARRAYS)
        self._shared: list[Any] = []

    def value(self) -> Any:
        for part in self._data["shared"]:
            self._shared.append(self._decode(part))
        return self._decode(self._data["value"])

    def _decode(self, value: Any) -> Any:
        if isinstance(value, dict):
            if "$class" in value:
                return self._build(value)
            if len(value) != 1:
                raise ValueError(f"{sorted(value)[:5]} given where one part was expected")
            ((kind, content),) = value.items()
            return self._part(kind, content)
        if isinstance(value, list):
            raise TypeError("a bare list is not a part of a model")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("a number is infinite")
        if isinstance(value, int) and abs(value) > MAX_WHOLE:
            raise ValueError("an integer is beyond 2^53")
        return value

    def _part(self, kind: str, content: Any) -> Any:
        if kind == "$array":
            return self._arrays[content]
        if kind == "$tree":
            return self._tree(content)
        if kind == "$tuple":
            return tuple(self._decode(x) for x in content)
        if kind == "$dict":
            return {_text(key): self._decode(x) for key, x in content}
        if kind == "$pairs":
            return {tuple(self._decode(k) for k in key): self._decode(x) for key, x in content}
        if kind == "$shared":
            if not isinstance(content, int) or not 0 <= content < len(self._shared):
                raise ValueError(f"shared part {content!r} is not there")
            return self._shared[content]
        raise ValueError(f"part {kind[:40]!r} is not known")

    def _build(self, value: dict[str, Any]) -> Any:
        name, fields = value["$class"], value.get("fields")
        kind = CLASSES.get(name) if isinstance(name, str) else None
        if kind is None:
            raise ValueError(f"class {str(name)[:40]!r}: allowed are {', '.join(sorted(CLASSES))}")
        names = {field.name for field in dataclasses.fields(kind)}
        if not isinstance(fields, dict) or set(fields) != names or len(value) != 2:
            given = sorted(fields) if isinstance(fields, dict) else fields
            raise ValueError(f"{name}: fields {given} given, {sorted(names)} expected")
        built = kind(**{field: self._decode(x) for field, x in fields.items()})
        check(built)
        return built

    def _tree(self, name: Any) -> lgb.Booster:
        if not isinstance(name, str) or not _TREE.fullmatch(name):
            raise ValueError(f"tree file {str(name)[:40]!r}: expected tree_<number>.txt")
        text = (self._folder / name).read_text(encoding="utf-8")
        try:
            check_trees(text)
        except ValueError as exc:
            raise ValueError(f"{name}: {exc}") from exc
        # what follows the trees (importances, parameters) does not matter and was not checked
        checked = text[: text.index(_END_OF_TREES) + len(_END_OF_TREES)]
        return lgb.Booster(model_str=checked)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of a model")


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"key {key!r} is not a string")
    return key


def _read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Read every array, after a look at how much that will be."""
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MAX_BYTES:
        raise ValueError(f"{file.name} would take {size / 2**30:.1f} GB; at most 4 GB are read")
    with np.load(file, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{file.name}: {name[:40]} is not an array")
    return found
