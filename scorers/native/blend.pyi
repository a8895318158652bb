from typing import Any

import numpy as np

def map_values(
    values: np.ndarray,
    knots: np.ndarray,
    scores: np.ndarray,
    rise: np.ndarray,
    out: np.ndarray,
) -> None: ...

class BlendRow:
    def __init__(self, width: int, parts: dict[str, Any]) -> None: ...
    def one(self, x: np.ndarray, texts: np.ndarray, out: np.ndarray) -> None: ...
