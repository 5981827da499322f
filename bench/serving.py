"""TorchServe under load: our handler, a handler that does nothing, and scoring without a server."""

import json
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.load import Load, drive
from bench.model import MACHINE, BenchModel
from bench.scoring import processes
from masd.errors import MasdError
from serving.archive import MODEL_CONFIG
from serving.server import running_server
from serving.torchserve.config import Access, Addresses, cores
from serving.torchserve.management import Management
from serving.torchserve.process import TorchServe

CLIENTS = (1, 8, 32)
ROUNDS = 3
SECONDS = 4.0
NOTHING = "nothing"
MAX_BYTES = 10_000_000

NO_OP = """
import json
class NoOp:
    def initialize(self, context):
        pass
    def handle(self, data, context):
        return [json.dumps({"model_version": "1.0"})] * len(data)
"""


@dataclass
class Seen:
    """Rounds of one number of clients on one server."""

    rounds: list[Load] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        return statistics.median(load.percentile(share) for load in self.rounds)

    @property
    def per_second(self) -> float:
        return statistics.median(load.per_second for load in self.rounds)


def measure_serving(model: BenchModel) -> None:
    """Print latencies and throughput of both servers, and the two ratios that are promised."""
    clip = model.clips[0]
    audio = clip.read_bytes()
    alone: list[float] = []
    together: list[float] = []
    served, nothing = {n: Seen() for n in CLIENTS}, {n: Seen() for n in CLIENTS}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server([model.bundle], log_folder=Path(folder) / "log") as server,
        no_op_server(Path(folder) / "no-op") as no_op_url,
        processes(model.bundle, clip, 1) as one,
        processes(model.bundle, clip, cores()) as all_cores,
    ):
        for _ in range(ROUNDS):
            alone.append(1.0 / one.clips_per_second(SECONDS / 2))
            together.append(all_cores.clips_per_second(SECONDS))
            for clients in CLIENTS:
                for url, name, seen in ((server.url, MACHINE, served), (no_op_url, NOTHING, nothing)):
                    path = f"/predictions/{name}"
                    seen[clients].rounds.append(drive(url, path, lambda _: audio, clients, seconds=SECONDS))
        memory = worker_memory(server.management, MACHINE)
    print(f"TorchServe, clips of 10 s ({len(audio) / 1e3:.0f} kB), {len(memory)} workers, {cores()} cores:")
    print(f"  {'':24} {'p50':>8} {'p95':>8} {'p99':>8}  ms   clips/s")
    for clients in CLIENTS:
        for name, by_clients in (("ours", served), ("no-op handler", nothing)):
            of_clients = by_clients[clients]
            shown = " ".join(f"{of_clients.percentile(share) * 1e3:8.1f}" for share in (0.5, 0.95, 0.99))
            print(f"  {f'{clients} clients, {name}':24} {shown} {of_clients.per_second:13.1f}")
            bad = sum(n for load in of_clients.rounds for status, n in load.statuses.items() if status != 200)
            if bad:
                print(f"    {bad} answers were not 200")
    in_process, best = statistics.median(alone), max(seen.per_second for seen in served.values())
    reached = statistics.median(together)
    print(f"  in process: {in_process * 1e3:.1f} ms a clip; {reached:.1f} clips/s on {cores()} cores")
    print(f"  one client: p50 is in-process time + {(served[1].percentile(0.5) - in_process) * 1e3:.1f} ms (at most 8)")
    print(f"  best throughput: {best / reached:.0%} of in process on all cores (at least 80 %)")
    print(f"  memory of a worker: {', '.join(f'{value / 2**20:.0f} MiB' for value in memory.values())}", flush=True)


@contextmanager
def no_op_server(folder: Path) -> Iterator[str]:
    """A TorchServe configured as ours, whose handler answers a constant; yields its address."""
    (folder / "models").mkdir(parents=True)
    with zipfile.ZipFile(folder / "models" / f"{NOTHING}.mar", "w") as mar:
        mar.writestr("handler.py", NO_OP)
        mar.writestr(
            "model-config.yaml", json.dumps({key: MODEL_CONFIG[key] for key in ("batchSize", "maxBatchDelay")})
        )
        about = {
            "modelName": NOTHING,
            "handler": "handler.py",
            "modelVersion": "1.0",
            "configFile": "model-config.yaml",
        }
        manifest = {"createdOn": "", "runtime": "python", "model": about, "archiverVersion": "0.12.0"}
        mar.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    addresses = Addresses.claim("127.0.0.1", 0, 0, 0)
    server = TorchServe(folder, addresses, [NOTHING], MAX_BYTES, None, Access(tokens=False))
    management = Management(addresses.management_url)
    try:
        _wait_for_worker(management)
        yield addresses.url
    finally:
        management.close()
        server.stop()


def _wait_for_worker(management: Management, seconds: float = 60.0) -> None:
    """Return once the no-op model has one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(MasdError):  # not listening yet
            if any(version.ready for version in management.loaded(NOTHING).values()):
                return
        time.sleep(0.2)
    raise MasdError(f"TorchServe has no worker after {seconds:g} s")


def worker_memory(management: Management, machine: str) -> dict[int, int]:
    """Resident bytes of each worker that is ready, of all loaded versions, by process id."""
    pids = [pid for version in management.loaded(machine).values() for pid in version.pids]
    return {pid: psutil.Process(pid).memory_info().rss for pid in pids if pid > 0}
