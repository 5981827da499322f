"""Tasks as forks of one process that has imported the libraries: that takes longer than the work of many a step."""

import multiprocessing.util
import os
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

EXECUTOR = "kfp.dsl.executor_main"

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["pipelines.local.libraries"])


def prepare() -> None:
    """Make the folder of the sockets, which have short names only: before ``TMPDIR`` is one below a user's folder."""
    multiprocessing.util.get_temp_dir()


def run_task(full_command: Sequence[str], env_vars: dict[str, str] | None = None) -> int:
    """Run a component's command and print what it prints; returns its exit code.

    It stands in for ``kfp.local.subprocess_task_handler.run_local_subprocess``, which starts Python anew for each.
    ``full_command`` is a shell, its script, which hands the component's source to :data:`EXECUTOR`, the source, and the
    executor's arguments.
    """
    (script,) = (place for place, part in enumerate(full_command) if f"-m {EXECUTOR}" in part)
    source, *arguments = full_command[script + 1 :]
    receiver, sender = _forks.Pipe(duplex=False)
    process = _forks.Process(target=_execute, args=(source, arguments, {**os.environ, **(env_vars or {})}, sender))
    process.start()
    sender.close()
    with receiver, os.fdopen(receiver.fileno(), errors="replace", closefd=False) as lines:
        for line in lines:
            print(line, end="")
    process.join()
    return 1 if process.exitcode is None else process.exitcode


def _execute(source: str, arguments: list[str], environment: dict[str, str], output: Connection) -> None:
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    os.environ.update(environment)
    tempfile.tempdir = None  # that of the environment
    if "torch" in sys.modules and "OMP_NUM_THREADS" in environment:
        _use_threads(int(environment["OMP_NUM_THREADS"]))
    from kfp.dsl.executor_main import executor_main

    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, "ephemeral_component.py")
        module.write_text(source, encoding="utf-8")
        sys.argv = [EXECUTOR, "--component_module_path", str(module), *arguments]
        executor_main()


def _use_threads(count: int) -> None:
    """The libraries have read their variable already, in the process that this one is a fork of."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    threadpool_limits(count)
