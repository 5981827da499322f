"""Simulated near and far microphones: paths of sound, levels, and bursts of noise that are written down."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from masd.data.simulation import SimulationError, simulate
from masd.data.simulation.dataset import CATALOGUE
from masd.data.simulation.plan import PlannedClip
from masd.data.simulation.plant import bursts
from masd.data.simulation.plant.bursts import SNR_DB, bursts_in
from masd.data.simulation.plant.recording import record_two, site_of
from masd.data.simulation.plant.site import Site, heard
from masd.data.simulation.recording import LEVEL_DBFS
from masd.data.simulation.signals import RATE, decibels, rms

SITE = Site(near_m=0.7, far_m=5.0, reverberation_s=0.6, critical_m=2.0, seed=1)
SIZES = {"train": 8, "test": 8, "seconds": 2.0, "supplemental": 2}


def samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, RATE)
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_sound_reaches_the_far_microphone_later_and_weaker() -> None:
    click = np.zeros(RATE, np.float32)
    click[0] = 1.0
    near, far = np.abs(heard(click, SITE.of_machine)).T
    assert near.argmax() == round(0.7 / 343.0 * RATE)
    assert np.flatnonzero(far > 0.05)[0] == round(5.0 / 343.0 * RATE)
    assert near.max() == pytest.approx(1 / 0.7, rel=0.01)


def test_the_machine_is_strong_near_and_weak_far_and_its_hall_is_alike() -> None:
    car, fan = CATALOGUE["ToyCar"], CATALOGUE["fan"]  # one with clean extras, one with noise-only ones
    extra = PlannedClip("supplemental", "source", "normal", 0)
    alone = record_two(car, extra, 2 * RATE, 3, site_of(car, 3))
    assert alone.bursts == ()
    assert rms(alone.samples[:, 0]) > decibels(6.0) * rms(alone.samples[:, 1])
    hall = [
        record_two(fan, PlannedClip("supplemental", "source", "normal", n), 2 * RATE, 3, site_of(fan, 3))
        for n in range(8)
    ]
    quiet = [clip.samples for clip in hall if not clip.bursts]
    assert all(1 / decibels(3.0) < rms(clip[:, 0]) / rms(clip[:, 1]) < decibels(3.0) for clip in quiet)


def test_a_burst_lasts_as_long_as_is_written_down_and_has_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bursts, "PER_MINUTE", 2.0)
    n, found = 30 * RATE, []
    for seed in range(16):
        sound, listed = bursts_in(n, SITE, 0.5, np.random.default_rng(seed))
        active = np.abs(sound).max(axis=1) > 0
        for burst in listed:
            active[round(burst.start_s * RATE) : round(burst.end_s * RATE)] = False
        assert not active.any()
        if len(listed) == 1 and listed[0].start_s > 0 and listed[0].end_s < 30.0:
            part = sound[round(listed[0].start_s * RATE) : round(listed[0].end_s * RATE), 0]
            assert 0.5 / rms(part) == pytest.approx(decibels(listed[0].snr_db), rel=1e-3)
            found.append(listed[0])
    assert len({burst.kind for burst in found}) > 1
    assert all(SNR_DB[0] <= burst.snr_db <= SNR_DB[1] for burst in found)


def test_the_machine_and_its_hall_have_a_level_that_bursts_do_not_change() -> None:
    machine = CATALOGUE["fan"]
    site = site_of(machine, 1)
    clips = [record_two(machine, PlannedClip("train", "source", "normal", n), RATE, 1, site) for n in range(30)]
    levels = [20 * np.log10(rms(clip.samples[:, 0])) for clip in clips if not clip.bursts]
    assert len(levels) > 5
    assert LEVEL_DBFS[0] - 0.1 <= min(levels) and max(levels) <= LEVEL_DBFS[1] + 0.1


def test_two_channels_are_written_with_their_bursts_and_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        simulate(tmp_path / name, ["fan"], **SIZES, seed=5, channels=2)
    simulate(tmp_path / "mono", ["fan"], **SIZES, seed=5)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    folder = tmp_path / "one" / "fan"
    story = json.loads((folder / "simulation.json").read_text())
    wavs = sorted(folder.rglob("*.wav"))
    assert all(len(samples(path)) == 2 * RATE for path in wavs)
    assert story["bursts"] and set(story["bursts"]) < {path.relative_to(folder).as_posix() for path in wavs}
    mono = json.loads((tmp_path / "mono" / "fan" / "simulation.json").read_text())
    assert mono == {key: value for key, value in story.items() if key not in ("channels", "site", "bursts")}


def test_normal_and_anomalous_clips_of_every_split_have_bursts(tmp_path: Path) -> None:
    simulate(tmp_path, ["fan"], train=16, test=16, seconds=3.0, supplemental=0, channels=2, seed=2)
    names = json.loads((tmp_path / "fan" / "simulation.json").read_text())["bursts"]
    for part in ("train/section_00_source_train_normal", "test/section_00_source_test_normal", "_test_anomaly"):
        assert any(part in name for name in names)


def test_three_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="channels is 3"):
        simulate(tmp_path, ["fan"], **SIZES, channels=3)
    assert not any(tmp_path.iterdir())
