"""``python -m bench.server.chaos``: promote and roll back while one thing after the other fails; print what was seen.

The faults of a bad hour, in some minutes: worker stopped, worker killed, a bucket that answers HTML, 503, slowly or not
at all, a damaged pointer, a full disk, a killed server; one machine's versions are those of masd 0.1.0. Ends with 1
where an answer was wrong, a record was lost, a rollback was not followed in time, or somebody waited too long.
"""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from faulty_proxy import faulty_proxy
from s3_gateway import running_gateway

from bench.server.chaos.faults import Faults, happens_every
from bench.server.chaos.fleet import OLD, make_fleet
from bench.server.chaos.records import recorded, seal
from bench.server.chaos.rollbacks import Rollbacks
from bench.server.chaos.server import Server
from bench.server.chaos.traffic import Traffic
from masd.registry.registry import Registry

BUCKET = "chaos"
FOLLOWED_SECONDS = 15.0
"""Promised: a rollback of a machine that is whole is followed within this."""

WAITED_SECONDS = 31.0
"""Promised: a clip of usual length is answered or refused within 30 s; the rest is the way there and back."""

ENDED_SECONDS = 10.0
FEWEST_ROLLBACKS = 10
"""With fewer the other figures say little."""

SERVER_LOG = Path("bench-results") / "chaos-server.log"
"""In the working directory, where something did not hold."""

DISK = "32m"
SEAL_SECONDS = 5.0
SLOW_SECONDS = 3.0
REST_SECONDS = 10.0
"""Between a fault and the next."""

WELL_SECONDS = 60.0
"""After the last fault, until nothing is wrong any more."""


def main() -> int:
    """Run it; 0 where everything held."""
    begin, ended = time.monotonic(), threading.Event()
    with ExitStack() as running:
        root = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="masd-chaos-")))
        gateway = running.enter_context(running_gateway(root / "s3"))
        os.environ.update(gateway.environment, MASD_CACHE=str(root / "cache"), OMP_NUM_THREADS="1")
        url = gateway.make_bucket(BUCKET)
        registry = Registry.open(f"{url}/registry")
        print("chaos: registering two versions of nine machines; the tenth is of masd 0.1.0", flush=True)
        fleet = make_fleet(root, registry)
        proxy = running.enter_context(faulty_proxy(gateway.endpoint, SLOW_SECONDS))
        (spool := root / "spool").mkdir()
        disk = _mounted(spool, running)
        away = {"MASD_S3_ENDPOINT": proxy.endpoint, "MASD_CACHE": str(root / "server-cache")}
        server = Server(f"{url}/registry", f"{url}/log", spool, away, root / "words.txt")
        running.callback(server.stop)
        server.start()
        print(f"chaos: {len(fleet.machines)} machines are served after {time.monotonic() - begin:.0f} s", flush=True)
        traffic = Traffic(server.url, fleet)
        rollbacks = Rollbacks(registry, traffic)
        faults = Faults(registry, server, traffic, rollbacks, proxy, disk)
        traffic.start()
        rollbacks.start()
        sealing = happens_every(SEAL_SECONDS, lambda: seal(spool), ended)
        for name, fault in faults.named():
            since, asked = time.monotonic(), len(traffic.answered)
            fault()
            took = time.monotonic() - since
            print(f"  {name}: {took:.0f} s, {len(traffic.answered) - asked} clips answered", flush=True)
            time.sleep(REST_SECONDS)
        unwell = _unwell(server)
        rollbacks.stop()
        traffic.stop()
        ended.set()
        sealing.join()
        took = server.stop()
        held = _verdict(traffic, rollbacks, faults, recorded(f"{url}/log", spool), unwell, took)
        if not held:
            SERVER_LOG.parent.mkdir(exist_ok=True)
            print(f"  what the server said is in {shutil.copy(root / 'words.txt', SERVER_LOG)}")
    print(f"chaos: {'held' if held else 'DID NOT HOLD'}, {time.monotonic() - begin:.0f} s in all", flush=True)
    return 0 if held else 1


def _unwell(server: Server) -> list[str]:
    """What is still wrong a minute after the last fault."""
    deadline = time.monotonic() + WELL_SECONDS
    while (said := server.unwell()) and time.monotonic() < deadline:
        time.sleep(1.0)
    return said


def _verdict(
    traffic: Traffic,
    rollbacks: Rollbacks,
    faults: Faults,
    records: tuple[set[str], set[str]],
    unwell: list[str],
    ended_after: float,
) -> bool:
    shipped, waiting = records
    missing = {name: about for name, about in traffic.answered.items() if name not in shipped | waiting}
    by_old_code = [  # of 0.1.0, which keeps no record that finds no room
        name
        for name, (machine, at) in missing.items()
        if machine == OLD and any(begin <= at <= end for begin, end in faults.full)
    ]
    lost = len(missing) - len(by_old_code)
    slowest, machine = max(rollbacks.followed, default=(float("inf"), "none"))
    waited, who = traffic.longest_wait
    print(f"chaos: {sum(traffic.statuses.values())} clips, {dict(sorted(traffic.statuses.items()))} by status")
    print(f"  wrong answers: {len(traffic.wrong)} (must be 0)")
    for line in traffic.wrong[:5]:
        print(f"    {line}")
    print(f"  acknowledged records lost: {lost} (must be 0); {len(shipped)} shipped, {len(waiting)} in the spool")
    if faults.disk is None:
        print("  disk full: left out, as no small file system can be mounted here (it needs root)")
    else:
        print(f"    besides {len(by_old_code)} of masd 0.1.0 while the disk was full: it keeps none in memory")
    print(f"  promotions followed: {len(rollbacks.promoted)}; rollbacks: {len(rollbacks.followed)}")
    print(f"  longest until a rollback was followed: {slowest:.1f} s, {machine} (at most {FOLLOWED_SECONDS:g})")
    print(f"  longest that a caller waited: {waited:.1f} s, {who} (at most {WAITED_SECONDS:g})")
    print(f"  at the end: {'; '.join(unwell) or 'ready, every loop alive'}; ended {ended_after:.1f} s after SIGTERM")
    return (
        not traffic.wrong
        and lost == 0
        and len(rollbacks.followed) >= FEWEST_ROLLBACKS
        and slowest <= FOLLOWED_SECONDS
        and waited <= WAITED_SECONDS
        and not unwell
        and ended_after <= ENDED_SECONDS
    )


def _mounted(folder: Path, running: ExitStack) -> Path | None:
    """The folder, with a small file system of its own until the end; None where nobody may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "masd-chaos", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        return None
    running.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=False)
    return folder


if __name__ == "__main__":
    raise SystemExit(main())
