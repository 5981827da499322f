"""Stretches in which the machine is off: found, reported, and left out of the score."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from masd.audio import LongRecording, Loudness
from masd.audio.decode import decode_or_stream
from masd.bundle.bundle import load_bundle
from masd.detection.long_recordings.blocks import _blocks, _Reader, excerpt
from masd.detection.long_recordings.machine_off import level_while_on, off_spans, on_spans
from masd.detection.scorer import Scorer

RATE = 16_000
CLIP_S = 3.0
"""Length of the tiny bundle's training clips."""


def encode(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def noise(seconds: float, dbfs: float = -20.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 10 ** (dbfs / 20), round(seconds * RATE)).astype(np.float32)


def zeros(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def loudness_of(*parts: np.ndarray) -> Loudness:
    recording = decode_or_stream(
        encode(np.concatenate(parts)), sample_rate=RATE, channel="mean", max_seconds=None, long_from=0.5
    )
    assert isinstance(recording, LongRecording)
    return recording.loudness


@pytest.fixture(scope="module")
def scorer(tiny_bundle: Path) -> Scorer:
    return load_bundle(tiny_bundle).scorer


def normals(data: Path, count: int) -> np.ndarray:
    clips = sorted((data / "fan" / "test").glob("*source*normal*"))
    return np.concatenate([soundfile.read(clips[n % len(clips)], dtype="float32")[0] for n in range(count)])


# --- where it is off -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [0.0, 0.1])
def test_digital_silence_is_off_whatever_is_known_of_the_levels(nothing: float) -> None:
    loudness = loudness_of(noise(10), zeros(5) + np.float32(nothing), noise(10))
    assert off_spans(loudness, CLIP_S, None) == (pytest.approx((10.0, 15.0)),)
    assert off_spans(loudness_of(noise(10), zeros(1.4), noise(10)), CLIP_S, None) == ()  # half a training clip is 1.5 s


def test_far_below_the_training_level_is_off_if_it_lasts_a_training_clip() -> None:
    parts = noise(10), noise(6, -50.0), noise(10)
    (span,) = off_spans(loudness_of(*parts), CLIP_S, -45.0)
    assert span == pytest.approx((10.0, 16.0), abs=0.15)
    assert off_spans(loudness_of(*parts), CLIP_S, None) == ()
    assert off_spans(loudness_of(*parts), CLIP_S, -55.0) == ()
    assert off_spans(loudness_of(noise(10), noise(2, -50.0), noise(10)), CLIP_S, -45.0) == ()


def test_a_machine_that_works_by_fits_and_starts_is_never_off() -> None:
    """A valve: a tenth of a second of noise every second, 60 dB quieter in between."""
    valve = np.concatenate([part for n in range(30) for part in (noise(0.1, -20.0, n), noise(0.9, -80.0, n))])
    level = 10 * np.log10(np.mean(np.square(valve, dtype=np.float64)))
    assert off_spans(loudness_of(valve), CLIP_S, level - 20.0) == ()


def test_a_click_does_not_turn_it_on() -> None:
    loudness = loudness_of(noise(10), zeros(5), noise(0.3), zeros(5), noise(10))
    assert off_spans(loudness, CLIP_S, None) == (pytest.approx((10.0, 20.3)),)


def test_all_of_a_recording_may_be_off() -> None:
    assert off_spans(loudness_of(zeros(20.05)), CLIP_S, None) == (pytest.approx((0.0, 20.05)),)
    assert off_spans(loudness_of(noise(20, -80.0)), CLIP_S, -60.0) == (pytest.approx((0.0, 20.0)),)
    assert on_spans(((0.0, 20.0),), 20.0) == [(0.0, 20.0)]


@given(st.lists(st.tuples(st.sampled_from([0.0, 1e-6, 1.0]), st.integers(1, 40)), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_spans_are_ordered_apart_and_inside(parts: list[tuple[float, int]]) -> None:
    powers = np.concatenate([np.full(count, power) for power, count in parts])
    loudness = Loudness(0.1, 0.1 * len(powers) - 0.05, powers, powers == 0.0)
    off = off_spans(loudness, 1.0, -40.0)
    edges = [edge for span in off for edge in span]
    assert edges == sorted(edges) and len(set(edges)) == len(edges)
    assert all(0.0 <= edge <= loudness.duration_s for edge in edges)
    if 0 < sum(end - start for start, end in off) < loudness.duration_s - 1e-6:
        covered = sum(end - start for start, end in off) + sum(e - s for s, e in on_spans(off, loudness.duration_s))
        assert covered == pytest.approx(loudness.duration_s)


def test_the_level_is_that_of_the_machine_while_it_is_on() -> None:
    loudness = loudness_of(noise(5), zeros(45))
    assert level_while_on(loudness, off_spans(loudness, CLIP_S, None)) == pytest.approx(-20.0, abs=0.1)
    assert level_while_on(loudness, ()) == pytest.approx(-30.0, abs=0.1)
    assert level_while_on(loudness, ((0.0, 50.0),)) == pytest.approx(-30.0, abs=0.1)


# --- what is scored --------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 9), max_size=12),
    st.lists(st.integers(0, 60), max_size=6).map(sorted),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_parts_of_a_stream_are_read_where_they_are(pieces: list[int], edges: list[int]) -> None:
    samples = np.arange(sum(pieces), dtype=np.float32)
    reader = _Reader(iter(np.split(samples, np.cumsum(pieces)[:-1]) if pieces else []))
    for first, last in zip(edges[::2], edges[1::2], strict=False):
        read = [np.empty(0), *reader.between(first, last)]
        np.testing.assert_array_equal(np.concatenate(read), samples[first:last])


def test_a_fault_is_found_beside_silence(scorer: Scorer, tiny_data: Path) -> None:
    """Half a shift off: before, the silent blocks scored highest and pushed the fault out of the answer."""
    fault = sorted((tiny_data / "fan" / "test").glob("*source*anomaly*"))[0]
    on = np.concatenate([normals(tiny_data, 2), soundfile.read(fault, dtype="float32")[0]])
    alone = scorer.score([scorer.decode(encode(np.concatenate([on, on])))])[0]
    with_silence = scorer.score([scorer.decode(encode(np.concatenate([on, zeros(15), on])))])[0]
    assert with_silence.score == pytest.approx(alone.score, rel=1e-5)
    assert with_silence.warnings == ()
    assert with_silence.blocks is not None and alone.blocks is not None
    assert with_silence.blocks.count == alone.blocks.count == 6
    answer = with_silence.to_dict()["blocks"]
    assert answer["off"] == [{"start_s": 9.0, "end_s": 24.0}]
    assert answer["off_s"] == 15.0
    assert alone.to_dict()["blocks"]["off"] == []
    assert not any(9.0 < part.start_s < 24.0 for part in with_silence.segments)


def test_blocks_begin_where_the_machine_starts(scorer: Scorer, tiny_data: Path) -> None:
    on = normals(tiny_data, 4)[: round(10.5 * RATE)]
    recording = scorer.decode(encode(np.concatenate([zeros(5), on, zeros(5), on])))
    assert isinstance(recording, LongRecording)
    off = off_spans(recording.loudness, CLIP_S, None)
    starts = [start for start, _ in _blocks(recording, CLIP_S, off)]
    assert starts == pytest.approx([5.0, 8.0, 11.0, 12.5, 20.5, 23.5, 26.5, 28.0], abs=0.11)
    result = scorer.score([recording])[0]
    assert result.blocks is not None
    part = excerpt(recording, result, lambda block: scorer.score([block])[0])
    assert part.start_s == result.blocks.worst_start_s


def test_the_training_level_decides_without_digital_silence(scorer: Scorer, tiny_data: Path) -> None:
    levels = scorer.trained_on.levels_dbfs
    assert levels is not None
    on = normals(tiny_data, 3)
    for below, off in ((10.0, 0), (25.0, 1)):
        hum = noise(9, levels[0] - below)
        result = scorer.score([scorer.decode(encode(np.concatenate([on, hum, on])))])[0]
        assert result.blocks is not None
        assert len(result.blocks.off) == off


def test_a_recording_that_is_off_throughout_says_so(scorer: Scorer) -> None:
    for samples in (zeros(20), zeros(2)):
        result = scorer.score([scorer.decode(encode(samples))])[0]
        assert result.warnings == ("silence",)
        assert np.isfinite(result.score)
