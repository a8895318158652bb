from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

def blanked(text: bytes) -> bytes: ...
def check_equations(
    text: bytes,
    known: AbstractSet[float],
    trivial: AbstractSet[float],
    window: int,
    most: int,
    others: Callable[[int, int, int], tuple[Sequence[float], float, float, bool] | None],
) -> tuple[list[float], int, int, int, bool, float]: ...
