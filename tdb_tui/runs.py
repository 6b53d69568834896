"""Recent runs and what has been read from them, kept within a bound in bytes."""

from collections import OrderedDict
from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import TypeVar

from model.trace import Trace, bytes_of
from tdb_tui.machine.memory import give_back_freed
from tdb_tui.measurements import Measurements
from tdb_tui.readings import Reading

CACHE_BYTES = 672 << 20
"""Three runs of GPT-2 small at 512 tokens, 206 MB each, and some of what has been read from them: with edits, without,
and prompt B.  The session holds these in any case, so that keeping fewer would only mean to run them again."""
READINGS = 16
VALUES = 4096

Kept = TypeVar("Kept")


class Runs:
    """Each by what decides it, the one asked about last at the end."""

    def __init__(self, most: int = CACHE_BYTES) -> None:
        """`most` bytes are kept, but one run in any case."""
        self._most = most
        self.traces: OrderedDict[object, Trace] = OrderedDict()
        self.readings: OrderedDict[object, Reading] = OrderedDict()
        self.measurements = Measurements()
        self.values: OrderedDict[object, float] = OrderedDict()
        "Metrics of inputs of which no more is kept."
        self._staying: Set[object] | None = None
        "Runs and readings that stay longest, being those of the session; None where all are."

    @property
    def nbytes(self) -> int:
        """What runs and what has been read from them hold: bounded, however long the session."""
        return bytes_of(self.traces.values()) + sum(each.nbytes for each in self.readings.values())

    def make_room(self, coming: int = 0) -> None:
        """Forget what was asked about longest ago until there is room for `coming` bytes more.

        Rows first, which are soon made again from a run, and then runs.
        """
        if self._fits(coming):
            return
        for reading in self.readings.values():
            if not self._fits(coming):
                reading.shed()  # whoever shows it holds it all the same
        while len(self.traces) > 1 and not self._fits(coming):
            gone = self.traces.pop(self._first_to_go(self.traces, but_last=not coming))
            # what was read from it would hold it
            for reading in [key for key, reading in self.readings.items() if reading.trace is gone]:
                del self.readings[reading]
        give_back_freed()

    def _fits(self, coming: int) -> bool:
        return self.nbytes + coming <= self._most

    def size_of(self, length: int) -> int:
        """Bytes that a run of so many tokens takes, by those there are; 0 for the first."""
        sizes = (trace.nbytes * length // len(trace.tokens) for trace in self.traces.values())
        return max(sizes, default=0)

    def used(self, run: object, reading: object) -> Reading:
        """A reading and its run, asked about last now; the oldest readings go."""
        self.traces.move_to_end(run)
        self.readings.move_to_end(reading)
        while len(self.readings) > READINGS:
            del self.readings[self._first_to_go(self.readings)]
        return self.readings[reading]

    def _first_to_go(self, kept: OrderedDict[object, Kept], but_last: bool = True) -> object:
        """The oldest that does not stay, or the oldest; not the one that was asked about last, unless it may be."""
        keys = list(kept)[: -1 if but_last else None]
        passing = (key for key in keys if self._staying is not None and key not in self._staying)
        return next(passing, keys[0])

    def keep_value(self, key: object, value: float) -> float:
        self.values[key] = value
        while len(self.values) > VALUES:
            self.values.popitem(last=False)
        return value

    @contextmanager
    def unkept(self) -> Iterator[None]:
        """What is run inside is forgotten at the end of the block, and first where there is no room for all.

        What was kept before stays where there is room for it beside one run, and is counted all the time.
        """
        all_of = self.traces, self.readings, self.values
        before = [set(kept) for kept in all_of]
        measurements, self.measurements = self.measurements, Measurements()
        outer, self._staying = self._staying, before[0] | before[1]
        try:
            yield
        finally:
            self.measurements, self._staying = measurements, outer
            for kept, keys in zip(all_of, before, strict=True):
                for key in [key for key in kept if key not in keys]:
                    del kept[key]

    def forget(self) -> None:
        """Drop all."""
        self.traces.clear()
        self.readings.clear()
        self.measurements.clear()
        self.values.clear()
