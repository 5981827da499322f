"""What shared workers are made of, without TorchServe: turns, output, launcher, and processes that are kept alive."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from serving.health.workers import Worker
from serving.torchserve.shared import MARK, launcher, pool
from serving.torchserve.shared.output import ThreadOutput
from serving.torchserve.shared.pool import SharedWorkers
from serving.torchserve.shared.turns import Turns

ENGINE = """
import socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    caller, _ = listener.accept()
    caller.recv(4096)
    caller.sendall(b"0 0\\n")
"""


def _wait(what: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_has_the_turn_at_a_time() -> None:
    turns, inside, most = Turns(), [0], [0]

    def work() -> None:
        for _ in range(20):
            with turns.turn():
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_who_keeps_the_turn_for_ever_keeps_nobody_else_waiting_for_long() -> None:
    turns, forever, done = Turns(longest_seconds=0.2), threading.Event(), []

    def hang() -> None:
        with turns.turn():
            forever.wait()

    def work() -> None:
        with turns.turn():
            done.append(time.monotonic())

    threading.Thread(target=hang, daemon=True).start()
    time.sleep(0.05)
    begin = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert len(done) == 5
    assert max(done) - begin < 5.0
    forever.set()


def test_each_thread_logs_to_the_output_that_it_was_given() -> None:
    output, logger = ThreadOutput(), logging.getLogger("test of shared output")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(output)
    pipes = {name: (os.pipe(), os.pipe()) for name in ("W-9000", "W-9001")}

    def work(name: str) -> None:
        (_, out), (_, err) = pipes[name]
        output.bind(out, err, name)
        logger.info("%s says", name)
        logger.warning("%s warns", name)
        output.unbind()

    threads = [threading.Thread(target=work, args=(name,)) for name in pipes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logger.removeHandler(output)
    for name, ((out, _), (err, _)) in pipes.items():
        assert os.read(out, 1000).decode() == f"{name} says\n{name} warns\n"
        assert os.read(err, 1000).decode() == f"{name} warns\n"
    for file in (file for pair in pipes.values() for pipe in pair for file in pipe):
        os.close(file)


def test_the_lines_of_a_batch_are_written_at_once_and_warnings_without_delay() -> None:
    with ThreadPoolExecutor(1) as pool:  # the thread gets a name
        pool.submit(_log_in_batches).result()


def _log_in_batches() -> None:
    output, logger = ThreadOutput(), logging.getLogger("test of gathered output")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(output)
    ends = [os.pipe() for _ in range(2)]
    output.bind(ends[0][1], ends[1][1], "W-gathered")
    os.set_blocking(ends[0][0], False)
    with output.gathered():
        logger.info("one")
        logger.info("two")
        with pytest.raises(BlockingIOError):
            os.read(ends[0][0], 100)
        logger.warning("three")
        assert os.read(ends[0][0], 100) == b"one\ntwo\nthree\n"
        assert os.read(ends[1][0], 100) == b"three\n"
        logger.info("four")
    assert os.read(ends[0][0], 100) == b"four\n"
    with output.gathered(), pytest.raises(ValueError, match="fails"):
        logger.info("five")
        raise ValueError("it fails")
    logger.info("six")
    assert os.read(ends[0][0], 100) == b"five\nsix\n"
    logger.removeHandler(output)
    for end in (*ends[0], *ends[1]):
        os.close(end)


def test_a_threads_work_is_told_from_that_of_its_process() -> None:
    output, ended = ThreadOutput(), threading.Event()
    pipe = os.pipe()

    def idle() -> None:
        output.bind(pipe[1], pipe[1], "W-9100")
        ended.wait()

    threading.Thread(target=idle, daemon=True).start()
    _wait(lambda: Worker(os.getpid(), "W-9100").shared)  # a new one each time: it looks once
    thread = Worker(os.getpid(), "W-9100")
    begin = time.process_time()
    before, own = thread.seconds(), Worker(os.getpid()).seconds()
    while time.process_time() - begin < 1.0:
        pass
    assert before is not None and own is not None
    assert (thread.seconds() or 0.0) - before < 0.05
    assert (Worker(os.getpid()).seconds() or 0.0) - own > 0.1
    assert not Worker(os.getpid(), "W-1").shared
    ended.set()


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedWorkers]:
    monkeypatch.setattr(pool, "COMMAND", (sys.executable, "-S", "-c", ENGINE))
    (tmp_path / "s").mkdir(mode=0o700)
    started = SharedWorkers(tmp_path / "s", 2, tmp_path / "metrics.yaml", os.environ)
    yield started
    started.stop()
    assert started.pids == ()


def test_a_process_that_ends_or_is_stopped_is_replaced(workers: SharedWorkers) -> None:
    first, second = workers.pids
    workers.step()
    assert workers.end(first)
    _wait(lambda: first not in workers.pids)
    workers.step()
    _wait(lambda: len(workers.pids) == 2)
    assert not workers.end(os.getpid())
    os.kill(second, signal.SIGSTOP)

    def replaced() -> bool:
        workers.step()
        return len(workers.pids) == 2 and second not in workers.pids

    _wait(replaced)
    assert not psutil.pid_exists(second) or psutil.Process(second).status() == psutil.STATUS_ZOMBIE


def test_the_launcher_starts_what_torchserve_wanted_for_an_archive_with_code(
    workers: SharedWorkers, tmp_path: Path
) -> None:
    said = subprocess.run(
        [workers.launcher, "-c", "import sys; print(sys.prefix, sys.argv[1])", "argument"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == [sys.prefix, "argument"]


def test_the_launcher_hands_over_to_who_has_the_fewest_workers_of_the_version(tmp_path: Path) -> None:
    (tmp_path / MARK).touch()
    folder = tmp_path / "shared"
    folder.mkdir()
    listeners = []
    for name in ("0", "1", "2"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / name))
        listener.listen()
        listeners.append(listener)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", launcher.__file__, folder, sys.executable, "x.py", "--sock-name", "w.9001"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    )
    callers = [listener.accept()[0] for listener in listeners]
    for caller, counts in zip(callers, (b"1 4\n", b"0 9\n", b"0 7\n"), strict=True):
        assert caller.recv(4096) == f"count\n{tmp_path}\n".encode()
        caller.sendall(counts)
    message, (inner, out, err), _, _ = socket.recv_fds(callers[2], 4096, 3)
    assert message == f"serve\n{tmp_path}\nw.9001".encode()
    callers[2].sendall(b"yes\n")
    os.write(out, b"said by another process\n")
    with socket.socket(socket.AF_UNIX) as client, socket.socket(fileno=inner) as listener:
        client.connect(str(tmp_path / "w.9001"))
        listener.accept()[0].close()
    for file in (out, err):
        os.close(file)
    assert process.stdout is not None and process.stdout.readline() == b"said by another process\n"
    assert process.poll() is None
    callers[2].close()  # without a goodbye
    assert process.wait(10.0) == -signal.SIGKILL
    for opened in (*callers, *listeners):
        opened.close()
