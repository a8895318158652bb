from collections.abc import Sequence

import numpy as np

class TextWeights:
    def __init__(
        self,
        starts: np.ndarray,
        tables: Sequence[np.ndarray],
        places: np.ndarray,
        bias: np.ndarray,
        idf: np.ndarray,
        log_weights: np.ndarray,
    ) -> None: ...
    def __call__(self, columns: np.ndarray) -> np.ndarray: ...

def find(
    keys: np.ndarray,
    values: np.ndarray,
    mask: int,
    most: int,
    no_key: int | np.int64,
    words: np.ndarray,
    salts: tuple[np.int64, ...],
    out: np.ndarray,
) -> int: ...
