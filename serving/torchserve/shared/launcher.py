"""What TorchServe starts in a worker's place: hands its socket and its output to a shared process, then only waits.

It runs for every worker of every machine, so it imports nothing but the standard library, and in the end it becomes a
shell that waits: TorchServe takes the end of this process for the end of the worker, and the other way round.
"""

import fcntl
import os
import socket
import sys
import time

MARK = "shared-worker"
SECONDS = 60.0
"""For a shared process to say how many workers it has. One that is starting is waited for: else the machines of one
that has ended would all come to the others."""

WAIT = "read word || kill -9 $$"
"""Ends by itself after a goodbye. Without one the shared process has died, and TorchServe shall see a killed worker."""


def main() -> None:
    """``launcher.py FOLDER PYTHON ARGUMENT...``: the folder with the sockets, and what TorchServe wanted to start."""
    folder, python, *arguments = sys.argv[1:]
    if not os.path.exists(MARK):  # noqa: PTH110  pathlib takes as long to import as everything else here
        os.execv(python, [python, *arguments])  # noqa: S606
    name = arguments[arguments.index("--sock-name") + 1]
    # until this process is a shell, so that two workers of one version come to two processes
    fcntl.flock(os.open(MARK, os.O_RDONLY), fcntl.LOCK_EX)
    engine = _choose(folder, int(name.rpartition(".")[2]))
    with socket.socket(socket.AF_UNIX) as listener:
        if os.path.exists(name):  # noqa: PTH110
            os.unlink(name)  # noqa: PTH108
        listener.bind(name)
        listener.listen(1)
        socket.send_fds(engine, [f"serve\n{os.getcwd()}\n{name}".encode()], [listener.fileno(), 1, 2])  # noqa: PTH109
        if engine.recv(4) != b"yes\n":
            sys.exit("masd: the shared worker has ended")
    engine.setblocking(True)  # for the shell, which shares it
    os.dup2(engine.fileno(), 0)
    os.execv("/bin/sh", ["sh", "-c", WAIT])  # noqa: S606


def _choose(folder: str, number: int) -> socket.socket:
    """A connection to the shared process that has the fewest workers of this version, then the fewest in all.

    Where it is all the same, worker ``number`` comes to another one than the worker before it.
    """
    deadline = time.monotonic() + SECONDS
    asked = []
    for name in sorted(os.listdir(folder)):  # noqa: PTH208
        engine = socket.socket(socket.AF_UNIX)
        try:
            engine.connect(f"{folder}/{name}")
            engine.sendall(f"count\n{os.getcwd()}\n".encode())  # noqa: PTH109
        except OSError:
            continue
        asked.append(engine)
    answered = []
    for place, engine in enumerate(asked):
        engine.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            counts = [int(number) for number in engine.recv(64).split()]
        except OSError:
            continue
        if counts:
            answered.append((counts, (place - number) % len(asked), engine))
    if not answered:
        sys.exit("masd: no shared worker answers")
    counts, _, chosen = min(answered)
    if counts[0] and len(answered) < len(asked):  # it is served; TorchServe tries again
        sys.exit("masd: a shared process does not answer; TorchServe tries again")
    chosen.settimeout(SECONDS)
    return chosen


if __name__ == "__main__":
    main()
