"""The default model, which has no network: from training to an answer, a report and a drift check."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import TINY

from masd.audio import LongRecording, Recording
from masd.bundle.bundle import load_bundle
from masd.bundle.manifest import NETWORK, load_manifest, write_manifest
from masd.config import Settings
from masd.detection.fused.detector import FusedDetector
from masd.detection.scorer import Scorer
from masd.drift.reference import read_reference
from masd.errors import MasdError
from masd.files import sha256
from masd.lifecycle import steps
from serving.worker.batch import answer


@pytest.fixture(scope="module")
def bundle(tiny_features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("default")
    settings = Settings.model_validate(TINY | {"detection": {}})
    steps.train(tiny_features, ["fan"], settings, out / "network")
    steps.fit_detectors(tiny_features, "fan", out / "network", settings, out / "fan")
    return out / "fan"


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    return load_bundle(bundle).scorer


@pytest.fixture(scope="module")
def recordings(scorer: Scorer, tiny_data: Path) -> list[Recording | LongRecording]:
    return [scorer.decode(path) for path in sorted((tiny_data / "fan" / "test").glob("*.wav"))]


def test_the_bundle_has_no_network_and_its_answers_no_reconstruction_error(
    bundle: Path, scorer: Scorer, recordings: list[Recording | LongRecording], tiny_data: Path
) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == [
        "config.yaml",
        "detectors.safetensors",
        "history.json",
        "manifest.json",
        "reference.parquet",
    ]
    assert json.loads((bundle / "history.json").read_text()) == []
    results = scorer.score(recordings, all_systems=True)
    assert {tuple(result.systems) for result in results} == {("fused",)}
    assert {(result.reconstruction_error, result.embedding_distance) for result in results} == {(None, None)}
    body = next((tiny_data / "fan" / "test").glob("*.wav")).read_bytes()
    (reply,) = answer(scorer, [{"body": body}], None)
    assert reply.status == 200 and reply.body["reconstruction_error"] is None


def test_it_scores_as_with_a_network_whose_latent_counts_for_nothing(
    bundle: Path, tiny_bundle: Path, recordings: list[Recording | LongRecording], scorer: Scorer
) -> None:
    """The members that need no network are the same; only their weights are divided by 0.95."""
    other = load_bundle(tiny_bundle).scorer
    with_latent = other.detectors.systems["fused"]
    assert isinstance(with_latent, FusedDetector)
    rest = {name: of for name, of in with_latent.neighbours.items() if name != "latent"}
    without = replace(with_latent, neighbours=rest)
    for recording, result in zip(recordings, scorer.score(recordings), strict=True):
        assert isinstance(recording, Recording)
        (features,) = other.extract([other.frames(recording)])
        assert without.score([features])[0].score == pytest.approx(result.score, rel=1e-5)
        assert with_latent.score([features])[0].score != pytest.approx(result.score, rel=1e-5)


def test_a_clip_whose_distances_are_all_typical_scores_one(scorer: Scorer) -> None:
    """The weights sum to one: twice the typical distances halve every score."""
    detector = scorer.detectors.systems["fused"]
    assert isinstance(detector, FusedDetector)
    doubled = replace(detector, typical={name: 2 * value for name, value in detector.typical.items()})
    (features,) = scorer.extract([np.random.default_rng(0).normal(-40, 5, (90, 128)).astype(np.float32)])
    assert doubled.score([features])[0].score == pytest.approx(detector.score([features])[0].score / 2)


def test_every_training_clip_is_a_reference_of_the_score(bundle: Path) -> None:
    """No clip is kept from a network, so none lacks a score; there is nothing to compare of a network."""
    stored, compared = pd.read_parquet(bundle / "reference.parquet"), read_reference(bundle / "reference.parquet")
    assert not {"reconstruction_error", "embedding_distance"} & {*stored, *compared}
    assert len(stored) == 24 and compared["score"].notna().all()


def test_what_is_marked_is_the_difference_from_the_mean_spectrum(scorer: Scorer) -> None:
    log_mel = np.tile(np.linspace(-60, -20, 128, dtype=np.float32), (90, 1))
    louder = log_mel.copy()
    louder[40:50, 30] += 12.0
    difference = scorer.extract.residual(louder) - scorer.extract.residual(log_mel)
    changed = np.zeros_like(difference, dtype=bool)
    changed[40:50, 30] = True
    assert np.abs(difference[~changed]).max() == 0.0 and np.abs(difference[changed]).min() > 0.0


def test_the_evaluation_has_our_system_and_the_controls(bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    steps.evaluate_recordings(bundle, tiny_data, "fan", tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(metrics["systems"]) == ["fused"] and len(metrics["controls"]) == 3
    page = (tmp_path / "out" / "report.html").read_text()
    assert "This model has no network, so there was none to train." in page
    assert "mean spectrum of whole clips" in page and "reconstruction error" not in page


def test_a_system_of_the_paper_cannot_be_claimed_without_its_network(bundle: Path, tmp_path: Path) -> None:
    claimed = tmp_path / "claimed"
    claimed.mkdir()
    for path in bundle.iterdir():
        (claimed / path.name).write_bytes(path.read_bytes())
    config = claimed / "config.yaml"
    config.write_text(config.read_text().replace("system: fused", "system: knn-feature"))
    manifest = load_manifest(bundle)
    write_manifest(claimed, replace(manifest, files=manifest.files | {"config.yaml": sha256(config)}))
    with pytest.raises(MasdError, match=r"do not belong together.*knn-feature"):
        load_bundle(claimed)


@pytest.mark.parametrize("setting", [{"latent": True}, {"system": "knn-feature"}])
def test_by_name_there_is_a_network(
    setting: dict[str, Any], tiny_features: Path, tmp_path: Path, recordings: list[Recording | LongRecording]
) -> None:
    settings = Settings.model_validate(TINY | {"detection": setting})
    steps.train(tiny_features, ["fan"], settings, tmp_path / "network", device="cpu")
    steps.fit_detectors(tiny_features, "fan", tmp_path / "network", settings, tmp_path / "fan")
    assert (tmp_path / "fan" / NETWORK).is_file()
    loaded = load_bundle(tmp_path / "fan").scorer
    (result,) = loaded.score(recordings[:1], all_systems=True)
    assert result.reconstruction_error is not None and result.reconstruction_error > 0
    assert len(result.systems) == 5
    fused = loaded.detectors.systems["fused"]
    assert isinstance(fused, FusedDetector)
    assert ("latent" in fused.neighbours) == settings.detection.latent
