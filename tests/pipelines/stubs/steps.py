"""Steps that only leave traces. A machine's name says how it ends: refused-*, broken-*, killed-*, slow-*."""

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from masd.config import Settings
from masd.data.data_sets import fingerprint
from masd.errors import MasdError


def featurize(data: str, machines: Sequence[str], settings: Settings, out: Path, recordings: str) -> None:
    assert recordings == fingerprint(data, machines)
    for machine in machines:
        assert (Path(data) / machine / "train").is_dir()
        (out / machine).mkdir(parents=True)


def train(features: Path, machines: Sequence[str], settings: Settings, out: Path) -> None:
    assert sorted(folder.name for folder in features.iterdir()) == sorted(machines)
    for machine in machines:
        if machine.startswith("broken"):
            raise MasdError(f"{machine}: loss is not a number; lower training.learning_rate")
        if machine.startswith("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if machine.startswith("slow"):
            (out.parent / "pid").write_text(str(os.getpid()))
            time.sleep(120)
    out.mkdir()
    threads = os.environ.get("OMP_NUM_THREADS")
    (out / "network.json").write_text(json.dumps({"trained_on": list(machines), "threads": threads}))


def fit_detectors(features: Path, machine: str, network: Path, settings: Settings, out: Path) -> None:
    assert (features / machine).is_dir()
    out.mkdir()
    (out / "network.json").write_text((network / "network.json").read_text())


def controls(features: Path, machine: str, settings: Settings, out: Path) -> None:
    out.mkdir()


def evaluate(bundle: Path, features: Path, controls: Path, data: str, machine: str, out: Path) -> None:
    out.mkdir()
    (out / "network.json").write_text((bundle / "network.json").read_text())
    (out / "metrics.json").write_text(
        json.dumps(
            {
                "machine_type": machine,
                "systems": {"knn-feature": {"hmean": 0.7}, "lof-score": {"hmean": None}},
            }
        )
    )


def gate(
    evaluation: Path, features: Path, registry: str, settings: Settings, data: str, out: Path, page: Path
) -> SimpleNamespace:
    machine = json.loads((evaluation / "metrics.json").read_text())["machine_type"]
    passed = not machine.startswith("refused")
    decision = ("ask" if settings.gate.approval == "manual" else "promote") if passed else "refuse"
    page.write_text(f"<html>{machine}</html>")
    verdict = {
        "machine_type": machine,
        "passed": passed,
        "decision": decision,
        "sentence": f"{machine}: {'good' if passed else 'bad'}",
    }
    out.write_text(json.dumps(verdict))
    return SimpleNamespace(**verdict)
