"""Training clips that hold nothing to learn from are refused or named, before anything is trained."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from masd.config import Settings
from masd.data.channels import settled
from masd.data.findings import Finding
from masd.data.folders.machine import read_machine
from masd.data.store import FeatureStore, build_store
from masd.errors import MasdError
from masd.lifecycle import steps

RATE = 16_000
Sound = Callable[[int], npt.NDArray[np.float64]]
DCASE = "section_00_source_train_normal_{:04}_noAttribute.wav"


def noise(number: int, level: float = 0.1) -> npt.NDArray[np.float64]:
    return level * np.random.default_rng(number).standard_normal(RATE // 4)


def silence(number: int) -> npt.NDArray[np.float64]:
    return np.zeros(RATE // 4)


def stereo(left: Sound, right: Sound) -> Sound:
    return lambda number: np.stack([left(number), right(number)], axis=1)


def inverted(number: int) -> npt.NDArray[np.float64]:
    return np.stack([noise(number), -noise(number)], axis=1)


def write(folder: Path, *sounds: Sound, name: str = "clip_{}.wav") -> Path:
    (folder / "train").mkdir(parents=True)
    for number, sound in enumerate(sounds):
        soundfile.write(folder / "train" / name.format(number), sound(number), RATE, subtype="FLOAT")
    return folder


def store(folder: Path, *overrides: str) -> FeatureStore:
    settings = Settings.load(None, list(overrides))
    return build_store(read_machine(folder), settings, folder.parent / "store")


def found(folder: Path, *overrides: str) -> dict[str, Finding]:
    return {finding.code: finding for finding in store(folder, *overrides).findings}


FAR = stereo(noise, lambda number: noise(number + 100, 0.02))
DEAD = stereo(noise, silence)


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (silence, "contain no sound"),
        (lambda number: silence(number) + 0.25, "contain no sound"),
        (stereo(silence, silence), "contain no sound"),
        (inverted, "set audio.channel=0"),
        (DEAD, "channel without sound (1), which is averaged with the others"),
        (stereo(lambda number: noise(number, 1e-4), noise), "set audio.channel=1"),
    ],
    ids=["zero", "offset", "zero stereo", "inverted", "dead right", "dying left"],
)
def test_a_whole_set_without_sound_to_learn_from_is_refused(sound: Sound, said: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "press", *[sound] * 4)
    with pytest.raises(MasdError) as caught:
        store(folder)
    assert said in str(caught.value) and "clip_0.wav, clip_1.wav, clip_2.wav and 1 more" in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("odd", "code"), [(silence, "silent"), (inverted, "channels_cancel"), (DEAD, "dead_channel")])
def test_single_clips_are_named(odd: Sound, code: str, tmp_path: Path) -> None:
    finding = found(write(tmp_path / "press", noise, noise, odd, noise))[code]
    assert (finding.level, finding.clips) == ("warning", ("clip_2.wav",))
    assert finding.text.startswith("1 of 4 training clips") and "clip_2.wav" in finding.text


def test_the_channel_that_is_asked_for_may_be_the_one_with_sound(tmp_path: Path) -> None:
    folder = write(tmp_path / "press", *[DEAD] * 3)
    assert set(found(folder, "audio.channel=0")) == {"one_of_channels"}
    with pytest.raises(MasdError, match=r"contain no sound.*set audio.channel=0"):
        store(folder, "audio.channel=1")


def test_the_mean_of_channels_is_always_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "press", *[FAR] * 3)
    assert "masd uses the mean of 2 channels of 3 training clips" in found(folder)["mean_of_channels"].text
    assert found(folder)["mean_of_channels"].level == "note"
    assert store(folder).audio.channel == "mean"


def test_two_channels_of_the_challenge_are_near_and_far(tmp_path: Path) -> None:
    folder = write(tmp_path / "fan", *[FAR] * 3, name=DCASE)
    near = store(folder)
    assert near.audio.channel == 0
    assert {finding.code for finding in near.findings} == {"one_of_channels"}
    frames = np.array(near.frames)
    assert np.array_equal(frames, store(folder, "audio.channel=0").frames)
    mean = store(folder, "audio.channel=mean")
    assert [(one.code, one.level) for one in mean.findings] == [("mean_of_channels", "warning")]
    assert "a near and a far microphone" in mean.findings[0].text
    assert not np.array_equal(frames, mean.frames)


@pytest.mark.parametrize(
    ("sound", "name", "channel"),
    [
        (noise, DCASE, "mean"),
        (FAR, "clip_{}.wav", "mean"),
        (lambda number: np.stack([noise(number + n) for n in range(3)], axis=1), DCASE, "mean"),
    ],
    ids=["mono", "plain", "three"],
)
def test_other_recordings_are_heard_as_their_mean(sound: Sound, name: str, channel: str, tmp_path: Path) -> None:
    data = read_machine(write(tmp_path / "fan", *[sound] * 3, name=name))
    assert settled(Settings().audio, data).channel == channel


def test_what_the_scorer_hears_is_what_was_trained(tmp_path: Path) -> None:
    """A store made with "auto" says which channel it was; the bundle's settings are made of it."""
    folder = write(tmp_path / "fan", *[FAR] * 3, name=DCASE)
    assert Settings().audio.channel == "auto"
    assert FeatureStore.open(store(folder).folder).audio == Settings.load(None, ["audio.channel=0"]).audio


def test_quiet_clipped_and_foreign_clips_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "press", *[noise] * 6, lambda number: noise(number, 1e-3))
    soundfile.write(folder / "train" / "clip_1.wav", np.clip(noise(1, 2.0), -1, 1), RATE)
    soundfile.write(folder / "train" / "clip_2.wav", noise(2), 8_000)
    soundfile.write(folder / "train" / "clip_3.ogg", noise(3), RATE)
    seen = found(folder)
    assert {code: one.clips for code, one in seen.items() if one.clips} == {
        "quiet": ("clip_6.wav",),
        "clipped": ("clip_1.wav",),
        "low_rate": ("clip_2.wav",),
        "lossy": ("clip_3.ogg",),
    }
    assert "16000 Hz (7 clips), 8000 Hz (1 clip)" in seen["sample_rates"].text


def test_training_says_what_was_found_and_refuses_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "press", noise, noise, silence, noise)
    steps.featurize(tmp_path, ["press"], Settings(), tmp_path / "features")
    assert "warning: press: 1 of 4 training clips contain no sound" in capsys.readouterr().err
    write(tmp_path / "few", noise, noise)
    with pytest.raises(MasdError, match="2 source training clips.*cut long recordings"):  # noqa: RUF043
        steps.featurize(tmp_path, ["press", "few"], Settings(), tmp_path / "both")
    assert not (tmp_path / "both").exists(), "before the first machine is decoded"


def test_unreadable_clips_can_leave_too_few(tmp_path: Path) -> None:
    write(tmp_path / "press", noise, noise, noise)
    (tmp_path / "press" / "train" / "clip_2.wav").write_bytes(b"no recording")
    settings = Settings.load(None, ["data.max_unreadable_share=0.5"])
    with pytest.raises(MasdError, match="2 source training clips"):
        steps.featurize(tmp_path, ["press"], settings, tmp_path / "features")
