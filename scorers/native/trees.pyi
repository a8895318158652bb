import numpy as np

def rank_values(
    values: np.ndarray, missing: float, thresholds: np.ndarray, out: np.ndarray
) -> None: ...

class TreeRows:
    def __init__(
        self,
        ranked: int,
        split_rank: np.ndarray,
        split_most: np.ndarray,
        strikes: np.ndarray,
        tree_start: np.ndarray,
        model_start: np.ndarray,
        leaf_start: np.ndarray,
        leaves: np.ndarray,
    ) -> None: ...
    def __call__(self, ranks: np.ndarray, out: np.ndarray) -> None: ...
