"""A shared process whose second version of one machine never finishes loading."""

import threading
from pathlib import Path

from masd.bundle.bundle import Bundle, load_bundle
from serving.shared import bundles, engine

HANGS = ("machine-03", "2")


def load_or_hang(folder: Path) -> Bundle:
    bundle = load_bundle(folder)
    if (bundle.manifest.machine_type, bundle.manifest.version) == HANGS:
        threading.Event().wait()
    return bundle


if __name__ == "__main__":
    bundles.load_bundle = load_or_hang
    engine.main()
