"""``python -m bench.chaos``: promote and roll back while one thing after the other fails, and print what callers saw.

The faults of a bad hour, in some minutes: worker stopped, worker killed, a bucket that answers HTML, 503, slowly or not
at all, a damaged pointer, a version of a schema that nobody reads, a full disk, a killed server. Ends with 1 where an
answer was wrong, a record was lost, a rollback took too long, or somebody waited too long.
"""

import itertools
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import pandas as pd
from faulty_proxy import FaultyProxy, Mode, faulty_proxy
from s3_gateway import running_gateway

from bench.chaos.fleet import MACHINES, make_fleet
from bench.chaos.server import Server
from bench.chaos.traffic import Traffic
from masd.bundle.manifest import load_manifest, write_manifest
from masd.registry.layout import place_of
from masd.registry.registry import Registry
from masd.storage.opening import open_store

BUCKET = "chaos"
FOLLOWED_SECONDS, WAITED_SECONDS = 15.0, 30.0
"""Promised: a rollback of a machine that is whole is followed within the first, a caller answered within the second."""

UNSEEN_SECONDS = 120.0
"""Whoever has not seen a rollback by then gives up."""

DISK = "2m"
SLOW_SECONDS = 3.0


class Chaos:
    """``broken`` are the machines that are not whole at present: their own versions are damaged."""

    def __init__(self, registry: Registry, traffic: Traffic, server: Server) -> None:
        self.registry, self.traffic, self.server = registry, traffic, server
        self.broken: set[str] = set()
        self.bucket_is_away = threading.Event()
        self.followed: list[tuple[float, str]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._roll_over_and_over, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(UNSEEN_SECONDS)

    def _roll_over_and_over(self) -> None:
        """Promote a machine and roll it back, then the next, as long as there is a bucket and a server."""
        for machine in itertools.cycle(MACHINES):
            while (self.bucket_is_away.is_set() or self.traffic.server_is_down.is_set()) and not self._ended.is_set():
                time.sleep(0.2)
            if self._ended.is_set():
                return
            if machine not in self.broken:
                self.registry.promote(machine, "2", reason="chaos")
                self._see(machine, "2", "promotion")
                self.registry.rollback(machine, reason="chaos")
                self._see(machine, "1", "rollback")

    def _see(self, machine: str, version: str, what: str) -> None:
        """Ask until the version answers. What the bucket or the server was away for does not count."""
        begin = time.monotonic()
        while self.traffic.ask(machine) != version and time.monotonic() - begin < UNSEEN_SECONDS:
            if machine in self.broken:
                return
            if self.bucket_is_away.is_set() or self.traffic.server_is_down.is_set():
                begin = time.monotonic()
            time.sleep(0.1)
        if what == "rollback":
            self.followed.append((time.monotonic() - begin, machine))


def main() -> int:
    """Run it; 0 where everything held."""
    with ExitStack() as running:
        root = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="masd-chaos-")))
        gateway = running.enter_context(running_gateway(root / "s3"))
        os.environ.update(gateway.environment, MASD_CACHE=str(root / "cache"))
        url = gateway.make_bucket(BUCKET)
        registry = Registry.open(f"{url}/registry")
        print("chaos: training two small models, registering them for ten machines", flush=True)
        fleet = make_fleet(root, registry)
        proxy = running.enter_context(faulty_proxy(gateway.endpoint, SLOW_SECONDS))
        spool = root / "spool"
        spool.mkdir()
        has_disk = _mount(spool)
        if has_disk:
            running.callback(_unmount, spool)
        away = {"MASD_S3_ENDPOINT": proxy.endpoint, "MASD_CACHE": str(root / "server-cache")}
        server = Server(f"{url}/registry", f"{url}/log", spool, away, root / "words.txt")
        running.callback(server.stop)
        server.start()
        traffic = Traffic(server.url, fleet)
        chaos = Chaos(registry, traffic, server)
        traffic.start()
        chaos.start()
        full: list[tuple[float, float]] = []
        for name, fault in _faults(chaos, proxy, root / "0" / "bundle", spool if has_disk else None, full):
            begin = time.monotonic()
            fault()
            print(f"  {name}: {time.monotonic() - begin:.0f} s", flush=True)
            time.sleep(10.0)
        chaos.stop()
        traffic.stop()
        server.stop()
        return 0 if _verdict(traffic, chaos, _logged(f"{url}/log", spool), full) else 1


def _faults(
    chaos: Chaos, proxy: FaultyProxy, old_bundle: Path, disk: Path | None, full: list[tuple[float, float]]
) -> list[tuple[str, Callable[[], None]]]:
    def bucket(mode: Mode, seconds: float) -> None:
        chaos.bucket_is_away.set()
        proxy.mode = mode
        time.sleep(seconds)
        proxy.mode = "through"
        chaos.bucket_is_away.clear()

    def stop_a_worker() -> None:
        worker = chaos.server.workers()[0]
        worker.suspend()
        time.sleep(45.0)
        if worker.is_running():
            worker.resume()

    def damage_a_pointer() -> None:
        machine = MACHINES[2]
        chaos.broken.add(machine)
        time.sleep(2.0)
        key = f"{place_of(machine)}/channels/production.json"
        store = chaos.registry.store
        before = store.read(key)
        store.write(key, before[: len(before) // 2])
        time.sleep(20.0)
        store.write(key, before)
        chaos.broken.discard(machine)

    def promote_an_old_schema() -> None:
        machine = MACHINES[3]
        chaos.broken.add(machine)
        time.sleep(2.0)
        write_manifest(old_bundle, replace(load_manifest(old_bundle), machine_type=machine, schema_version=3))
        with patch("masd.bundle.manifest.OLDEST_SCHEMA", 3):
            version = chaos.registry.register(old_bundle, metrics={}, reason="chaos")
            chaos.registry.promote(machine, version, reason="chaos")
            time.sleep(20.0)
            chaos.registry.rollback(machine, reason="chaos")
        time.sleep(2.0)
        chaos.broken.discard(machine)

    def fill_the_disk() -> None:
        assert disk is not None
        begin = time.time()
        with (disk / "other").open("wb") as file:
            try:
                while True:
                    file.write(bytes(4096))
                    file.flush()
            except OSError:
                pass
            time.sleep(10.0)
        (disk / "other").unlink()
        full.append((begin, time.time() + 1.0))

    def kill_the_server() -> None:
        chaos.traffic.server_is_down.set()
        chaos.server.kill()
        chaos.server.start()
        chaos.traffic.server_is_down.clear()

    named: list[tuple[str, Callable[[], None]]] = [
        ("nothing fails", lambda: time.sleep(20.0)),
        ("worker stopped", stop_a_worker),
        ("worker killed", lambda: chaos.server.workers()[-1].kill()),
        ("bucket answers HTML", lambda: bucket("html", 10.0)),
        ("bucket answers 503", lambda: bucket("unavailable", 10.0)),
        ("bucket is slow", lambda: bucket("slow", 20.0)),
        ("bucket says nothing", lambda: bucket("nothing", 25.0)),
        ("pointer damaged", damage_a_pointer),
        ("version of an old schema", promote_an_old_schema),
        ("server killed", kill_the_server),
    ]
    if disk is None:
        print("  disk full: left out, as nothing can be mounted here", flush=True)
    else:
        named.insert(-1, ("disk full", fill_the_disk))
    return named


def _verdict(traffic: Traffic, chaos: Chaos, logged: set[str], full: list[tuple[float, float]]) -> bool:
    missing = {name: at for name, at in traffic.answered.items() if name not in logged}
    while_full = {name for name, at in missing.items() if any(begin <= at <= end for begin, end in full)}
    lost = missing.keys() - while_full
    waited, who = traffic.longest_wait
    slowest, machine = max(chaos.followed, default=(UNSEEN_SECONDS, "none"))
    print(f"chaos: {sum(traffic.statuses.values())} clips, {dict(sorted(traffic.statuses.items()))} by status")
    print(f"  wrong answers: {len(traffic.wrong)}")
    for line in traffic.wrong[:5]:
        print(f"    {line}")
    print(f"  answered clips without a record: {len(lost)}, and {len(while_full)} while the disk was full")
    print(f"  rollbacks: {len(chaos.followed)}, the slowest followed after {slowest:.1f} s ({machine})")
    print(f"  longest wait of a caller: {waited:.1f} s ({who})")
    held = not traffic.wrong and not lost and slowest <= FOLLOWED_SECONDS and waited <= WAITED_SECONDS
    print(f"chaos: {'held' if held else 'DID NOT HOLD'}", flush=True)
    return held


def _logged(log: str, spool: Path) -> set[str]:
    """Request ids of all records: shipped, and not yet shipped when the server stopped."""
    store = open_store(log)
    ids: set[str] = set()
    for item in store.list():
        if item.key.endswith(".parquet"):
            ids.update(pd.read_parquet(BytesIO(store.read(item.key)), columns=["request_id"])["request_id"])
    for file in spool.iterdir():
        if file.is_file() and file.suffix != ".lock":
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            ids.update(json.loads(line)["request_id"] for line in lines if line.endswith("}"))
    return ids


def _mount(folder: Path) -> bool:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "masd-chaos", str(folder)], capture_output=True
    )
    return done.returncode == 0


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


if __name__ == "__main__":
    raise SystemExit(main())
