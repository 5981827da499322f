"""What is said of a recording before it is resampled: levels of channels, silence, clipping."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from masd.audio import decode
from masd.audio.clipping import Clipping
from masd.audio.sound_properties import LoudnessMeter, SoundMeter

RATE = 16_000


def encode(samples: np.ndarray, subtype: str = "FLOAT", rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


def noise(seed: int = 0, seconds: float = 1.0, rms: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, rms, round(seconds * RATE))


def sine(hz: float, amplitude: float, seconds: float = 1.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


# --- channels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "cancels"),
    [(-1.0, True), (-0.9, True), (-0.5, False), (0.0, False), (1.0, False)],
)
def test_an_inverted_channel_is_noticed(other: float, cancels: bool) -> None:
    one = noise()
    recording = decode(encode(np.stack([one, other * one + noise(1, rms=1e-4)], axis=1)))
    assert recording.channels_cancel is cancels
    assert not decode(encode(np.stack([one, other * one], axis=1)), channel=0).channels_cancel


@pytest.mark.parametrize("channels", [2, 3, 16, 64])
def test_channels_that_have_nothing_in_common_do_not_cancel(channels: int) -> None:
    recording = decode(encode(np.stack([noise(seed) for seed in range(channels)], axis=1)))
    assert not recording.channels_cancel
    assert recording.dead_channels == ()


@pytest.mark.parametrize("nothing", [0.0, 0.25, np.nan])
def test_a_dead_channel_is_named_whatever_it_is_stuck_at(nothing: float) -> None:
    dead = np.full(RATE, nothing)
    recording = decode(encode(np.stack([noise(), dead], axis=1)), channel=0)
    assert recording.dead_channels == (1,)
    assert recording.channel_levels_dbfs == pytest.approx((-20.0, -120.0), abs=0.1)
    assert not recording.silent
    if np.isfinite(nothing):
        assert decode(encode(np.stack([noise(), dead], axis=1))).mixed
        assert decode(encode(np.stack([noise(), dead], axis=1)), channel=1).silent


@pytest.mark.parametrize("channels", [1, 2])
def test_silence_is_no_dead_channel(channels: int) -> None:
    for offset in (0.0, 0.3):
        recording = decode(encode(np.full((RATE, channels), offset)))
        assert recording.silent
        assert recording.dead_channels == ()
        assert not recording.channels_cancel
    assert not decode(encode(noise(rms=1e-4))).silent


# --- clipping --------------------------------------------------------------------------------------------------------


def test_floats_beyond_one_are_not_clipped() -> None:
    """A calibrated recorder writes pascals."""
    assert decode(encode(30.0 * noise())).clipped_share == 0.0
    assert decode(encode(sine(100.0, 7.0))).clipped_share == 0.0


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_a_clipped_recording_is_noticed_at_any_gain(subtype: str, scale: float) -> None:
    """Turned down after it was clipped, or clipped by an amplifier before the recorder."""
    clipped = np.clip(sine(200.0, 0.9), -0.6, 0.6)
    share = float((np.abs(clipped) == 0.6).mean())
    assert share > 0.3
    assert decode(encode(scale * clipped / 0.6, subtype)).clipped_share == pytest.approx(share, abs=0.02)


def test_one_side_may_be_clipped_alone() -> None:
    clipped = np.minimum(noise(rms=0.3), 0.25)
    share = decode(encode(clipped)).clipped_share
    in_runs = (clipped[:-2] == 0.25) & (clipped[1:-1] == 0.25) & (clipped[2:] == 0.25)
    assert in_runs.mean() < share < (clipped == 0.25).mean()
    assert decode(encode(-clipped)).clipped_share == share


@pytest.mark.parametrize("amplitude", [3e-4, 1e-3, 1e-2])
def test_the_flat_crests_of_a_hum_are_not_clipped(amplitude: float) -> None:
    """Rounded to 16 bits, the crest of a 50 Hz wave has the same value several times in a row."""
    hum = sine(50.0, amplitude)
    rounded = np.round(hum * 32768)
    runs = np.split(rounded, np.flatnonzero(np.diff(rounded)) + 1)
    assert max(len(run) for run in runs if run[0] == rounded.max()) >= 3
    assert decode(encode(hum, "PCM_16")).clipped_share == 0.0


def test_the_rest_between_impulses_is_not_clipped() -> None:
    impulses = np.zeros(RATE)
    impulses[::100] = 0.1
    assert decode(encode(impulses)).clipped_share == 0.0
    assert decode(encode(-impulses)).clipped_share == 0.0


def test_full_scale_counts_in_integer_formats_only() -> None:
    spikes = np.zeros(1000)
    spikes[::10] = 1.0
    for subtype, share in (("PCM_U8", 0.1), ("PCM_16", 0.1), ("PCM_24", 0.1), ("FLOAT", 0.0), ("DOUBLE", 0.0)):
        assert decode(encode(spikes, subtype)).clipped_share == share, subtype


def test_a_clipped_channel_shows_in_the_mean_of_two() -> None:
    clipped = np.clip(sine(200.0, 0.9), -0.6, 0.6)
    share = decode(encode(clipped)).clipped_share
    assert decode(encode(np.stack([clipped, noise()], axis=1))).clipped_share == pytest.approx(share / 2)
    assert decode(encode(np.stack([clipped, noise()], axis=1)), channel=1).clipped_share == 0.0


def _by_hand(samples: list[int]) -> int:
    """Clipped samples of floats, run by run."""
    count = 0
    for extreme in (max(samples), min(samples)):
        if abs(extreme - np.mean(samples)) <= 0.99 * np.std(samples):
            continue
        run = 0
        for sample in [*samples, None]:
            if sample == extreme:
                run += 1
            else:
                count += run if run >= 3 else 0
                run = 0
    return count


@given(st.lists(st.sampled_from([-2, -1, 0, 1, 2, 2, 2, -2]), min_size=1, max_size=60), st.integers(1, 60))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_runs_are_the_same_however_the_recording_is_cut(samples: list[int], size: int) -> None:
    clipping = Clipping("FLOAT")
    for start in range(0, len(samples), size):
        clipping.add(np.array(samples[start : start + size], np.float32))
    mean, spread = float(np.mean(samples)), float(np.std(samples))
    assert clipping.count(mean, spread) == _by_hand(samples)


@given(st.integers(1, 4), st.integers(1, 50), st.sampled_from(["mean", 0]))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_everything_is_the_same_however_the_recording_is_cut(channels: int, size: int, channel: str | int) -> None:
    block = np.random.default_rng(channels).integers(-3, 4, (200, channels)).astype(np.float32) / 8
    mono = block.mean(axis=1, dtype=np.float32) if channel == "mean" else block[:, 0]
    whole, parts = (SoundMeter(channels, channel, "PCM_16", 100) for _ in range(2))
    loud, loud_parts = (LoudnessMeter(100) for _ in range(2))
    whole.add(block, mono)
    loud.add(mono)
    for start in range(0, 200, size):
        parts.add(block[start : start + size], mono[start : start + size])
        loud_parts.add(mono[start : start + size])
    one, other = vars(whole.properties()), vars(parts.properties())
    assert one.pop("level_dbfs") == pytest.approx(other.pop("level_dbfs"))
    assert one.pop("channel_levels_dbfs") == pytest.approx(other.pop("channel_levels_dbfs"))
    assert one == other
    for powers, silent in ((loudness.powers, loudness.silent) for loudness in (loud.loudness(), loud_parts.loudness())):
        np.testing.assert_allclose(powers, np.square(mono.reshape(20, 10), dtype=np.float64).mean(axis=1))
        np.testing.assert_array_equal(silent, [len(set(piece)) == 1 for piece in mono.reshape(20, 10)])
