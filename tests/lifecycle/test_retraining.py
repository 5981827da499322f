"""A machine that has drifted is trained again only where that can end in something new."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_bundle import write_fake_bundle

from masd.config import Settings
from masd.data.data_sets import fingerprint
from masd.lifecycle import retraining
from masd.lifecycle.retraining import HELD_BACK, HeldBack, worth_training
from masd.registry.audit import RunDecision
from masd.registry.registry import Registry
from masd.storage.opening import open_store
from masd.storage.protocol import ObjectStore

WHY = (
    "fused reaches a harmonic mean of 0.612, but it flags 90% of the normal source clips, but the best reference flags "
    "only 10%: check that it was trained on recordings of this machine"
)
REFUSED: dict[str, Any] = {"reason": f"fan: the new model is refused: {WHY}.", "gate": RunDecision("7", "refuse", WHY)}
FLEET = Settings.load(None, ["training.scope=fleet"])


class Plant:
    """Recordings of three machines and a registry, each in a folder or in a bucket, with fake bundles."""

    machines = ("fan", "pump", "valve")

    def __init__(self, data: str, registry: str, folder: Path) -> None:
        self.data, self.registry, self.folder = data, registry, folder
        self.recordings: ObjectStore = open_store(data)
        self.models = Registry.open(registry)
        self._made = 0
        for machine in self.machines:
            self.record(f"{machine}/train/a.wav", machine)
            self.record(f"{machine}/test/b.wav", machine)
            self.train(machine)
            self.models.promote(machine, "1", reason="the first")

    def record(self, key: str, content: str) -> None:
        self.recordings.write(key, content.encode())

    def train(self, machine: str = "fan", settings: Settings | None = None) -> str:
        """A new candidate of what is recorded now, with no verdict yet."""
        settings = settings or Settings()
        together = self.machines if settings.training.scope == "fleet" else (machine,)
        self._made += 1
        bundle = write_fake_bundle(
            self.folder / f"bundle-{self._made}", machine, settings, recordings=fingerprint(self.data, together)
        )
        return self.models.register(bundle, metrics={})

    def refuse(self, machine: str = "fan", settings: Settings | None = None) -> str:
        version = self.train(machine, settings)
        self.models.refuse(machine, version, **REFUSED)
        return version

    def again(self, *drifted: str, settings: Settings | None = None) -> list[str]:
        chosen = settings or Settings()
        return worth_training(
            drifted or ["fan"], self.machines, self.data, self.registry, chosen, self.folder / "drift"
        )

    def held_back(self, machine: str = "fan") -> HeldBack | None:
        file = self.folder / "drift" / machine / HELD_BACK
        return HeldBack.read(file) if file.exists() else None


@pytest.fixture(params=["folder", "s3"])
def plant(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    # the bundles name no version of masd
    monkeypatch.setattr(retraining, "code_version", lambda: "")
    root = str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3_url")
    return Plant(f"{root}/data", f"{root}/registry", tmp_path / "local")


def test_what_has_drifted_for_the_first_time_is_trained(plant: Plant) -> None:
    assert plant.again("fan", "valve") == ["fan", "valve"]
    assert plant.held_back() is None


def test_what_would_be_refused_again_is_held_back_and_told(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    plant.refuse()
    assert plant.again() == []
    held = plant.held_back()
    assert held is not None
    assert (held.machine_type, held.version, held.decision, held.refused) == ("fan", "2", "refuse", True)
    time = plant.models.audit("fan", "refuse")[-1]["time"]
    assert held.time == time
    assert held.sentence == (
        f"fan has drifted, but was not trained again. Version 2 was refused on {time[:10]} {time[11:16]} UTC ({WHY}). "
        "Recordings, settings, masd and the version in production have not changed since, so a new training would have "
        f"the same result. Add recordings of the new condition to {plant.data}/fan/train, or change settings. To "
        "train anyway, run masd pipeline run."
    )
    assert held.sentence in caplog.messages


def test_a_record_of_masd_0_1_0_says_why_in_its_sentence(plant: Plant) -> None:
    """It has no field for the run, the decision and its reason."""
    version = plant.refuse()
    store = plant.models.store
    (key,) = [item.key for item in store.list("models/fan/audit/") if f"-refuse-{version}-" in item.key]
    record = json.loads(store.read(key))
    for name in ("run", "decision", "decision_reason"):
        del record[name]
    store.write(key, json.dumps(record).encode())
    assert plant.models.audit("fan", "refuse")[-1]["run"] == ""
    assert plant.again() == []
    held = plant.held_back()
    assert held is not None and WHY in held.sentence


@pytest.mark.parametrize("change", ["a training clip", "a test clip", "other bytes", "one clip less"])
def test_other_recordings_are_worth_a_training(plant: Plant, change: str) -> None:
    plant.refuse()
    plant.record("valve/train/new.wav", "of another machine")
    assert plant.again() == []
    match change:
        case "a training clip":
            plant.record("fan/train/new.wav", "new")
        case "a test clip":
            plant.record("fan/test/new.wav", "new")
        case "other bytes":
            plant.record("fan/train/a.wav", "FAN")
        case _:
            plant.recordings.delete("fan/test/b.wav")
    assert plant.again() == ["fan"]
    plant.refuse()
    assert plant.again() == []


def test_recordings_that_came_while_it_was_trained_are_new_ones(plant: Plant) -> None:
    version = plant.train()
    plant.record("fan/train/new.wav", "new")
    plant.models.refuse("fan", version, **REFUSED)
    assert plant.again() == ["fan"]


def test_other_settings_are_worth_a_training(plant: Plant) -> None:
    plant.refuse()
    longer = Settings.load(None, ["training.stage1_steps=7"])
    assert plant.again(settings=longer) == ["fan"]
    plant.refuse(settings=longer)
    assert plant.again(settings=longer) == []
    assert plant.again() == ["fan"]


def test_another_masd_is_worth_a_training(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.refuse()
    monkeypatch.setattr(retraining, "code_version", lambda: "9.0")
    assert plant.again() == ["fan"]


def test_another_version_in_production_is_worth_a_training(plant: Plant) -> None:
    plant.models.promote("fan", plant.train(), reason="better")
    plant.refuse()
    assert plant.again() == []
    plant.models.rollback("fan", reason="false alarms")  # to version 1, which version 3 was not compared with
    assert plant.again() == ["fan"]


def test_what_was_promoted_by_hand_may_drift_in_its_turn(plant: Plant) -> None:
    plant.models.promote("fan", plant.refuse(), reason="it is fine")
    assert plant.again() == ["fan"]


def test_a_run_that_was_broken_off_before_its_verdict_does_not_count(plant: Plant) -> None:
    plant.refuse()
    plant.train()
    assert plant.again() == ["fan"]


def test_what_waits_for_approval_is_not_trained_again(plant: Plant) -> None:
    version = plant.train()
    plant.models.ask("fan", version, reason="fan: the new model passes and awaits approval: good.")
    assert plant.again() == []
    held = plant.held_back()
    assert held is not None and not held.refused
    assert "Version 2 has waited for approval since 20" in held.sentence
    assert "Approve it with masd registry promote fan 2, add recordings" in held.sentence
    plant.models.promote("fan", version, reason="heard them")
    assert plant.again() == ["fan"]


def test_of_several_those_that_can_end_otherwise_are_trained(plant: Plant) -> None:
    plant.refuse("fan")
    plant.refuse("pump")
    plant.record("pump/train/new.wav", "new")
    assert plant.again("fan", "pump", "valve") == ["pump", "valve"]
    assert [machine for machine in plant.machines if plant.held_back(machine)] == ["fan"]


def test_a_fleet_is_held_back_as_a_whole_or_not_at_all(plant: Plant) -> None:
    for machine in plant.machines:
        plant.refuse(machine, FLEET)
    plant.models.promote("valve", plant.train("valve", FLEET), reason="better")
    assert plant.again("fan", "valve", settings=FLEET) == ["fan", "valve"]
    assert plant.held_back("fan") is None
    assert plant.again("fan", "pump", settings=FLEET) == []
    assert plant.held_back("fan") and plant.held_back("pump")
    plant.record("valve/train/new.wav", "the network learns from all machines")
    assert plant.again("fan", settings=FLEET) == ["fan"]


def test_a_version_that_cannot_be_read_is_no_reason_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retraining, "code_version", lambda: "")
    plant = Plant(str(tmp_path / "data"), str(tmp_path / "registry"), tmp_path)
    plant.refuse()
    manifest = tmp_path / "registry" / "models" / "fan" / "2" / "manifest.json"
    whole = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(whole | {"recordings": ""}))  # of a masd that did not note them
    assert plant.again() == ["fan"] and not caplog.messages
    manifest.write_text("{")
    assert plant.again() == ["fan"]
    assert (
        "fan: the result of the last training cannot be read, so the machine is trained again: " in caplog.messages[-1]
    )
