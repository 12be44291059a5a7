"""How long work says how far it is."""

from collections.abc import Callable, Iterator

Progress = Callable[[int, int], object]
"""Called with how much is done and how much there is; what it raises ends the work."""

Stages = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is done, and how much there is."""


def stage(stages: Stages | None, name: str) -> Progress | None:
    """Return the progress of one stage; None where nobody listens.

    Examples
    --------
    >>> heard = []
    >>> stage(lambda *said: heard.append(said), "read films")(3, 8)
    >>> heard
    [('read films', 3, 8)]
    """
    return (lambda done, of: stages(name, done, of)) if stages else None


def within(stages: Stages | None, name: str) -> Stages | None:
    """Return stages that say whose they are: a member of a vote, a fold.

    Examples
    --------
    >>> heard = []
    >>> within(lambda *said: heard.append(said), "fold-1")("predict test", 1, 2)
    >>> heard
    [('fold-1: predict test', 1, 2)]
    """
    if stages is None:
        return None
    return lambda what, done, of: stages(f"{name}: {what}", done, of)


def in_batches(count: int, size: int, progress: Progress | None = None) -> Iterator[slice]:
    """Yield slices of at most `size` of `count` things, and say of each when it is worked off.

    Examples
    --------
    >>> [(part.start, part.stop) for part in in_batches(5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    for start in range(0, count, size):
        stop = min(start + size, count)
        yield slice(start, stop)
        if progress:
            progress(stop, count)
