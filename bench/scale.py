"""``python -m bench.scale registry | log``: what looks, lists and drift checks cost as a registry or a log grows.

Needs ``tests/support`` on the path, whose made-up clips fill the log. Requests are counted as a bucket would be asked:
a page of a listing has a thousand keys.
"""

import argparse
import contextlib
import io
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
from drift_logs import make_bundle, make_clips

from masd.cli.main import main as masd
from masd.config import DriftSettings
from masd.drift.check import check_drift
from masd.registry.registry import Registry
from masd.storage.folder import FolderStore
from masd.storage.protocol import Children, StoredObject

PAGE = 1000
FILES = ("config.yaml", "detectors.safetensors", "history.json", "manifest.json", "network.safetensors")
MORE = ("SHA256SUMS", "reference.parquet", "fan.mar")
ROWS_PER_FILE, DAYS = 500, 60
MACHINES = ("fan", "pump", "slider", "valve")


class CountedFolder(FolderStore):
    """A folder that counts ``asked``, the requests that a bucket would have had."""

    asked = 0

    def read(self, key: str) -> bytes:
        CountedFolder.asked += 1
        return super().read(key)

    def write(self, key: str, content: bytes) -> None:
        CountedFolder.asked += 1
        super().write(key, content)

    def delete(self, key: str) -> None:
        CountedFolder.asked += 1
        super().delete(key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        found = list(super().list(prefix))
        CountedFolder.asked += 1 + len(found) // PAGE
        return iter(found)

    def children(self, prefix: str = "") -> Children:
        found = super().children(prefix)
        CountedFolder.asked += 1 + (len(found.objects) + len(found.folders)) // PAGE
        return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("what", choices=("registry", "log"))
    parser.add_argument("--machines", type=int, default=1000, help="of the registry (default 1000)")
    parser.add_argument("--versions", type=int, default=20, help="of each machine (default 20)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the log, of four machines (default 1000000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "registry":
            _registry(Path(folder), options.machines, options.versions)
        else:
            _log(Path(folder), options.rows)
    return 0


def _registry(root: Path, machines: int, versions: int) -> None:
    print(f"a registry of {machines} machines with {versions} versions each, in a folder:", flush=True)
    for number in range(machines):
        _machine(root / "models" / f"fan-{number:04d}", versions)
    registry = Registry(CountedFolder(root))
    _measured("verify's index, once", registry.index.rebuild)
    looking = Registry(CountedFolder(root))
    _measured("an agent's first look", lambda: looking.look())
    _measured("a look, nothing has changed", lambda: looking.look())
    with registry.index.changing("fan-0000"):
        pass
    _measured("the first look after a machine was moved", lambda: looking.look())

    def list_all() -> None:
        with contextlib.redirect_stdout(io.StringIO()), patch("masd.registry.registry.open_store", _counted):
            assert masd(["registry", "list", "--registry", str(root)]) == 0

    _measured("masd registry list", list_all)


def _machine(place: Path, versions: int) -> None:
    """As far as looks and lists go: files that nobody opens, pointers and records."""
    for version in range(1, versions + 1):
        (folder := place / str(version)).mkdir(parents=True)
        for name in (*FILES, *MORE):
            (folder / name).write_bytes(b"x")
    for folder in (place / "channels", place / "audit"):
        folder.mkdir()
    pointer = {"version": str(versions), "manifest_sha256": "0" * 64, "sums_sha256": "0" * 64, "time": ""}
    for name in ("candidate", "production"):
        (place / "channels" / f"{name}.json").write_text(json.dumps(pointer) + "\n")
    for version in range(1, versions + 1):
        (place / "audit" / f"20260101T0000{version:02d}.000000-register-{version}-00000000.json").write_text("{}")


def _counted(url: object) -> CountedFolder:
    return CountedFolder(Path(str(url)))


def _log(root: Path, rows: int) -> None:
    print(f"a log of {rows} rows of {len(MACHINES)} machines, in files of {ROWS_PER_FILE}:", flush=True)
    rng = np.random.default_rng(0)
    bundle = make_bundle(root / "bundle", make_clips(300, rng))
    files = rows // len(MACHINES) // ROWS_PER_FILE
    for machine in MACHINES:
        clips = make_clips(ROWS_PER_FILE, rng, machine=machine)
        for number in range(files):
            day = (date(2026, 1, 1) + timedelta(days=number * DAYS // files)).isoformat()
            file = root / "log" / machine / day / f"{machine}-{day.replace('-', '')}T000000-{number:08x}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            clips.assign(time=day + clips["time"].str[10:]).to_parquet(file, index=False)
    no_report = [patch(f"masd.drift.check.{name}") for name in ("run_report", "write_report", "write_page")]
    with contextlib.ExitStack() as patched:
        for one in no_report:
            patched.enter_context(one)
        _measured("drift of one machine", lambda: check_drift(bundle, root / "log", root / "out", DriftSettings()))


def _measured(name: str, work: Callable[[], object]) -> None:
    """Print requests, seconds, processor-seconds and memory on top."""
    CountedFolder.asked, memory, begin, used = 0, _memory(), time.perf_counter(), time.process_time()
    work()
    spent, seconds, more = time.process_time() - used, time.perf_counter() - begin, _memory() - memory
    requests = f"{CountedFolder.asked} requests, " if CountedFolder.asked else ""
    print(f"  {name}: {requests}{spent:.3f} s of processor, {seconds:.2f} s, +{more} MB", flush=True)


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    raise SystemExit(main())
