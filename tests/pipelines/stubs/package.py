"""Writes down what it was asked to package."""

import json
import os
from pathlib import Path


def package(bundle: Path, evaluation: Path, verdict: Path, registry: str, *, run: str, comparison: Path) -> str:
    assert comparison.is_file()
    machine = json.loads((evaluation / "metrics.json").read_text())["machine_type"]
    if machine.startswith("silent"):  # as if a runner had lost the status of one that was killed
        os._exit(0)
    folder = Path(registry, "models", machine)
    folder.mkdir(parents=True, exist_ok=True)
    version = str(len(list(folder.iterdir())) + 1)
    (folder / version).write_text(json.dumps({"run": run, **json.loads(verdict.read_text())}))
    return version
