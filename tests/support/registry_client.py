"""``registry_client.py URL MACHINE``: registers and promotes until it is killed, and says each time when it is done."""

import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from fake_bundle import write_fake_bundle

from masd.errors import MasdError
from masd.registry.registry import Registry
from masd.storage import locks, s3


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    registry, machine = Registry.open(sys.argv[1]), sys.argv[2]
    locks.LEASE = timedelta(seconds=1)  # what a killed one held is free again before the test has gone on
    s3.BACK_OFF_S = 0.05
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_fake_bundle(Path(folder, "bundle"), machine)
        say(ready=True)
        while True:
            try:
                version = registry.register(bundle, metrics={}, reason="test", build=add_archive)
                say(registered=version)
                registry.promote(machine, version, reason="test")
                say(promoted=version)
            except MasdError as error:
                say(error=str(error))


def add_archive(folder: Path, version: str) -> None:
    (folder / "fan.mar").write_bytes(version.encode() * 1000)


if __name__ == "__main__":
    main()
