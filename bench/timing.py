"""Alternate between the variants to measure: if the computer is busy, all slow down alike, and their ratios hold."""

import statistics
import time
from collections.abc import Callable

ROUNDS = 15


def seconds(work: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """How long ``work`` takes, ``rounds`` times, after one that is not counted."""
    return by_turns({"": work}, rounds)[""]


def by_turns(variants: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """The same for several, one call of each a round."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, work in variants.items():
            start = time.perf_counter()
            work()
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def line(name: str, times: list[float], note: str = "") -> None:
    """Median, smallest and largest in milliseconds."""
    low, middle, high = min(times) * 1e3, statistics.median(times) * 1e3, max(times) * 1e3
    print(f"{name:45} {middle:9.2f} ms  ({low:.2f} .. {high:.2f})  {note}".rstrip(), flush=True)
