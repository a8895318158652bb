"""One row through a LightGBM model in microseconds.

`Booster.predict` converts its input, sets up a predictor and asks OpenMP for threads on every call:
some 100 µs for one row. LightGBM's C API can do all that once and then only walk the trees.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

import lightgbm as lgb
import numpy as np

__all__ = ["FastBooster"]

_FLOAT64 = 1  # C_API_DTYPE_FLOAT64
_NORMAL, _RAW = 0, 1  # C_API_PREDICT_NORMAL, C_API_PREDICT_RAW_SCORE
_ALL_TREES = -1
_PARAMETERS = b"num_threads=1 verbosity=-1"


class FastBooster:
    """A LightGBM model of one output, for one row at a time on the calling thread.

    Safe to call from several threads: a lock guards the one buffer it has. Falls back to
    `Booster.predict` where the library has no single-row call (before LightGBM 3.0).

    Args:
        booster: The model; kept alive as long as this is.
        columns: Where its columns stand in the vector given to `predict_one`; None: the first ones,
            in order.
        raw: Whether to give the sum of leaves and not what the objective makes of it.

    Raises:
        ValueError: The model reads another number of columns.
    """

    def __init__(
        self, booster: lgb.Booster, columns: np.ndarray | None = None, *, raw: bool = False
    ) -> None:
        width = booster.num_feature()
        if columns is not None and len(columns) != width:
            raise ValueError(f"{len(columns)} columns given; the model reads {width}")
        self._booster = booster
        self._raw = raw
        self._columns = None if columns is None else np.asarray(columns, np.intp)
        self._row = np.zeros(width, np.float64)
        self._lock = threading.Lock()
        self._result = ctypes.c_double()
        self._length = ctypes.c_int64()
        self._config: ctypes.c_void_p | None = None
        library = _library()
        if library is not None:
            self._prepare(library)

    def predict_one(self, row: np.ndarray) -> float:
        """Return what the model says of one row.

        Args:
            row: Values, NaN where absent; float64. Its first, or the chosen, columns are read.
        """
        with self._lock:
            if self._columns is None:
                self._row[:] = row[: len(self._row)]
            else:
                row.take(self._columns, out=self._row)
            if self._config is None:
                slow = self._booster.predict(self._row[None], raw_score=self._raw, num_threads=1)
                return float(np.asarray(slow)[0])
            failed = self._call(self._config, self._data, self._out_length, self._out)
            if failed:
                raise RuntimeError(_library_error())
            return self._result.value

    def close(self) -> None:
        """Free what LightGBM holds for it; a later `predict_one` takes the slow way."""
        with self._lock:
            if self._config is not None:
                self._config = None
                self._free()

    def __enter__(self) -> FastBooster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _prepare(self, library: Any) -> None:
        config = ctypes.c_void_p()
        failed = library.LGBM_BoosterPredictForMatSingleRowFastInit(
            _handle(self._booster),
            ctypes.c_int(_RAW if self._raw else _NORMAL),
            ctypes.c_int(0),
            ctypes.c_int(_ALL_TREES),
            ctypes.c_int(_FLOAT64),
            ctypes.c_int32(len(self._row)),
            ctypes.c_char_p(_PARAMETERS),
            ctypes.byref(config),
        )
        if failed:
            return
        self._config = config
        self._call: Callable[..., int] = library.LGBM_BoosterPredictForMatSingleRowFast
        self._data = ctypes.c_void_p(self._row.ctypes.data)
        self._out_length = ctypes.byref(self._length)
        self._out = ctypes.byref(self._result)
        self._free = weakref.finalize(self, library.LGBM_FastConfigFree, config)


def _library() -> Any:
    """Return LightGBM's C library, or None if it lacks the single-row call."""
    library = getattr(lgb.basic, "_LIB", None)
    return library if hasattr(library, "LGBM_BoosterPredictForMatSingleRowFastInit") else None


def _library_error() -> str:
    last_error = _library().LGBM_GetLastError
    last_error.restype = ctypes.c_char_p
    return str(last_error().decode("utf-8", "replace"))


def _handle(booster: lgb.Booster) -> Any:
    return getattr(booster, "_handle", None) or getattr(booster, "handle")  # noqa: B009
