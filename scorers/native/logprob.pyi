import numpy as np

def doubles(values: list[float]) -> np.ndarray: ...
def chosen_values(
    chosen: np.ndarray,
    ordered: np.ndarray,
    half: float,
    tenth: float,
    quantiles: tuple[float, ...],
) -> tuple[float, ...]: ...
def top_values(
    logs: np.ndarray, chosen: np.ndarray, least: float, tie: float
) -> tuple[float, ...]: ...
