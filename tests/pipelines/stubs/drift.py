"""Drift is where the log's file says so."""

import json
from pathlib import Path
from types import SimpleNamespace


def check_drift(
    bundle: Path, log: Path, out: Path, *, workspace: Path | None = None, since: str = ""
) -> SimpleNamespace:
    drifted = bundle.parent.name in Path(log).read_text().split()
    out.mkdir()
    verdict = {"verdict": "drift" if drifted else "no drift", "sentence": f"{bundle.parent.name}: looked at"}
    (out / "verdict.json").write_text(json.dumps(verdict))
    return SimpleNamespace(machine_type=bundle.parent.name, model_version="1", clips=1, columns={}, **verdict)


def window_digest(bundle: Path, log: Path) -> str:
    return Path(log).read_text()
