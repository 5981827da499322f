"""A process that is the worker of many machines: for TorchServe each of its threads is one worker.

``python -m serving.torchserve.shared.engine LISTENER METRICS``: the number of a listening socket, and TorchServe's
metrics file. A launcher asks how many workers there are, and may then hand over a socket and its output. A thread waits
at that socket for TorchServe, and speaks its protocol from then on. Nothing that hangs or fails there stops another
thread.
"""

import copy
import json
import logging
import os
import socket
import sys
import threading
from collections import Counter
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from masd.errors import one_line
from serving.torchserve.shared.bundles import Bundles, give_back_memory
from serving.torchserve.shared.output import ThreadOutput
from serving.torchserve.shared.turns import Turns
from serving.worker.handler import LOAD_FAILED, ScoringHandler

ACCEPT_SECONDS = 30.0
"""For TorchServe to connect, as its own worker has."""

RECEIVED_BYTES = 1 << 16
"""Read from TorchServe at a time."""

LARGE_BYTES = 4 << 20
"""Requests with more are long recordings: they take no turn, as others would wait for all of it."""

logger = logging.getLogger(__name__)


class Engine:
    """All workers of one process."""

    def __init__(self, metrics_file: Path, output: ThreadOutput) -> None:
        self._metrics_file = metrics_file
        self._metrics: Any = None
        self._output = output
        self._bundles = Bundles()
        self._scoring = Turns()
        self._lock = threading.Lock()
        self._workers: Counter[str] = Counter()

    def listen(self, listener: socket.socket) -> None:
        """Greet every launcher, for ever."""
        while True:
            caller, _ = listener.accept()
            threading.Thread(target=self._greet, args=(caller,), daemon=True).start()

    def _greet(self, caller: socket.socket) -> None:
        with caller, suppress(OSError):
            while True:
                message, files, _, _ = socket.recv_fds(caller, 4096, 3)
                word, _, rest = message.decode("utf-8", "surrogateescape").partition("\n")
                if word == "count":
                    folder = rest.rstrip("\n")
                    caller.sendall(f"{self._workers[folder]} {self._workers.total()}\n".encode())
                elif word == "serve" and len(files) == 3:
                    folder, _, name = rest.partition("\n")
                    with self._counted(folder):
                        caller.sendall(b"yes\n")
                        self._work(Path(folder), name, files)
                    caller.sendall(b"bye\n")
                    give_back_memory()
                    return
                else:
                    return

    def _work(self, folder: Path, name: str, files: list[int]) -> None:
        """Be the worker of one version until TorchServe ends it."""
        with ExitStack() as open_files:
            number, out, err = files
            for file in (out, err):
                open_files.callback(os.close, file)
            listener = open_files.enter_context(socket.socket(fileno=number))
            self._output.bind(out, err, f"W-{name.rpartition('.')[2]}")
            try:
                self._output.line(f"[PID]{os.getpid()}")
                self._output.line("Torch worker started.")
                listener.settimeout(ACCEPT_SECONDS)
                connection, _ = listener.accept()
                Path(name).unlink(missing_ok=True)  # now, as another worker may soon have this name
                connection.settimeout(None)
                with connection:
                    self._converse(connection, folder)
            except SystemExit:
                pass  # TorchServe's reader says so that the other end is closed
            except Exception:
                logger.exception("Backend worker process died.")  # the words of TorchServe's own worker
            finally:
                self._output.unbind()

    def _converse(self, connection: socket.socket, folder: Path) -> None:
        from ts.protocol.otf_message_handler import create_load_model_response, retrieve_msg

        service: Any = None
        handler = ScoringHandler()
        with ExitStack() as loaded:
            # TorchServe's code reads each number of a message by itself: some fifty calls of the kernel for a clip
            received = loaded.enter_context(connection.makefile("rb", RECEIVED_BYTES))
            # in pieces, as a whole hour in one piece would be in memory twice
            buffered = SimpleNamespace(recv=lambda size: received.read(min(size, RECEIVED_BYTES)))
            while True:
                command, message = retrieve_msg(buffered)
                if command == b"L":
                    service = self._load(message, folder, handler, loaded)
                    service.set_cl_socket(connection)
                    connection.sendall(create_load_model_response(200, f"loaded model {service.context.model_name}"))
                    continue
                with self._output.gathered():
                    with nullcontext() if _size(message) > LARGE_BYTES else self._scoring.turn():
                        answer = service.predict(message)
                    connection.sendall(answer)
                    handler.tell(service.context)  # only now, as the caller waits for the answer

    def _load(self, message: dict[str, Any], folder: Path, handler: ScoringHandler, loaded: ExitStack) -> Any:
        from ts.service import Service

        name = message["modelName"].decode()
        try:
            handler.use(loaded.enter_context(self._bundles.opened(folder / "bundle")))
        except Exception as error:
            logger.error("%s%s: %s: %s", LOAD_FAILED, name, type(error).__name__, one_line(error))
            raise
        manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text(encoding="utf-8"))
        metrics = self._metrics_of(name)
        return Service(
            name,
            str(folder),
            manifest,
            handler.answer,
            gpu=None,
            batch_size=message["batchSize"],
            metrics_cache=metrics,
        )

    def _metrics_of(self, machine: str) -> Any:
        from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

        with self._lock:
            if self._metrics is None:  # TorchServe's file is written after this process was started
                self._metrics = MetricsCacheYamlImpl(config_file_path=str(self._metrics_file))
                self._metrics.initialize_cache()
            metrics = copy.deepcopy(self._metrics)
        metrics.model_name = machine
        return metrics

    def _counted(self, folder: str) -> ExitStack:
        """Counts a worker from now until the block's end."""
        counted = ExitStack()
        with self._lock:
            self._workers[folder] += 1

        def end() -> None:
            with self._lock:
                self._workers[folder] -= 1
                if not self._workers[folder]:
                    del self._workers[folder]

        counted.callback(end)
        return counted


def _size(batch: list[dict[str, Any]]) -> int:
    return sum(len(part["value"]) for request in batch for part in request["parameters"])


def _prepare(threads: int = 1) -> None:
    """Import what every machine needs, before the first of them comes."""
    import torch
    import ts.protocol.otf_message_handler
    import ts.service  # noqa: F401
    from threadpoolctl import threadpool_limits

    import serving.worker.batch
    import serving.worker.explain
    import serving.worker.metrics  # noqa: F401

    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    # one arena for the sessions of all machines: each would keep its own, for the largest batch it has seen
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, None)
    torch.set_num_threads(threads)  # as many processes as cores score at once: more threads would compete for them
    threadpool_limits(threads)


def main() -> None:
    """Serve until the process is ended."""
    output = ThreadOutput()
    logging.basicConfig(level=logging.INFO, handlers=[output], format="%(message)s", force=True)
    _prepare()
    Engine(Path(sys.argv[2]), output).listen(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
