"""What a store counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Counters"]


@dataclass(slots=True)
class Counters:
    """Counters since the store was made. Every lookup is a hit or a miss, and perhaps more.

    Attributes:
        hits: Lookups that returned an entry.
        misses: Lookups that did not.
        expired: Misses that found an entry past its time.
        unreadable: Misses that found what is no entry of that key: damaged, of another schema, hostile.
        failures: What the store could not do: no place to write, no connection, no reply in time.
        puts: Entries kept.
        unstorable: Entries not kept because they cannot be written, or their time is over.
        too_large: Entries not kept because they are larger than the cache, or than it takes.
        evictions: Entries dropped to make room.
        outages: How often the store could not be used any more.
        set_aside: Damaged files that were renamed, and begun anew.
    """

    hits: int = 0
    misses: int = 0
    expired: int = 0
    unreadable: int = 0
    failures: int = 0
    puts: int = 0
    unstorable: int = 0
    too_large: int = 0
    evictions: int = 0
    outages: int = 0
    set_aside: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return them by name."""
        return asdict(self)
