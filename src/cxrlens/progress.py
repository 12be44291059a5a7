"""How long work says how far it is: how much of a stage is done, and what each epoch gave."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

Thing = TypeVar("Thing")

Progress = Callable[[int, int], object]
"""Called with how much is done and how much there is; what it raises ends the work."""

Stages = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch of a training gave; as text, one line with units.

    Attributes
    ----------
    number, of
        Which epoch, from 1, and how many there are.
    at_most
        Whether training may stop before them all.
    row
        What the run's ``history.csv`` says of it: ``train_`` and ``validation_`` of ``loss`` and
        ``accuracy``, the latter a share, the learning rate, ``seconds``.
    left
        Seconds that the epochs to come will take if they take as long as those that were.
    whose
        Which of several networks; empty for a run's only one.

    Examples
    --------
    >>> row = {"train_loss": 0.41, "train_accuracy": 0.84, "validation_loss": 0.5, "seconds": 31.0}
    >>> print(Epoch(2, 6, True, row | {"validation_accuracy": 0.8}, 124.0))  # doctest: +ELLIPSIS
    epoch 2 of at most 6: training loss 0.410, ... 31 s, at most 2 min left
    """

    number: int
    of: int
    at_most: bool
    row: Mapping[str, float]
    left: float
    whose: str = ""

    def __str__(self) -> str:
        """Return the line that a terminal or a log shows."""
        most = "at most " if self.at_most else ""
        said = [
            f"{words} loss {self.row[f'{part}_loss']:.3f}, "
            f"accuracy {100 * self.row[f'{part}_accuracy']:.1f}\u00a0%"
            for part, words in (("train", "training"), ("validation", "validation"))
        ]
        time = lasting(self.row["seconds"])
        if self.number < self.of:
            time += f", {most or 'about '}{lasting(self.left)} left"
        whose = f"{self.whose}: " if self.whose else ""
        return f"{whose}epoch {self.number} of {most}{self.of}: {'; '.join([*said, time])}"


OnEpoch = Callable[[Epoch], object]
"""Called after each epoch, once it is kept; what it raises ends training."""


def lasting(seconds: float) -> str:
    """Say how long something takes, in the unit that suits it.

    Examples
    --------
    >>> lasting(31.2), lasting(600), lasting(9000)
    ('31 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


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


def epochs_within(on_epoch: OnEpoch | None, name: str) -> OnEpoch | None:
    """Return a listener to epochs that says whose they are, as `within` does of stages."""
    if on_epoch is None:
        return None

    def told(epoch: Epoch) -> object:
        whose = f"{name}: {epoch.whose}" if epoch.whose else name
        return on_epoch(replace(epoch, whose=whose))

    return told


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


def counted(things: Iterable[Thing], count: int, progress: Progress | None) -> Iterator[Thing]:
    """Yield things, and say of each when it is worked off.

    Examples
    --------
    >>> heard = []
    >>> [*counted("ab", 2, lambda *said: heard.append(said))], heard
    (['a', 'b'], [(1, 2), (2, 2)])
    """
    for done, thing in enumerate(things, 1):
        yield thing
        if progress:
            progress(done, count)
