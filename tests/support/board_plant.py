"""A plant for the board: machines that are well, in alarm, silent, and some of which something is broken."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from alarm_logs import registered

from masd.alarms.step import AlarmStep
from masd.drift.history import history_key
from masd.registry.audit import RunDecision
from masd.registry.registry import Registry

THRESHOLD = 2.5
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415478da63e8af700300027b0158"
    "4b0c35840000000049454e44ae426082"
)


class Plant:
    """Folders below ``root``, as a deployment has them; times are relative to ``now``."""

    def __init__(self, root: Path, now: datetime | None = None) -> None:
        self.root, self.now = root, now or datetime.now(UTC)
        self.registry, self.log, self.clips = root / "registry", root / "log", root / "clips"
        self.state, self.drift = root / "log-alarms", root / "log-drift"
        self.log.mkdir(parents=True)

    def machine(self, name: str, *, seed: int = 0) -> None:
        """Version 1 in production, with a calibration."""
        registered(self.registry, name, seed=seed)

    def candidate(self, name: str, decision: str, *, seed: int = 50) -> str:
        """One more version, which the gate has judged, with its comparison."""
        from fake_bundle import write_fake_bundle

        models = Registry.open(self.registry)
        bundle = write_fake_bundle(self.root / f"bundle-{name}-{seed}-candidate", name)
        gate = RunDecision(f"run-{seed}", decision, f"the gate says {decision}")  # type: ignore[arg-type]

        def add_comparison(folder: Path, version: str) -> None:
            (folder / "comparison.html").write_text(f"<!doctype html><title>c</title><p>comparison of {version}</p>")

        metrics = {"hmean": 0.871}
        version = models.register(bundle, metrics=metrics, reason=decision, gate=gate, build=add_comparison)
        if decision == "ask":
            models.ask(name, version, reason=decision, metrics=metrics, gate=gate)
        elif decision == "refuse":
            models.refuse(name, version, reason=decision, metrics=metrics, gate=gate)
        return version

    def hear(
        self,
        name: str,
        *,
        hours: float = 3.0,
        until: float = 0.05,
        fault_hours: float = 0.0,
        every_s: float = 20.0,
        shift: float = 4.0,
        seed: int = 0,
    ) -> None:
        """Ship the log of the last ``hours``, up to ``until`` hours ago; the last ``fault_hours`` of it are a fault."""
        rng = np.random.default_rng([seed, len(name)])
        times = np.arange(-hours * 3600, -until * 3600, every_s)
        scores = rng.normal(size=len(times)) + shift * (times > -(until + fault_hours) * 3600) * bool(fault_hours)
        rows = pd.DataFrame(
            {
                "time": [self._text(float(second)) for second in times],
                "request_id": [f"{name}-{number}" for number in range(len(times))],
                "machine_type": name,
                "model_version": "1",
                "score": scores,
                "threshold": THRESHOLD,
                "anomalous": scores > THRESHOLD,
                "domain": "source",
                "warnings": "",
            }
        )
        for number, places in enumerate(np.array_split(np.arange(len(rows)), max(1, int(hours * 12)))):
            part = rows.iloc[places]
            sealed = datetime.fromisoformat(part["time"].iloc[-1]) + timedelta(seconds=5)
            folder = self.log / name / f"{sealed:%Y-%m-%d}"
            folder.mkdir(parents=True, exist_ok=True)
            part.to_parquet(folder / f"{name}-{sealed:%Y%m%dT%H%M%S}-{number:08x}.parquet", index=False)

    def step(self, machines: list[str] | None = None) -> None:
        """The alarm step looks."""
        AlarmStep(str(self.registry), str(self.log), clips=1000.0).run(machines, now=self.now)

    def check_drift(self, name: str, verdicts: list[str]) -> None:
        """A history of nightly checks, oldest first."""
        checks = [
            {
                "time": self._text(-86_400.0 * (len(verdicts) - number)),
                "model_version": "1",
                "verdict": verdict,
                "clips": 4000,
                "drifted": ["score", "level_dbfs"] if verdict == "drift" else [],
                "sentence": f"{name}: {verdict}",
            }
            for number, verdict in enumerate(verdicts)
        ]
        file = self.drift / history_key(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(checks))

    def keep_clip(self, name: str, request_id: str) -> None:
        (self.clips / name).mkdir(parents=True, exist_ok=True)
        (self.clips / name / f"{request_id}.png").write_bytes(PNG)

    def worst_of(self, name: str) -> list[str]:
        """The clips that the alarm names."""
        files = sorted((self.state / "events" / name).rglob("*-alarm-*.parquet"))
        return list(json.loads(pd.read_parquet(BytesIO(files[-1].read_bytes()))["worst"].iloc[0]))

    def copies(self, name: str, names: list[str]) -> None:
        """More machines like ``name``, as quickly as files are copied."""
        for other in names:
            shutil.copytree(self.registry / "models" / name, self.registry / "models" / other)
            for manifest in (self.registry / "models" / other).glob("*/manifest.json"):
                manifest.write_text(manifest.read_text().replace(f'"{name}"', f'"{other}"'))
            state = (self.state / "machines" / f"{name}.json").read_text()
            (self.state / "machines" / f"{other}.json").write_text(state.replace(f'"{name}"', f'"{other}"'))
            if (self.drift / history_key(name)).exists():
                shutil.copyfile(self.drift / history_key(name), self.drift / history_key(other))

    def _text(self, seconds: float) -> str:
        return (self.now + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def mixed_plant(root: Path) -> Plant:
    """One machine of each kind."""
    plant = Plant(root)
    for number, name in enumerate(("fan", "valve", "pump", "bearing", "slider", "gearbox", "lathe")):
        plant.machine(name, seed=number)
    plant.hear("fan", fault_hours=0.5)
    plant.hear("valve", seed=1)
    plant.hear("pump", hours=9, until=7, seed=2)
    plant.hear("bearing", fault_hours=1.0, seed=3)
    plant.hear("slider", seed=4)
    plant.hear("gearbox", seed=5)
    plant.hear("lathe", seed=6)
    plant.step(["fan", "valve", "pump", "bearing", "gearbox", "slider"])
    AlarmStep(str(plant.registry), str(plant.log)).acknowledge("bearing", "anna", "bearing ordered", normal=False)
    (plant.state / "machines" / "gearbox.json").write_text("{")
    (plant.registry / "models" / "slider" / "1" / "manifest.json").unlink()
    plant.candidate("valve", "ask")
    plant.candidate("fan", "refuse", seed=51)
    plant.check_drift("fan", ["no drift"] * 20 + ["insufficient data"] * 2 + ["no drift"] * 3 + ["drift"] * 3)
    plant.check_drift("valve", ["no drift"] * 9)
    plant.keep_clip("fan", plant.worst_of("fan")[0])
    return plant
