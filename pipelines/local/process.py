"""Run a pipeline in its own process: one line of progress per step, everything else into a log file."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from components.step import StepLine
from masd.errors import MasdError
from masd.progress import MARK
from pipelines.local.containers import remove_containers


class StepsFailedError(MasdError):
    """A pipeline has failed; ``machines`` are those whose steps failed, none if it was a step of all machines."""

    def __init__(self, message: str, machines: frozenset[str]) -> None:
        super().__init__(message)
        self.machines = machines


Say = Callable[[str], None]
Runner = Literal["subprocess", "docker"]

LOG = "pipeline.log"
STEPS = "steps"
ORDER = "order.json"

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def working_folder(out: Path) -> Iterator[Path]:
    """The folder ``out/steps`` for the outputs of one run's tasks; it is kept if the run fails.

    :raises MasdError: another run is using ``out``, or it cannot be written.
    """
    steps = out / STEPS
    try:
        out.mkdir(parents=True, exist_ok=True)
        log = (out / LOG).open("a")
    except OSError as error:
        raise MasdError(f"{out}: cannot be written: {error.strerror}") from error
    with log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise MasdError(f"{out}: another run is writing there; wait for it or choose another folder") from error
        log.truncate(0)
        shutil.rmtree(steps, ignore_errors=True)  # of a run that failed
        (steps / "tmp").mkdir(parents=True)
        yield steps
        shutil.rmtree(steps)


def run_pipeline(order: dict[str, Any], steps: Path, say: Say) -> None:
    """Run a pipeline with :mod:`pipelines.local`, in the folder of :func:`working_folder`.

    :raises StepsFailedError: a step failed; the message names the step, the machine and the last output of the step.
    """
    if find_spec("kfp") is None:
        raise MasdError("pipelines need Kubeflow's SDK: pip install 'masd[pipelines]'")
    failed: list[StepLine] = []
    running: dict[str, StepLine] = {}
    last = "no reason was given"
    log_file = steps.parent / LOG
    (steps / ORDER).write_text(json.dumps(order), encoding="utf-8")
    with log_file.open("a", encoding="utf-8", buffering=1) as log, _process(steps, order["runner"]) as process:
        for raw in process.stdout or ():
            plain = _COLOUR.sub("", raw)
            log.write(plain)
            last = plain.strip() or last
            _, mark, text = plain.strip().partition(MARK)
            if not mark:
                continue
            line = StepLine.read(text)
            if line is None:
                say(f"    {text}")
                continue
            say(str(line))
            if line.state == "started":
                running[line.subject] = line
            else:
                running.pop(line.subject, None)
            if line.state == "failed":
                failed.append(line)
        code = process.wait()
    where = f"the steps so far are in {steps}, the log in {log_file}"
    if failed:
        others = f" (and {len(failed) - 1} more, see the log)" if len(failed) > 1 else ""
        raise StepsFailedError(f"{failed[0]}{others}; {where}", _machines([*failed, *running.values()]))
    if running:  # whatever the runner says of them
        why = "ended without an error message (killed, or out of memory?)"
        raise StepsFailedError(f"{' and '.join(running)} {why}; {where}", _machines(running.values()))
    if code != 0:
        raise StepsFailedError(f"the pipeline failed: {last}; {where}", frozenset())


def _machines(lines: Iterable[StepLine]) -> frozenset[str]:
    """None where a line is of a step of all machines."""
    machines = {line.machine for line in lines}
    return frozenset() if machines & {"", "the fleet"} else frozenset(machines)


@contextmanager
def _process(steps: Path, runner: Runner) -> Iterator[subprocess.Popen[str]]:
    """Start the process in a group with its tasks, so that all of them end when the run is stopped."""
    with tempfile.TemporaryDirectory() as sockets:  # here, as the process may be killed before it removes any
        # In a folder of its own: python -m looks there first, and users have folders named components.
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.local", ORDER],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=steps,
            env={**os.environ, "TMPDIR": sockets, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        try:
            with terminable():
                yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                if runner == "docker":
                    remove_containers(steps)


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into an exit that runs ``finally`` blocks; otherwise the tasks would keep running."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    previous = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
