"""When to try again: at once, then after waits that double."""

import time
from collections.abc import Hashable


class Patience:
    """Waits for each of many things, doubling with every failure.

    They are kept in memory: after a restart everything is tried at once, and waits begin anew.

    Parameters
    ----------
    first, longest
        Seconds after the first failure, and at most.
    """

    def __init__(self, first: float, longest: float = 300.0) -> None:
        self._first, self._longest = first, longest
        self._failures: dict[Hashable, int] = {}
        self._due: dict[Hashable, float] = {}

    def is_due(self, thing: Hashable) -> bool:
        """Tell whether its time has come."""
        return time.monotonic() >= self._due.get(thing, 0.0)

    def failed(self, thing: Hashable) -> tuple[int, float]:
        """Count a failure; return how many there are now, and the seconds until the next try."""
        count = self._failures.get(thing, 0) + 1
        wait = min(self._first * 2.0 ** min(count - 1, 32), self._longest)
        self._failures[thing], self._due[thing] = count, time.monotonic() + wait
        return count, wait

    def succeeded(self, thing: Hashable) -> None:
        """Forget its failures."""
        self._failures.pop(thing, None)
        self._due.pop(thing, None)

    def failures(self, thing: Hashable) -> int:
        """Say how often it failed since it last succeeded."""
        return self._failures.get(thing, 0)

    def waiting(self) -> set[Hashable]:
        """Name everything whose time has not come."""
        return {thing for thing in self._due if not self.is_due(thing)}
