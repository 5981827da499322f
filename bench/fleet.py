"""Fifty machines in one server: memory of its workers, time until ready, throughput, and changes of some under load.

``python -m bench.fleet``. The machines are one model under many names, each loaded for itself.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file, save_file

from bench.load import WARM_UP, clients_apart, drive
from bench.model import make_model
from bench.scoring import processes
from bench.server import hanging_engine
from masd.bundle.manifest import NETWORK, load_manifest, write_manifest
from masd.config import Settings
from masd.files import sha256
from masd.registry.registry import Registry
from serving.server import RunningServer, running_server
from serving.torchserve.shared import pool

SECONDS, ROUNDS, CLIENTS = 6.0, 3, 8

CHANGES_SECONDS = 30.0


def renamed(bundle: Path, machine: str, out: Path, shift: float = 0.0) -> Path:
    """A copy of a bundle for another machine; it scores otherwise where ``shift`` is added to its usual spectrum."""
    before = load_manifest(bundle)
    shutil.copytree(bundle, out)
    file = out / (NETWORK if NETWORK in before.files else "detectors.safetensors")
    old, new = (f"normalisation.{name}." for name in (before.machine_type, machine))
    tensors = {name.replace(old, new): tensor for name, tensor in load_file(file).items()}
    tensors[f"{new}mean"] = tensors[f"{new}mean"] + shift
    save_file(tensors, file)
    files = {**before.files, file.name: sha256(file)}
    write_manifest(out, replace(before, machine_type=machine, files=files))
    return out


def damaged(bundle: Path) -> Path:
    """The same bundle without what its detectors need. Every digest is right: only loading it tells."""
    manifest, file = load_manifest(bundle), bundle / "detectors.safetensors"
    save_file({"nothing": torch.zeros(1)}, file)
    write_manifest(bundle, replace(manifest, files={**manifest.files, file.name: sha256(file)}))
    return bundle


def registry_of(bundle: Path, machines: list[str], folder: Path) -> Registry:
    """A registry with one version of each machine in production."""
    registry = Registry.open(folder / "registry")
    for machine in machines:
        register(registry, bundle, machine)
    return registry


def register(
    registry: Registry, bundle: Path, machine: str, change: Callable[[Path], Path] = lambda copy: copy
) -> None:
    """Another version of a machine, in production."""
    with tempfile.TemporaryDirectory() as folder:
        version = registry.register(change(renamed(bundle, machine, Path(folder) / machine)), metrics={})
    registry.promote(machine, version, reason="bench")


def pss(pids: set[int]) -> int:
    """Proportional set size of processes, in bytes: pages that several share count once in all."""
    total = 0
    for pid in pids:
        with suppress(OSError):  # it has ended meanwhile
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def workers_of(server: RunningServer) -> set[int]:
    """Every process that TorchServe started, and those that work for them."""
    waiting = {child.pid for child in psutil.Process().children(recursive=True) if child.name() in ("sh", "dash")}
    engines = {
        pid
        for machine in server.health.status()["models"]
        for entry in server.management.loaded(machine).values()
        for pid in entry.pids
    }
    return waiting | engines


@contextmanager
def serving(registry: Registry) -> Iterator[tuple[RunningServer, float]]:
    begin = time.monotonic()
    with running_server(registry=registry, poll_seconds=0.5) as server:
        yield server, time.monotonic() - begin


def measure(bundle: Path, clip: Path, count: int) -> None:
    """Print the table, line by line."""

    def tell(what: str, value: str) -> None:
        print(f"{what:60} {value}", flush=True)

    machines = [f"machine-{number:04}" for number in range(count)]
    audio = clip.read_bytes()
    with tempfile.TemporaryDirectory() as name:
        with serving(registry_of(bundle, machines[:1], Path(name) / "one")) as (server, ready):
            for _ in range(2):
                drive(server.url, f"/predictions/{machines[0]}", lambda _: audio, CLIENTS, requests=8 * CLIENTS)
            one = pss(workers_of(server))
            tell("1 machine: seconds until ready", f"{ready:.1f}")
            tell("1 machine: PSS of workers", _mb(one))
        registry = registry_of(bundle, machines, Path(name) / "many")
        with serving(registry) as (server, ready), processes(bundle, clip, 1) as alone, clients_apart() as load:
            tell(f"{count} machines: seconds until ready", f"{ready:.1f}")
            tell(f"{count} machines: PSS of workers, nothing scored but probes", _mb(pss(workers_of(server))))
            for machine in machines:
                drive(server.url, f"/predictions/{machine}", lambda _: audio, CLIENTS, requests=2 * CLIENTS)
            many = pss(workers_of(server))
            tell(f"{count} machines: PSS of workers, after load on each", _mb(many))
            tell("each further machine", _mb((many - one) / (count - 1)))
            in_process, p50 = [], []
            single: list[float] = []
            spread: list[float] = []
            work: dict[str, list[float]] = {"one": [], "all": []}

            paths = [f"/predictions/{machine}" for machine in machines]
            for path in paths:
                drive(server.url, path, lambda _: b"no audio", CLIENTS, requests=WARM_UP // count)
            for _ in range(ROUNDS):
                in_process.append(1.0 / alone.clips_per_second(SECONDS / 2))
                p50.append(load(server.url, paths[:1], audio, 1, SECONDS).percentile(0.5))
                for name, used, rate in (("one", paths[:1], single), ("all", paths, spread)):
                    before = _processor_seconds()
                    seen = load(server.url, used, audio, CLIENTS * 4, SECONDS)
                    work[name].append((_processor_seconds() - before) / seen.statuses[200])
                    rate.append(seen.per_second)
            share = statistics.median(spread) / statistics.median(single)
            over = statistics.median(p50) - statistics.median(in_process)
            tell("clips/s, one machine", f"{statistics.median(single):.1f}")
            tell(f"clips/s, spread over {count}", f"{statistics.median(spread):.1f} ({share:.0%})")
            one_ms, all_ms = (statistics.median(work[name]) * 1e3 for name in ("one", "all"))
            tell("processor time of a clip in all processes, one machine", f"{one_ms:.1f} ms")
            tell(f"the same, spread over {count}", f"{all_ms:.1f} ms ({one_ms / all_ms:.0%})")
            tell("p50 at one client", f"{statistics.median(p50) * 1e3:.1f} ms, in process + {over * 1e3:.1f}")
            memory = pss(workers_of(server))
            register(registry, bundle, machines[0])
            took = _seconds_until(lambda: _of(server, machines[0])["serving"] == "2")
            tell("promotion: seconds after it was made", f"{took:.1f}")
            drive(server.url, paths[0], lambda _: audio, CLIENTS, requests=2 * CLIENTS)
            tell("promotion: PSS of two versions, more than of one", _mb(pss(workers_of(server)) - memory))
            with ThreadPoolExecutor(1) as beside:
                loaded = beside.submit(load, server.url, paths, audio, CLIENTS, CHANGES_SECONDS)
                for what, seconds in changes(server, registry, bundle, machines):
                    tell(f"under load: {what}", f"{seconds:.1f} s")
                statuses = loaded.result().statuses
            tell("under load: answers that were 200, and others", f"{statuses.pop(200)}, {sum(statuses.values())}")


def changes(
    server: RunningServer, registry: Registry, bundle: Path, machines: list[str]
) -> Iterator[tuple[str, float]]:
    """What is changed of some machines, and how long it took."""
    changed, broken, hanging = machines[1:4]
    register(registry, bundle, hanging)
    yield "a version that hangs while it loads is wanted", _seconds_until(lambda: _of(server, hanging)["wanted"] == "2")
    register(registry, bundle, broken, damaged)
    yield "a damaged version is named as such", _seconds_until(lambda: bool(_of(server, broken)["problem"]))
    register(registry, bundle, changed)
    yield "another is promoted, and served", _seconds_until(lambda: _of(server, changed)["serving"] == "2")
    registry.rollback(changed, reason="bench")
    yield "it is rolled back, and served", _seconds_until(lambda: _of(server, changed)["serving"] == "1")


def _of(server: RunningServer, machine: str) -> dict[str, Any]:
    return dict(server.health.status()["models"][machine])


def _seconds_until(true: Callable[[], bool]) -> float:
    begin = time.monotonic()
    while not true():
        if time.monotonic() - begin > CHANGES_SECONDS:
            raise TimeoutError(f"not within {CHANGES_SECONDS:g} s")
        time.sleep(0.05)
    return time.monotonic() - begin


def _processor_seconds() -> float:
    """Of this process and all below it, the clients among them."""
    total = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _mb(value: float) -> str:
    return f"{value / 1e6:.1f} MB"


def main() -> None:
    """Make the model and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--machines", type=int, default=50)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ[hanging_engine.VARIABLE] = "machine-0003 2"
    pool.COMMAND = (sys.executable, hanging_engine.__file__)
    settings = Settings.load(None, ["training.stage1_steps=1", "training.stage2_steps=1"])
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder), settings)
        measure(model.bundle, model.clips[0], options.machines)


if __name__ == "__main__":
    main()
