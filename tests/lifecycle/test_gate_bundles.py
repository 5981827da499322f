"""The gate on real small bundles, up to what the registry keeps: broken ones, one of another machine, an equal one."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file, save_file

from masd.config import Settings
from masd.errors import MasdError
from masd.files import sha256
from masd.lifecycle import steps
from masd.registry.registry import Registry
from masd.registry.verify import verify
from serving.package import package

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Plant:
    """Recordings of the fan whose anomalies are white noise, and a registry with its right model in production."""

    data: Path
    settings: Settings
    registry: str
    work: Path

    def judge(self, bundle: Path) -> SimpleNamespace:
        """What the pipeline does from the evaluation on."""
        verdict, page = self.work / "verdict.json", self.work / "comparison.html"
        steps.evaluate_recordings(bundle, self.data, "fan", self.work / "evaluation")
        features = self.work / "features"
        steps.featurize(self.data, ["fan"], self.settings, features)
        steps.gate(self.work / "evaluation", features, self.registry, self.settings, self.data, verdict, page)
        version = package(bundle, self.work / "evaluation", verdict, self.registry, run="run 8")
        decided = json.loads(verdict.read_text(encoding="utf-8"))
        return SimpleNamespace(version=version, page=page.read_text(encoding="utf-8"), **decided)

    def state(self) -> dict[str, str]:
        return {str(file): sha256(file) for file in Path(self.registry).rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def data(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plant")
    shutil.copytree(tiny_data / "fan", out / "fan")
    rng = np.random.default_rng(0)
    for path in (out / "fan" / "test").glob("*anomaly*.wav"):
        noise = rng.normal(scale=0.3, size=soundfile.info(path).frames).clip(-1.0, 1.0)
        soundfile.write(path, noise, 16_000, subtype="PCM_16")
    return out


@pytest.fixture
def plant(data: Path, tiny_settings: Settings, tiny_bundle: Path, tmp_path: Path) -> Plant:
    models = Registry.open(tmp_path / "registry")
    models.promote("fan", models.register(tiny_bundle, metrics={}), reason="the first")
    return Plant(data, tiny_settings, str(tmp_path / "registry"), tmp_path)


def _copy(bundle: Path, out: Path, change: Callable[[np.ndarray], np.ndarray] | None = None) -> Path:
    """Another bundle, made later; with ``change``, its network's numbers are others, and its digests hold."""
    shutil.copytree(bundle, out)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    manifest["created"] = "2100-01-01T00:00:00+00:00"
    if change is not None:
        file = out / "network.safetensors"
        arrays = {name: change(array) if array.dtype.kind == "f" else array for name, array in load_file(file).items()}
        save_file(arrays, file)
        manifest["files"][file.name] = sha256(file)
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return out


def _kept_as_candidate(plant: Plant, judged: SimpleNamespace) -> None:
    models = Registry.open(plant.registry)
    assert judged.decision == "refuse" and not judged.passed
    assert (models.channel("fan", "production"), models.channel("fan", "candidate")) == ("1", judged.version)
    record = models.audit("fan")[-1]
    assert (record["event"], record["version"], record["previous"]) == ("refuse", judged.version, "1")
    assert (record["reason"], record["run"]) == (judged.sentence, "run 8")
    assert (record["decision"], record["decision_reason"]) == ("refuse", judged.reason)
    assert verify(models) == []


def test_an_equal_model_ships_and_the_page_shows_both(plant: Plant, tiny_bundle: Path) -> None:
    judged = plant.judge(_copy(tiny_bundle, plant.work / "again"))
    assert (judged.decision, judged.champion_version) == ("promote", "1")
    assert judged.difference == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert "cannot be distinguished from version 1 in production" in judged.sentence
    assert Registry.open(plant.registry).channel("fan", "production") == judged.version == "2"
    for part in ("Side by side", "There are none", "Scores of the challenger", "Scores of the champion"):
        assert part in judged.page
    assert "http://" not in judged.page and "https://" not in judged.page


def test_a_model_that_gives_no_numbers_is_kept_with_the_reason(plant: Plant, tiny_bundle: Path) -> None:
    judged = plant.judge(_copy(tiny_bundle, plant.work / "broken", lambda array: np.full_like(array, np.nan)))
    assert "the model is broken: fused gives no finite score for 16 of 16 test clips" in judged.sentence
    _kept_as_candidate(plant, judged)


def test_a_model_of_another_machine_is_kept_with_the_reason(
    plant: Plant, tiny_data: Path, tiny_settings: Settings
) -> None:
    """The bearing's recordings under the fan's name: the areas alone would let it pass, white noise is new to both."""
    misplaced = plant.work / "misplaced"
    shutil.copytree(tiny_data / "bearing", misplaced / "fan")
    steps.featurize(misplaced, ["fan"], tiny_settings, plant.work / "features")
    steps.train(plant.work / "features", ["fan"], tiny_settings, plant.work / "network", device="cpu")
    steps.fit_detectors(plant.work / "features", "fan", plant.work / "network", tiny_settings, plant.work / "bundle")
    judged = plant.judge(plant.work / "bundle")
    assert "it flags 100% of the normal source clips" in judged.sentence
    assert "check that it was trained on recordings of this machine" in judged.sentence
    _kept_as_candidate(plant, judged)


def test_a_bundle_that_does_not_verify_changes_nothing(plant: Plant, tiny_bundle: Path) -> None:
    broken = _copy(tiny_bundle, plant.work / "tampered")
    content = bytearray((broken / "detectors.safetensors").read_bytes())
    content[-1] ^= 1
    (broken / "detectors.safetensors").write_bytes(content)
    before = plant.state()
    with pytest.raises(MasdError, match=r"detectors\.safetensors: differs from the manifest") as caught:
        plant.judge(broken)
    assert "\n" not in str(caught.value)
    assert plant.state() == before


def test_a_bundle_of_a_machine_by_another_name_changes_nothing(plant: Plant, tiny_bundle: Path) -> None:
    other = _copy(tiny_bundle, plant.work / "other")
    manifest = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
    (other / "manifest.json").write_text(json.dumps(manifest | {"machine_type": "bearing"}), encoding="utf-8")
    before = plant.state()
    with pytest.raises(MasdError, match=r"is a model of bearing, not of fan|do not belong together"):
        plant.judge(other)
    assert plant.state() == before


def test_a_damaged_champion_is_no_reference(plant: Plant, tiny_bundle: Path) -> None:
    file = Path(plant.registry) / "models" / "fan" / "1" / "network.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    before = plant.state()
    with pytest.raises(MasdError, match=r"network\.safetensors"):
        plant.judge(_copy(tiny_bundle, plant.work / "again"))
    assert plant.state() == before
