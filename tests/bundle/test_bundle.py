"""The bundle: what is saved is what is loaded, and nothing else is."""

import json
import shutil
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file, save_file

import masd
from masd.audio import Recording
from masd.bundle.bundle import load_bundle
from masd.bundle.manifest import FILES, REVISION, code_version, load_manifest, stamp
from masd.config import PAPER_SYSTEMS, Settings
from masd.data.folders.machine import read_machine
from masd.data.machine_name import check_machine_name
from masd.detection.detectors import Detectors
from masd.detection.features.views import Views
from masd.detection.fused.detector import FusedDetector
from masd.detection.trained_on.warning_codes import TrainedOn
from masd.errors import MasdError
from masd.files import sha256


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_a_loaded_bundle_scores_and_names_its_origin(
    tiny_bundle: Path, tiny_data: Path, tiny_settings: Settings
) -> None:
    loaded = load_bundle(tiny_bundle)
    heard = tiny_settings.audio.model_copy(update={"channel": "mean"})  # what "auto" is for these recordings
    assert loaded.settings == tiny_settings.model_copy(update={"audio": heard})
    assert loaded.manifest.machine_type == "fan"
    assert loaded.manifest.version == "0"
    assert set(loaded.manifest.files) == set(FILES)
    assert set(loaded.manifest.libraries) >= {"torch", "numpy"}
    assert [row["stage"] for row in loaded.history] == [1, 2]
    clip = read_machine(tiny_data / "fan").split("test")[0]
    score = loaded.scorer.score([loaded.scorer.decode(clip.path)])[0]
    assert np.isfinite(score.score)
    again = load_bundle(tiny_bundle).scorer
    assert again.score([again.decode(clip.path)])[0] == score


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_detectors_are_mapped_and_not_read_so_processes_share_them(bundle: Path, tiny_data: Path) -> None:
    scorer = load_bundle(bundle).scorer
    fused = scorer.detectors.systems["fused"]
    assert isinstance(fused, FusedDetector)
    held = [array for view in fused.neighbours.values() for array in (view.source, view.target, view.whitening)]
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    spans = [line.split()[0].split("-") for line in lines if line.endswith(str(bundle / "detectors.safetensors"))]
    for array in [*held, fused.frames.precisions]:
        assert any(int(first, 16) <= array.ctypes.data < int(last, 16) for first, last in spans)
    clip = read_machine(tiny_data / "fan").split("test")[0]
    before = scorer.score([scorer.decode(clip.path)])
    shutil.rmtree(bundle)  # as TorchServe does when it unloads a version that still answers
    assert scorer.score([scorer.decode(clip.path)]) == before


def test_detectors_survive_their_tensors(tiny_bundle: Path) -> None:
    detectors = load_bundle(tiny_bundle).scorer.detectors
    copy = Detectors.from_tensors(detectors.tensors(), has_network=True)
    assert copy.thresholds == detectors.thresholds
    vectors = np.random.default_rng(0).normal(
        size=(5, detectors.systems["lof-score"].minimum.source.detector.tensors()["vectors"].shape[1])
    )
    for name in PAPER_SYSTEMS:
        own, again = detectors.systems[name], copy.systems[name]
        assert own.scaling == again.scaling
        assert np.array_equal(own.minimum.score(vectors)[0], again.minimum.score(vectors)[0])
    rng = np.random.default_rng(1)
    fused, fused_again = detectors.systems["fused"], copy.systems["fused"]
    views: Views = {
        name: rng.normal(size=(5, len(own.centre))).astype(np.float32) for name, own in fused.neighbours.items()
    }
    log_mels = list(rng.normal(size=(5, 9, len(fused.frames.mean))).astype(np.float32))
    assert np.array_equal(fused.score_views(log_mels, views)[0], fused_again.score_views(log_mels, views)[0])
    assert detectors.embeddings is not None and copy.embeddings is not None
    points = rng.normal(size=(5, len(detectors.embeddings.centre))).astype(np.float32)
    assert np.array_equal(detectors.embeddings.distances(points), copy.embeddings.distances(points))


def test_detectors_of_an_older_bundle_score_without_an_embedding_distance(tiny_bundle: Path, tiny_data: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    old = {k: v for k, v in bundle.scorer.detectors.tensors().items() if not k.startswith("embeddings.")}
    clip = bundle.scorer.decode(read_machine(tiny_data / "fan").split("test")[0].path)
    now = bundle.scorer.score([clip])[0]
    bundle.scorer.detectors = Detectors.from_tensors(old, has_network=True)
    then = bundle.scorer.score([clip])[0]
    assert now.embedding_distance is not None and np.isfinite(now.embedding_distance)
    assert then == replace(now, embedding_distance=None)


def test_the_reference_has_the_columns_of_the_log_and_no_values_the_network_remembers(
    tiny_bundle: Path, tiny_data: Path
) -> None:
    scorer = load_bundle(tiny_bundle).scorer
    clips = [scorer.decode(clip.path) for clip in read_machine(tiny_data / "fan").split("test")[:2]]
    reference = pd.read_parquet(tiny_bundle / "reference.parquet")
    assert list(reference.columns) == list(scorer.score(clips)[0].to_record())
    source = reference[reference["domain"] == "source"]
    own = source[["score", "margin", "reconstruction_error", "embedding_distance"]]
    assert own.notna().all(axis=1).sum() == own.notna().any(axis=1).sum() == 5  # calibration clips: five at least
    assert reference.drop(columns=own.columns).notna().all(axis=None)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_in_any_file_is_refused_by_name(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(bytes(content))
    with pytest.raises(MasdError, match=name):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_a_missing_file_is_refused_by_name(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(MasdError, match=name):
        load_bundle(bundle)


def _rewrite(bundle: Path, **changes: object) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_bundle_of_schema_4_knows_nothing_of_its_training_clips(bundle: Path) -> None:
    """As version 0.1.0 made them: without what was noted later, other sample rates are scored as they were then."""
    content = json.loads((bundle / "manifest.json").read_text())
    assert content["trained_on"]["sample_rates"] == [16_000]
    arrays = load_file(bundle / "detectors.safetensors")
    save_file({k: v for k, v in arrays.items() if not k.startswith("expected.")}, bundle / "detectors.safetensors")
    files = content["files"] | {"detectors.safetensors": sha256(bundle / "detectors.safetensors")}
    (bundle / "manifest.json").write_text(
        json.dumps({k: v for k, v in content.items() if k != "trained_on"} | {"schema_version": 4, "files": files})
    )
    scorer = load_bundle(bundle).scorer
    assert (scorer.expected, scorer.trained_on) == (None, TrainedOn())
    recording = Recording(
        samples=np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32),
        sample_rate_in=48_000,
        channels_in=1,
        duration_s=3.0,
        level_dbfs=-20.0,
        clipped_share=0.0,
    )
    np.testing.assert_array_equal(scorer.frames(recording), scorer.log_mel(recording.samples))


def test_an_older_schema_is_refused_by_number(bundle: Path) -> None:
    _rewrite(bundle, schema_version=1)
    with pytest.raises(MasdError, match=r"schema 1 is older .* train it again"):
        load_bundle(bundle)


def test_a_bundle_of_0_1_0_scores_as_it_did(bundle: Path, tiny_data: Path) -> None:
    """Schema 4 had no calibration and no ``data.group_by``."""
    clip = read_machine(tiny_data / "fan").split("test")[0]
    new = load_bundle(bundle)
    expected = new.scorer.score([new.scorer.decode(clip.path)])[0]
    assert new.manifest.calibration["threshold"] == expected.threshold
    tensors = {k: v for k, v in load_file(bundle / "detectors.safetensors").items() if not k.endswith(".calibration")}
    save_file(tensors, bundle / "detectors.safetensors")
    config = yaml.safe_load((bundle / "config.yaml").read_text())
    del config["data"]["group_by"]
    (bundle / "config.yaml").write_text(yaml.safe_dump(config))
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["calibration"]
    manifest["files"] = {name: sha256(bundle / name) for name in FILES}
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 4}))
    old = load_bundle(bundle)
    assert old.manifest.calibration == {} and old.scorer.detectors.calibrations == {}
    assert old.scorer.score([old.scorer.decode(clip.path)])[0] == replace(expected, calibration=None)


def test_a_newer_schema_is_refused_by_number(bundle: Path) -> None:
    _rewrite(bundle, schema_version=99)
    with pytest.raises(MasdError, match=r"schema 99 is newer .* upgrade masd"):
        load_bundle(bundle)


def test_a_manifest_cannot_name_files_outside_the_bundle(bundle: Path) -> None:
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    _rewrite(bundle, files=files | {"../../etc/passwd": "0" * 64})
    with pytest.raises(MasdError, match="must name exactly the files"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["", ".", "..", "../fan", "a/b", "fan fan", "-fan", "f" * 65, "fän"])
def test_machine_names_that_cannot_be_folders_and_models_are_refused(name: str, bundle: Path) -> None:
    with pytest.raises(MasdError, match="machine type"):
        check_machine_name(name)
    _rewrite(bundle, machine_type=name)
    with pytest.raises(MasdError, match="machine type"):
        load_bundle(bundle)


def test_stamping_changes_the_manifest_alone(bundle: Path) -> None:
    before = load_manifest(bundle)
    stamp(bundle, version="7", metrics={"hmean": 0.5})
    after = load_manifest(bundle)
    assert (after.version, after.metrics) == ("7", {"hmean": 0.5})
    assert after.files == before.files
    assert load_bundle(bundle).scorer.model_version == "7"


def test_no_pickle_in_a_bundle(tiny_bundle: Path) -> None:
    assert {path.suffix for path in tiny_bundle.iterdir()} == {".json", ".yaml", ".safetensors", ".parquet"}
    for path in tiny_bundle.iterdir():
        assert path.read_bytes()[:2] not in (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK"), path


@pytest.mark.parametrize(
    ("revision", "suffix"),
    [("0123456789abcdef0123456789abcdef01234567", "+g0123456789ab"), ("unknown", ""), ("", "")],
)
def test_an_image_says_the_revision_it_was_built_from(
    revision: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masd, "__file__", str(tmp_path / "site-packages" / "masd" / "__init__.py"))
    monkeypatch.setenv(REVISION, revision)
    assert code_version() == version("masd") + suffix
