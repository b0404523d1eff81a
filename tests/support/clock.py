"""A wall clock that a test moves, for a daemon in another process.

``python -m tests.support.clock FILE daemon --config ...`` runs the ``mailshaper``
command with ``time.time`` shifted by the seconds that FILE holds. Only the wall
clock is moved, as an administrator or NTP would move it; timers and timeouts go
by the monotonic clock and stay. But upkeep and the trickle, which look every half a
minute or so whether something is due by the wall clock, look every two seconds, so
that nobody waits for them.
"""

import mmap
import struct
import sys
import time
from pathlib import Path

_ROUND = 2.0  # seconds
_OFFSET = struct.Struct("d")


class SteppedClock:
    """The test's end: writes the offset."""

    def __init__(self, path: Path) -> None:
        """Begin with the right time."""
        self.path = path
        self.offset = 0.0
        path.write_bytes(_OFFSET.pack(0.0))

    def step(self, seconds: float) -> None:
        """Move the clock, back too."""
        self.offset += seconds
        with self.path.open("r+b") as file:
            file.write(_OFFSET.pack(self.offset))


def _shift(path: Path) -> None:
    real = time.time
    with path.open("rb") as file:
        shared = mmap.mmap(file.fileno(), _OFFSET.size, prot=mmap.PROT_READ)
    time.time = lambda: real() + float(_OFFSET.unpack(shared[: _OFFSET.size])[0])


def _look_often() -> None:
    # Imported only now: defaults of the product's functions hold the shifted clock.
    from shaper.engine import trickle  # noqa: PLC0415
    from shaper.engine.upkeep import Upkeep  # noqa: PLC0415

    trickle._LONGEST_SLEEP = _ROUND
    repeat = Upkeep._repeat
    Upkeep._repeat = lambda self, pause, work, stop: repeat(  # type: ignore[method-assign]
        self, min(pause, _ROUND), work, stop
    )


if __name__ == "__main__":
    _shift(Path(sys.argv.pop(1)))
    _look_often()
    from shaper.cli import main

    main()
