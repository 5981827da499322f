"""Schedules on this computer: times or new recordings, and a loop that starts the runs."""

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from types import FrameType
from typing import Protocol

from masd.errors import MasdError, one_line
from pipelines.local.process import Say, terminable

LOOK_EVERY_S = 15.0
FIRST_RETRY_S, LONGEST_RETRY_S = 60.0, 3600.0
"""Until a run that failed is tried again; each time twice as long as before."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Timetable(Protocol):
    """When to run: ``next_after`` returns the first time of the schedule after a given time."""

    text: str

    def next_after(self, moment: datetime) -> datetime: ...


class Every:
    """Times at a fixed interval, counted from 1970, so that all computers with this schedule have the same times."""

    def __init__(self, text: str) -> None:
        self.text, self.seconds = text, seconds(text)

    def next_after(self, moment: datetime) -> datetime:
        slot = (int(moment.timestamp()) // self.seconds + 1) * self.seconds
        return datetime.fromtimestamp(slot, UTC)


class Cron:
    """Times of a cron expression with five fields, in UTC."""

    def __init__(self, text: str) -> None:
        from cronsim import CronSim, CronSimError

        self.text = text
        try:
            if len(text.split()) != 5:
                raise CronSimError("not five fields")
            next(CronSim(text, datetime.now(UTC)))
        except (CronSimError, StopIteration) as error:
            why = str(error) or "that time never comes"
            raise MasdError(
                f"cron expression '{text}': {why}; expected minute hour day month weekday, as '*/30 * * * *'"
            ) from error

    def next_after(self, moment: datetime) -> datetime:
        from cronsim import CronSim

        return next(CronSim(self.text, moment))


def seconds(text: str) -> int:
    """``"90s"``, ``"30m"``, ``"6h"`` or ``"1d"`` in seconds.

    :raises MasdError: anything else.
    """
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None or int(found[1]) == 0:
        raise MasdError(f"'{text}' is not a duration; give 90s, 30m, 6h or 1d")
    return int(found[1]) * _UNITS[found[2]]


def keep(timetable: Timetable, run: Callable[[datetime], None], say: Say) -> None:
    """Call ``run(slot)`` at each time of the schedule, until SIGTERM. If a run fails, a message says so, and the next
    time is awaited; times that pass during a run are left out.
    """
    with _until_stopped() as stopped:
        while not stopped.is_set():
            slot = timetable.next_after(datetime.now(UTC))
            say(f"next run at {slot:%Y-%m-%d %H:%M:%S} UTC")
            while (left := (slot - datetime.now(UTC)) / timedelta(seconds=1)) > 0.0 and not stopped.wait(
                min(left, 60.0)
            ):
                pass  # in pieces, because the clock may be set
            if not stopped.is_set():
                _attempt(partial(run, slot), say)
    say("schedule stopped")


def watch(look: Callable[[], str], run: Callable[[], None], say: Say, every_s: float = LOOK_EVERY_S) -> None:
    """Call ``run`` when the result of ``look`` is new and was the same twice in a row, so that recordings that are
    still being copied are complete. This continues until SIGTERM; if a run fails, a message says so,
    and it is tried again later.
    """
    before: str | None = None
    handled: str | None = None
    tried: str | None = None
    wait_s, not_before = 0.0, 0.0
    say("watching for new recordings")
    with _until_stopped() as stopped:
        while not stopped.is_set():
            try:
                seen = look()
            except (MasdError, OSError) as error:
                seen = None
                say(f"masd: {one_line(error)}")
            due = seen != tried or time.monotonic() >= not_before
            if seen and seen == before and seen != handled and due:
                if _attempt(run, say):
                    handled, wait_s = seen, 0.0
                else:
                    wait_s = min(2 * wait_s, LONGEST_RETRY_S) if seen == tried else FIRST_RETRY_S
                    not_before = time.monotonic() + wait_s
                    say(f"the run is tried again in {wait_s:g} s")
                tried = seen
            before = seen
            stopped.wait(every_s)
    say("schedule stopped")


def _attempt(run: Callable[[], None], say: Say) -> bool:
    """Whether the run came to its end; why not is said."""
    try:
        with terminable():
            run()
    except (MasdError, OSError) as error:  # a full disk may be made room on
        say(f"masd: {one_line(error)}")
        return False
    return True


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """An event that SIGTERM sets. During a run SIGTERM ends the run and its tasks, and leaves the block."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield stopped
    except SystemExit:
        stopped.set()
    finally:
        signal.signal(signal.SIGTERM, previous)
