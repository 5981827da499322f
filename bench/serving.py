"""TorchServe under load: our handler, one that does nothing, one that only keeps a core busy, and no server at all."""

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

from bench.load import WARM_UP, Load, clients_apart, drive
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

PLAIN = "plain"
MAX_BYTES = 10_000_000

HANDLER = """
import json
import time
class Handler:
    def initialize(self, context):
        pass
    def handle(self, data, context):
        end = time.perf_counter() + {seconds}
        while time.perf_counter() < end:
            pass
        return [json.dumps({{"model_version": "1.0"}})] * len(data)
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
    served, nothing, busy = {n: Seen() for n in CLIENTS}, {n: Seen() for n in CLIENTS}, Seen()
    with (
        tempfile.TemporaryDirectory() as folder,
        clients_apart() as load,
        processes(model.bundle, clip, 1) as one,
        processes(model.bundle, clip, cores()) as all_cores,
        running_server([model.bundle], log_folder=Path(folder) / "log") as server,
        plain_server(Path(folder) / "no-op") as no_op_url,
        plain_server(Path(folder) / "busy", busy_seconds := 1.0 / one.clips_per_second(SECONDS)) as busy_url,
    ):
        for url, name in ((server.url, MACHINE), (no_op_url, PLAIN), (busy_url, PLAIN)):
            drive(url, f"/predictions/{name}", lambda _: b"no audio", CLIENTS[1], requests=WARM_UP)
        for _ in range(ROUNDS):
            alone.append(1.0 / one.clips_per_second(SECONDS / 2))
            busy.rounds.append(load(busy_url, [f"/predictions/{PLAIN}"], audio, 1, SECONDS))
            together.append(all_cores.clips_per_second(SECONDS))
            for clients in CLIENTS:
                for url, name, seen in ((server.url, MACHINE, served), (no_op_url, PLAIN, nothing)):
                    seen[clients].rounds.append(load(url, [f"/predictions/{name}"], audio, clients, SECONDS))
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
    print(f"  one client: p50 is in-process time + {(served[1].percentile(0.5) - in_process) * 1e3:.1f} ms (asked: 5)")
    busy_over = (busy.percentile(0.5) - busy_seconds) * 1e3
    print(f"  a handler that keeps a core busy for {busy_seconds * 1e3:.1f} ms: p50 is that + {busy_over:.1f} ms")
    print(f"  best throughput: {best / reached:.0%} of in process on all cores (at least 80 %)")
    print(f"  memory of a worker: {', '.join(f'{value / 2**20:.0f} MiB' for value in memory.values())}", flush=True)


@contextmanager
def plain_server(folder: Path, busy_seconds: float = 0.0) -> Iterator[str]:
    """A TorchServe configured as ours, whose handler answers a constant after so many seconds; yields its address."""
    (folder / "models").mkdir(parents=True)
    with zipfile.ZipFile(folder / "models" / f"{PLAIN}.mar", "w") as mar:
        mar.writestr("handler.py", HANDLER.format(seconds=busy_seconds))
        mar.writestr(
            "model-config.yaml", json.dumps({key: MODEL_CONFIG[key] for key in ("batchSize", "maxBatchDelay")})
        )
        about = {
            "modelName": PLAIN,
            "handler": "handler.py",
            "modelVersion": "1.0",
            "configFile": "model-config.yaml",
        }
        manifest = {"createdOn": "", "runtime": "python", "model": about, "archiverVersion": "0.12.0"}
        mar.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    addresses = Addresses.claim("127.0.0.1", 0, 0, 0)
    server = TorchServe(folder, addresses, [PLAIN], MAX_BYTES, None, Access(tokens=False))
    management = Management(addresses.management_url)
    try:
        _wait_for_worker(management)
        yield addresses.url
    finally:
        management.close()
        server.stop()


def _wait_for_worker(management: Management, seconds: float = 60.0) -> None:
    """Return once the plain model has one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(MasdError):  # not listening yet
            if any(version.ready for version in management.loaded(PLAIN).values()):
                return
        time.sleep(0.2)
    raise MasdError(f"TorchServe has no worker after {seconds:g} s")


def worker_memory(management: Management, machine: str) -> dict[int, int]:
    """Resident bytes of each worker that is ready, of all loaded versions, by process id."""
    pids = [pid for version in management.loaded(machine).values() for pid in version.pids]
    return {pid: psutil.Process(pid).memory_info().rss for pid in pids if pid > 0}
