"""Numbers on the command line, each checked before any work: a wrong one is a usage error (exit code 2) in one line."""

import argparse
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

MAX_COUNT = 10**9
MAX_SECONDS = 366 * 86_400.0
MAX_SEED = 2**32 - 1
"""As far as scikit-learn takes one."""


def finite(text: str) -> float:
    """A number that is neither NaN nor infinite, for ``--threshold``."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a finite number, not {text[:60]!r}")
    return number


def seconds(text: str) -> float:
    """A length of time above 0, of a year at most."""
    number = finite(text)
    if not 0 < number <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"expected seconds above 0 and up to a year, not {text[:60]!r}")
    return number


def time_since(text: str) -> str:
    """A moment, as the log writes times: ISO 8601 in UTC, or how long ago it was: ``90m``, ``24h`` or ``7d``."""
    try:
        if ago := re.fullmatch(r"(\d{1,5})([mhd])", text):
            moment = datetime.now(UTC) - timedelta(minutes=int(ago[1]) * {"m": 1, "h": 60, "d": 1440}[ago[2]])
        else:
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"expected a time like 2026-01-31T06:00 (UTC) or 90m, 24h, 7d, not {text[:60]!r}"
        ) from error
    return moment.isoformat(timespec="milliseconds")


def whole(least: int, most: int) -> Callable[[str], int]:
    """The type of whole numbers from ``least`` to ``most``."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, not {text[:60]!r}")
        return number

    return parse


port = whole(0, 65_535)
count = whole(1, MAX_COUNT)
none_or_more = whole(0, MAX_COUNT)
seed = whole(0, MAX_SEED)


def rate(text: str) -> float:
    """``"1/10000"`` or ``"0.0001"`` -> 0.0001, for ``--false-alarms``."""
    above, slash, below = text.partition("/")
    try:
        found = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        found = 0.0
    if not 0.0 < found <= 0.01:
        raise argparse.ArgumentTypeError(f"{text}: expected false alarms per clip, such as 1/10000, at most 1/100")
    return found
