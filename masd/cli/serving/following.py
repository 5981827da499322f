"""Options of the commands that follow a registry and write an inference log: the server and the agent."""

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from masd.cli.common import names
from masd.cli.numbers import seconds
from masd.errors import MasdError
from masd.storage.opening import folder_of


def add_following(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--machines", type=names, metavar="A,B", help="only these machines of the registry (default: all in production)"
    )
    command.add_argument(
        "--poll", type=seconds, default=10.0, metavar="SECONDS", help="time between checks of the registry (default 10)"
    )
    command.add_argument("--log", metavar="URL", help="write the inference log there: a folder or s3://bucket/prefix")
    command.add_argument(
        "--log-spool",
        type=Path,
        metavar="DIR",
        help="folder on this computer for records that were not sent yet (default: spool in --log)",
    )


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """End at SIGTERM in the block, until something else is done with it: process 1 of a container ignores it else."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def following(options: argparse.Namespace) -> dict[str, Any]:
    """The values of the options of `add_following`, for the server and the agent."""
    return {
        "machines": options.machines,
        "poll_seconds": options.poll,
        "log_url": options.log,
        "log_folder": _spool(options),
    }


def _spool(options: argparse.Namespace) -> Path | None:
    """The folder in which the workers write: inside the log if that is a folder; a bucket needs ``--log-spool``."""
    if options.log_spool is not None and options.log is None:
        raise MasdError("--log-spool needs --log, the place that records are sent to")
    if options.log is None:
        return None
    if options.log_spool is not None:
        return Path(options.log_spool)
    if options.log.startswith("s3://"):
        raise MasdError(
            f"--log {options.log} needs --log-spool DIR: a folder for records that are not in the bucket yet"
        )
    from masd.drift.log_files import SPOOL

    return folder_of(options.log) / SPOOL
