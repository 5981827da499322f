"""Copies are found by what they sound like, and nothing else is."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from masd.audio import decode
from masd.data.recordings.copies import Overlap, connected, copies, covered_share, find_overlaps
from masd.data.recordings.prints import Prints
from masd.data.recordings.waveform_print import WaveformPrint

RATE = 16_000
Samples = np.ndarray


def machine(seed: int, seconds: float = 3.0) -> Samples:
    """A hum of fixed frequencies, knocks at a fixed rate that all sound alike, and noise that never repeats."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE)
    t = np.arange(n) / RATE
    hum = sum(np.sin(2 * np.pi * (t * f + rng.random())) for f in (100.0, 1200.0, 1300.0, 2400.0))
    knocks = np.zeros(n)
    knocks[int(rng.integers(RATE // 5)) :: RATE // 5] = 20.0
    decay = np.exp(-np.arange(800) / 100) * np.sin(np.arange(800) * 0.7)
    sound = 0.2 * hum + np.convolve(knocks, decay)[:n] + rng.standard_normal(n)
    return np.asarray(0.03 * sound, np.float32)


def prints(clips: list[Samples], rate: int = RATE) -> Prints:
    found = Prints()
    for clip in clips:
        found.add(WaveformPrint.of(clip, rate))
    return found


def through(container: str, subtype: str, rate: int = RATE) -> Callable[[Samples], Samples]:
    """What is decoded of a clip that was written in another format, and resampled before."""

    def written(clip: Samples) -> Samples:
        file = io.BytesIO()
        at_rate = clip if rate == RATE else soxr.resample(clip, RATE, rate)
        soundfile.write(file, at_rate, rate, format=container, subtype=subtype)
        return decode(file.getvalue()).samples

    return written


def shifted_at_48_khz(clip: Samples) -> Samples:
    return np.asarray(soxr.resample(soxr.resample(clip, RATE, 48_000)[1000:], 48_000, RATE))


COPIES: dict[str, Callable[[Samples], Samples]] = {
    "wav": through("WAV", "PCM_16"),
    "flac": through("FLAC", "PCM_16"),
    "mp3": through("MP3", "MPEG_LAYER_III"),
    "ogg": through("OGG", "VORBIS"),
    "opus": through("OGG", "OPUS", 48_000),
    "8 bits": through("WAV", "PCM_U8"),
    "8 kHz": through("WAV", "PCM_16", 8_000),
    "44.1 kHz": through("WAV", "PCM_16", 44_100),
    "48 kHz": through("WAV", "PCM_16", 48_000),
    "quiet": lambda clip: clip * np.float32(0.01),
    "inverted": lambda clip: -clip,
    "offset": lambda clip: clip + np.float32(0.2),
    "shifted by a third of a sample": shifted_at_48_khz,
    "trimmed by one sample": lambda clip: clip[1:],
    "trimmed": lambda clip: clip[777:-1500],
    "padded": lambda clip: np.pad(clip, (12_345, 678)),
    "three times": lambda clip: np.tile(clip, 3),
    "fainter noise over it": lambda clip: clip + 0.1 * clip.std() * np.float32(1) * noise(len(clip)),
}


def noise(n: int) -> Samples:
    return np.asarray(np.random.default_rng(99).standard_normal(n), np.float32)


@pytest.mark.parametrize("name", COPIES)
def test_every_copy_is_found_and_no_other_pair(name: str) -> None:
    clips = [machine(seed) for seed in range(4)]
    both = prints(clips + [COPIES[name](clip) for clip in clips])
    overlaps = find_overlaps(both)
    assert {(o.first, o.second) for o in overlaps} == {(n, n + 4) for n in range(4)}
    assert copies(both, overlaps, range(8)) == {n + 4: n for n in range(4)}
    assert copies(both, overlaps, range(7, -1, -1)) == {n: n + 4 for n in range(4)}


@pytest.mark.parametrize("seconds", [0.8, 1.0, 1.7])
def test_cuts_that_overlap_are_of_one_recording_and_no_copies(seconds: float) -> None:
    whole = [machine(seed, 6.0 - seconds) for seed in range(3)]
    cuts = prints([clip[: 3 * RATE] for clip in whole] + [clip[-3 * RATE :] for clip in whole])
    overlaps = find_overlaps(cuts)
    assert {(o.first, o.second) for o in overlaps} == {(n, n + 3) for n in range(3)}
    for overlap in overlaps:
        assert overlap.lag_s == pytest.approx(3.0 - seconds, abs=1e-3)
        assert overlap.first_share == pytest.approx(seconds / 3, abs=0.1)
        assert covered_share(cuts, overlaps, overlap.first, overlap.second) == pytest.approx(seconds / 3, abs=0.1)
    assert copies(cuts, overlaps, range(6)) == {}


def test_most_overlaps_of_half_a_second_are_found() -> None:
    whole = [machine(seed, 5.5) for seed in range(10)]
    cuts = prints([clip[: 3 * RATE] for clip in whole] + [clip[-3 * RATE :] for clip in whole])
    found = {(o.first, o.second) for o in find_overlaps(cuts)}
    assert found <= {(n, n + 10) for n in range(10)}
    assert len(found) >= 7


def test_a_part_is_a_copy_of_the_whole_but_not_the_other_way_round() -> None:
    part_and_whole = prints([machine(0)[8_000:30_000], machine(0)])
    overlaps = find_overlaps(part_and_whole)
    assert copies(part_and_whole, overlaps, [1, 0]) == {0: 1}
    assert copies(part_and_whole, overlaps, [0, 1]) == {}


def test_recordings_of_one_machine_are_no_copies() -> None:
    assert find_overlaps(prints([machine(seed) for seed in range(40)])) == []


def test_clips_of_one_tone_do_not_take_forever() -> None:
    t = np.arange(5 * RATE) / RATE
    tones = [np.asarray(np.sin(2 * np.pi * 1500 * t + phase), np.float32) for phase in range(20)]
    find_overlaps(prints(tones))  # whether they are copies cannot be told


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_clips_without_sound_are_copies_of_each_other_only(level: float) -> None:
    silent = np.full(RATE, level, np.float32)
    clips = prints([machine(0), silent, machine(1), silent[:5000], np.zeros(1, np.float32)])
    overlaps = find_overlaps(clips)
    assert copies(clips, overlaps, range(5)) == {3: 1, 4: 1}


@pytest.mark.parametrize("samples", [1, 2, 50, 399, 1600])
def test_clips_of_any_length_have_a_print(samples: int) -> None:
    assert find_overlaps(prints([machine(0)[:samples] + noise(samples), machine(1), machine(2)])) == []


@pytest.mark.parametrize("rate", [1_000, 4_000, 44_100])
def test_any_rate_of_the_model(rate: int) -> None:
    slow = [np.asarray(noise(8 * rate + n)[n:], np.float32) for n in (0, 1234)]
    (overlap,) = find_overlaps(prints(slow, rate))
    assert overlap.lag_s == pytest.approx(1234 / rate, abs=0.002)


def test_digital_silence_within_a_clip_is_nothing_that_clips_share() -> None:
    silence = np.zeros(RATE, np.float32)
    clips = [np.concatenate([silence, machine(seed, 1.0), silence]) for seed in (0, 1)]
    assert find_overlaps(prints(clips)) == []


def test_groups_are_joined_whatever_the_order() -> None:
    assert connected(6, [(4, 5), (1, 4), (3, 2), (5, 1)]).tolist() == [0, 1, 2, 2, 1, 1]
    assert connected(3, []).tolist() == [0, 1, 2]


def test_a_copy_of_a_copy_is_a_copy_of_what_is_kept() -> None:
    clips = prints([machine(0), machine(0)[100:], machine(0)[:-100]])
    overlaps = [*find_overlaps(clips)]
    assert all(isinstance(overlap, Overlap) for overlap in overlaps)
    assert copies(clips, overlaps, [2, 0, 1]) == {0: 2, 1: 2}


def test_real_recordings_of_a_machine_are_no_copies(recordings: Path) -> None:
    files = sorted((recordings / "lathe" / "train").glob("*.wav"))[-40:]
    clips = [decode(file).samples for file in files]
    assert find_overlaps(prints(clips)) == []
    again = [through("MP3", "MPEG_LAYER_III")(clip) for clip in clips[:5]]
    assert {(o.first, o.second) for o in find_overlaps(prints(clips + again))} == {(n, 40 + n) for n in range(5)}
