"""A shared process in which a version of a machine never finishes loading: ``HANGING_LOAD`` is "machine version"."""

import os
import threading
from pathlib import Path

from masd.bundle.bundle import Bundle, load_bundle
from serving.torchserve.shared import bundles, engine

VARIABLE = "HANGING_LOAD"


def load_or_hang(folder: Path) -> Bundle:
    bundle = load_bundle(folder)
    if [bundle.manifest.machine_type, bundle.manifest.version] == os.environ[VARIABLE].split():
        threading.Event().wait()
    return bundle


if __name__ == "__main__":
    vars(bundles)["load_bundle"] = load_or_hang
    engine.main()
