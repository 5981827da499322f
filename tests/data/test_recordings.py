"""What the store says of copies and recordings."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from masd.bundle.bundle import load_bundle
from masd.config import Settings
from masd.data.folders.machine import read_machine
from masd.data.recordings.table import copies_note, shared_sound_note
from masd.data.store import FeatureStore, build_store
from masd.errors import MasdError
from masd.lifecycle import steps

RATE = 16_000


def sound(seed: int, seconds: float = 2.0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))


def write(folder: Path, clips: dict[str, np.ndarray]) -> Path:
    for name, samples in clips.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, RATE)
    return folder


def stored(folder: Path, out: Path, group_by: object = "none") -> FeatureStore:
    settings = Settings.model_validate({"data": {"group_by": group_by}})
    return build_store(read_machine(folder, settings.data), settings, out)


def by_name(store: FeatureStore, column: str) -> dict[str, object]:
    return dict(zip(store.clips["name"], store.clips[column], strict=True))


def test_copies_count_once_and_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write(
        tmp_path / "pump",
        {"train/a.wav": sound(0), "train/b.wav": sound(1), "train/c.wav": sound(2), "train/a.flac": -0.5 * sound(0)}
        | {"train/a.mp3": sound(0), "supplemental/noise_1.wav": sound(1), "test/normal/x.wav": sound(2)}
        | {"test/normal/y.wav": sound(3)},
    )
    with caplog.at_level(logging.WARNING):
        store = stored(folder, tmp_path / "store")
    copy_of = by_name(store, "copy_of")
    assert copy_of == {
        "a.flac": "",
        "a.wav": "a.flac",
        "a.mp3": "a.flac",
        "b.wav": "",
        "c.wav": "",
        "noise_1.wav": "b.wav",
        "x.wav": "",
        "y.wav": "",
    }
    assert store.clips["name"].iloc[store.normal_rows()].tolist() == ["a.flac", "b.wav", "c.wav"]
    note = copies_note(store.clips)
    assert note == (
        "3 training clips are copies of others and are left out: a.mp3 = a.flac, a.wav = a.flac, noise_1.wav = b.wav"
    )
    assert note in caplog.text
    assert by_name(store, "in_training")["x.wav"] == "c.wav"
    heard = shared_sound_note(store.clips)
    assert heard is not None and heard.startswith("1 test clip shares sound") and "x.wav = c.wav" in heard


def test_of_copies_the_one_whose_codec_keeps_every_sample_counts(tmp_path: Path) -> None:
    """Both are ``.wav``: only the decoder knows that the first was compressed."""
    folder = write(tmp_path / "pump", {f"train/{name}.wav": sound(n) for n, name in enumerate("bcd")})
    soundfile.write(folder / "train" / "a.wav", sound(0), RATE, subtype="ULAW")
    assert by_name(stored(folder, tmp_path / "store"), "copy_of") == {
        "a.wav": "b.wav",
        "b.wav": "",
        "c.wav": "",
        "d.wav": "",
    }


def test_a_folder_without_copies_has_nothing_to_say(tmp_path: Path) -> None:
    store = stored(write(tmp_path / "pump", {f"train/{n}.wav": sound(n) for n in range(4)}), tmp_path / "store")
    assert copies_note(store.clips) is None and shared_sound_note(store.clips) is None
    assert len(set(store.clips["recording"])) == 4


def test_overlapping_cuts_are_of_one_recording(tmp_path: Path) -> None:
    whole = sound(0, 5.0)
    clips = {f"train/{n}.wav": whole[n * RATE : n * RATE + 2 * RATE] for n in range(4)} | {"train/9.wav": sound(9)}
    store = stored(write(tmp_path / "pump", clips), tmp_path / "store")
    recording = by_name(store, "recording")
    assert len({recording[f"{n}.wav"] for n in range(4)}) == 1
    assert recording["9.wav"] != recording["0.wav"]
    assert len(store.normal_rows()) == 5


def dcase(attributes: list[str]) -> dict[str, np.ndarray]:
    names = [f"train/section_00_source_train_normal_{n:04}_{text}.wav" for n, text in enumerate(attributes)]
    return {name: sound(n, 0.5) for n, name in enumerate(names)}


GRID = [f"motor_{m}_rpm_{r}" for m in "ABC" for r in (10, 20) for _ in range(3)]


@pytest.mark.parametrize(
    ("group_by", "groups"),
    [("none", 18), ("auto", 6), (["motor", "rpm"], 6), ("motor", 3), (["rpm"], 2), (r"pattern:motor_(\w)_", 3)],
)
def test_recordings_by_attribute_or_pattern(tmp_path: Path, group_by: object, groups: int) -> None:
    store = stored(write(tmp_path / "pump", dcase(GRID)), tmp_path / "store", group_by)
    assert len(set(store.clips["recording"])) == groups


def test_a_condition_that_is_recorded_often_is_no_recording(tmp_path: Path) -> None:
    often = [f"op_{n % 2}" for n in range(12)]
    assert len(set(stored(write(tmp_path / "pump", dcase(often)), tmp_path / "s", "auto").clips["recording"])) == 12


def coloured(seed: int, place: int) -> np.ndarray:
    """Noise through what a place and a microphone make of it, of one and a half seconds."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(3 * RATE // 2))
    curve = np.random.default_rng(1000 + place).normal(scale=3.0, size=12)
    shape = np.interp(np.linspace(0, 11, len(spectrum)), np.arange(12), curve)
    sound: np.ndarray = 0.01 * np.fft.irfft(spectrum * 10 ** (shape / 20))
    return sound


def test_clips_of_one_recording_are_found_by_similarity(tmp_path: Path) -> None:
    """Five recordings, four cuts of each that share no sound; and a sixth of which there is one cut."""
    clips = {f"train/{place}_{cut}.wav": coloured(10 * place + cut, place) for place in range(5) for cut in range(4)}
    folder = write(tmp_path / "pump", clips | {"train/6_0.wav": coloured(99, 6)})
    recording = by_name(stored(folder, tmp_path / "store", "similarity"), "recording")
    for place in range(5):
        assert len({recording[f"{place}_{cut}.wav"] for cut in range(4)}) == 1
    assert len(set(recording.values())) == 6
    assert len(set(by_name(stored(folder, tmp_path / "plain", "none"), "recording").values())) == 21


def test_similarity_finds_the_recordings_that_names_tell(recordings: Path, tmp_path: Path) -> None:
    """bldcmotor: motor and speed tell the recording."""
    folder = recordings / "bldcmotor"
    found = stored(folder, tmp_path / "similar", "similarity").clips
    named = stored(folder, tmp_path / "named", ["motor", "rpm"]).clips
    training = (named["split"] == "train").to_numpy()
    pairs = {
        tuple(sorted(pair)) for pair in zip(found["recording"][training], named["recording"][training], strict=True)
    }
    assert len(pairs) == named["recording"][training].nunique() == found["recording"][training].nunique()


@pytest.mark.parametrize("group_by", ["speed", ["motor", "speed"], r"pattern:car_(\d)"])
def test_what_fits_no_clip_is_refused_and_the_attributes_are_named(tmp_path: Path, group_by: object) -> None:
    folder = write(tmp_path / "pump", dcase(GRID))
    with pytest.raises(MasdError, match=r"data.group_by=.* matches none of the 18 training clips; .* motor, rpm"):
        stored(folder, tmp_path / "store", group_by)


@pytest.mark.parametrize("pattern", ["pattern:(", "pattern:motor", "pattern:(a)(b)"])
def test_a_pattern_needs_one_group(pattern: str) -> None:
    with pytest.raises(MasdError, match=r"data.group_by"):
        Settings.load(None, [f"data.group_by='{pattern}'"])


def thresholds(data: Path, machine: str, settings: Settings, out: Path) -> dict[str, float]:
    steps.featurize(data, [machine], settings, out / "features")
    steps.train(out / "features", [machine], settings, out / "network", device="cpu")
    steps.fit_detectors(out / "features", machine, out / "network", settings, out / "bundle")
    detectors = load_bundle(out / "bundle").scorer.detectors
    typical = {name: float(values[0]) for name, values in detectors.systems["fused"].typical.items()}
    return {**detectors.thresholds, **typical}


def with_copies(folder: Path, out: Path) -> None:
    """Every clip as .wav and .flac, and the target clips twice more."""
    shutil.copytree(folder, out)
    for path in sorted((out / "train").glob("*.wav")):
        samples, rate = soundfile.read(path)
        soundfile.write(path.with_suffix(".flac"), samples, rate)
        if "_target_" in path.name:
            for copy in ("5", "6"):
                shutil.copy(path, path.with_name(path.name.replace("normal_0", f"normal_{copy}")))


@pytest.mark.slow
def test_copies_change_nothing(tiny_data: Path, tiny_settings: Settings, tmp_path: Path) -> None:
    with_copies(tiny_data / "fan", tmp_path / "data" / "fan")
    plain = thresholds(tiny_data, "fan", tiny_settings, tmp_path / "plain")
    assert thresholds(tmp_path / "data", "fan", tiny_settings, tmp_path / "copies") == pytest.approx(plain, rel=0.02)


@pytest.mark.slow
def test_copies_of_real_recordings_change_nothing(recordings: Path, tiny_settings: Settings, tmp_path: Path) -> None:
    few = tmp_path / "few" / "lathe"
    for name in ("source", "target"):
        for path in sorted((recordings / "lathe" / "train").glob(f"*_{name}_*.wav"))[:50]:
            (few / "train").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, few / "train")
    with_copies(few, tmp_path / "data" / "lathe")
    plain = thresholds(tmp_path / "few", "lathe", tiny_settings, tmp_path / "plain")
    assert thresholds(tmp_path / "data", "lathe", tiny_settings, tmp_path / "copies") == pytest.approx(plain, rel=0.02)
