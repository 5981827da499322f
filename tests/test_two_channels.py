"""A machine with a near and a far microphone, from recordings to answers: every path gives the same scores."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from masd.audio import LongRecording
from masd.bundle.bundle import Bundle, load_bundle
from masd.config import Settings
from masd.data.folders.machine import read_machine
from masd.data.simulation import simulate
from masd.data.store import build_store
from masd.evaluation.scoring import fits, score_stored
from masd.lifecycle.training import train
from serving.worker.batch import answer

SETTINGS = Settings.load(
    None, ["audio.channel=0", "audio.reference_channel=1", "gate.baseline_epochs=1", "gate.bootstrap_samples=50"]
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two")
    simulate(out, ["fan"], train=40, test=8, seconds=2.0, supplemental=0, channels=2, seed=1)
    return out


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle")
    for _ in train(str(data / "fan"), out / "fan", SETTINGS):
        pass
    return out / "fan"


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return load_bundle(folder)


def test_the_bundle_knows_its_reference_channel(bundle: Bundle) -> None:
    assert bundle.settings.audio.reference_channel == 1
    assert set(bundle.scorer.detectors.near_alone) == {"fused"}


def test_a_mono_clip_is_answered_by_the_near_detector_with_its_threshold(
    data: Path, bundle: Bundle, tmp_path: Path
) -> None:
    scorer, clip = bundle.scorer, read_machine(data / "fan").split("test")[0]
    both, _ = soundfile.read(clip.path, dtype="int16")
    mono, dead = tmp_path / "mono.wav", tmp_path / "dead.wav"
    soundfile.write(mono, both[:, 0], 16_000)
    soundfile.write(dead, both * np.array([1, 0], np.int16), 16_000)
    near = scorer.detectors.near_alone["fused"]
    two, one, without = scorer.score([scorer.decode(path) for path in (clip.path, mono, dead)])
    assert one.warnings == ("mono_for_two_channels",) and without.warnings == ("dead_channel",)
    assert one.score == pytest.approx(without.score, rel=1e-6)
    assert one.score != two.score
    assert (one.threshold, one.own_threshold, one.calibration) == (near.threshold, near.threshold, near)
    assert two.threshold == scorer.detectors.thresholds["fused"] != near.threshold
    (asked,) = scorer.score([scorer.decode(mono)], thresholds=[5.0])
    assert (asked.threshold, asked.own_threshold) == (5.0, near.threshold)


def test_evaluation_scores_as_the_scorer_does_a_mono_clip_too(data: Path, bundle: Bundle, tmp_path: Path) -> None:
    """From the store, whose far frames a mono clip lacks."""
    scorer, machine = bundle.scorer, read_machine(data / "fan")
    clips = list(machine.clips)
    number = next(n for n, clip in enumerate(clips) if clip.split == "test")
    mono = tmp_path / clips[number].path.name
    soundfile.write(mono, soundfile.read(clips[number].path, dtype="int16")[0][:, 0], 16_000)
    clips[number] = replace(clips[number], path=mono)
    store = build_store(replace(machine, clips=tuple(clips)), bundle.settings, tmp_path / "store")
    assert fits(scorer, store)
    files = {clip.name: clip.path for clip in clips}
    stored = score_stored(scorer, store, store.rows(split="test"), files).set_index("name")["fused"]
    for clip in (clip for clip in clips if clip.split == "test"):
        (direct,) = scorer.score([scorer.decode(clip.path)])
        assert direct.score == pytest.approx(stored[clip.name], rel=1e-5)
        assert direct.warnings == (("mono_for_two_channels",) if clip.path == mono else ())


def test_a_long_recording_is_scored_block_by_block_on_both_channels(data: Path, bundle: Bundle, tmp_path: Path) -> None:
    scorer = bundle.scorer
    clips = read_machine(data / "fan").split("test")
    parts = [soundfile.read(clip.path, dtype="int16")[0] for clip in clips]
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts), 16_000)
    recording = scorer.decode(tmp_path / "long.wav")
    assert isinstance(recording, LongRecording)
    (result,) = scorer.score([recording])
    alone = [score.score for score in scorer.score([scorer.decode(clip.path) for clip in clips])]
    assert result.score == pytest.approx(max(alone), rel=1e-5)


def test_the_endpoint_answers_both(data: Path, bundle: Bundle, tmp_path: Path) -> None:
    clip = read_machine(data / "fan").split("test")[0].path
    soundfile.write(tmp_path / "mono.wav", soundfile.read(clip, dtype="int16")[0][:, 0], 16_000)
    requests = [{"body": path.read_bytes()} for path in (clip, tmp_path / "mono.wav")]
    replies = answer(bundle.scorer, requests, None)
    assert [reply.status for reply in replies] == [200, 200]
    two, one = (json.loads(json.dumps(reply.body)) for reply in replies)
    assert (two["warnings"], one["warnings"]) == ([], ["mono_for_two_channels"])
    assert one["threshold"] == bundle.scorer.detectors.near_alone["fused"].threshold
