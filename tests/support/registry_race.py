"""What several processes do to one registry at the same moment."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Barrier

from masd.errors import MasdError
from masd.registry.registry import Registry

_barrier: Barrier


def race(url: str, calls: Sequence[tuple[str, ...]]) -> list[str]:
    """Every call in a process of its own, all let go at once; what each returned, or its error."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(len(calls))
    with ProcessPoolExecutor(len(calls), context, initializer=_wait_for, initargs=(start,)) as pool:
        return list(pool.map(_call, [url] * len(calls), calls))


def _wait_for(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _call(url: str, call: tuple[str, ...]) -> str:
    registry = Registry.open(url)
    _barrier.wait(timeout=120)
    try:
        if call[0] == "register":
            return registry.register(Path(call[1]), metrics={}, reason="race")
        registry.promote(call[1], call[2], reason="race")
        return call[2]
    except MasdError as error:
        return f"error: {error}"
