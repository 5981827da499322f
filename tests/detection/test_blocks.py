"""Recordings longer than a few training clips: cut into blocks, decoded in a stream, named by their peaks."""

import io
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from masd.audio import AudioError, LongRecording, Recording, decode
from masd.audio.decode import decode_or_stream
from masd.bundle.bundle import load_bundle
from masd.detection.long_recordings.blocks import cut, excerpt, long_from, peaks
from masd.detection.result import LONG_SEGMENTS, Segment
from masd.detection.scorer import Scorer
from masd.evaluation.figures.clip import clip_figure
from masd.evaluation.pages.examples import choose_examples
from masd.evaluation.residuals import UsualResidual

RATE = 16_000
BLOCK_S = 3.0
"""The tiny bundle's training clips."""


def encode(samples: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.1, round(seconds * rate)).astype(np.float32)


def long(content: bytes | Path, **options: object) -> LongRecording:
    given_options = {"sample_rate": RATE, "channel": "mean", "max_seconds": None, "long_from": 1.0, **options}
    recording = decode_or_stream(content, **given_options)
    assert isinstance(recording, LongRecording)
    return recording


@pytest.fixture(scope="module")
def scorer(tiny_bundle: Path) -> Scorer:
    return load_bundle(tiny_bundle).scorer


# --- decoding in a stream --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, RATE, 44_100, 48_000])
@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_the_blocks_together_are_the_recording(rate: int, kind: str, subtype: str, tmp_path: Path) -> None:
    stereo = np.stack([noise(20.0, rate), noise(20.0, rate, seed=1)], axis=1)
    content = encode(stereo, rate, kind, subtype)
    whole = decode(content)
    path = tmp_path / "clip"
    path.write_bytes(content)
    for recording in (long(content), long(path), long(bytearray(content))):
        streamed = np.concatenate(list(recording.stream()))
        assert len(streamed) == len(whole.samples)
        np.testing.assert_allclose(streamed, whole.samples, atol=1e-6)
        about = {name: value for name, value in vars(whole).items() if name not in ("samples", "far")}
        assert {name: vars(recording)[name] for name in about} == about


def test_what_is_long_is_decided_exactly() -> None:
    content = encode(noise(2.0))
    options = {"sample_rate": RATE, "channel": "mean", "max_seconds": None}
    assert isinstance(decode_or_stream(content, long_from=2.0, **options), Recording)
    assert isinstance(decode_or_stream(content, long_from=1.999, **options), LongRecording)


def test_a_long_recording_is_refused_before_it_is_scored() -> None:
    broken = noise(20.0)
    broken[-5] = np.nan
    with pytest.raises(AudioError, match="NaN"):
        long(encode(broken, subtype="FLOAT"))
    with pytest.raises(AudioError, match="longer than 19 s"):
        long(encode(noise(20.0)), max_seconds=19.0)
    with pytest.raises(AudioError, match="cannot be decoded"):
        long(encode(noise(20.0), kind="FLAC")[:-500])


def test_ten_minutes_are_streamed_in_the_memory_of_seconds() -> None:
    content = encode(np.tile(noise(10.0, 44_100), 60), 44_100)
    tracemalloc.start()
    try:
        for _ in long(content).stream():
            pass
        assert tracemalloc.get_traced_memory()[1] < 12_000_000  # its samples alone are 38 MB
    finally:
        tracemalloc.stop()


# --- blocks ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 25), max_size=8), st.integers(1, 20))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_blocks_cover_all_samples_and_all_have_one_length(pieces: list[int], size: int) -> None:
    total = sum(pieces)
    samples = np.arange(total, dtype=np.float32)
    parts = np.split(samples, np.cumsum(pieces)[:-1]) if pieces else []
    blocks = list(cut(parts, size))
    for start, block in blocks:
        np.testing.assert_array_equal(block, samples[start : start + len(block)])
        assert len(block) == (size if total >= size else total)
    assert {int(number) for _, block in blocks for number in block} == set(range(total))
    if total >= size:
        last = [total - size] if total % size else []
        assert [start for start, _ in blocks] == [*range(0, total - size + 1, size), *last]


def test_long_is_three_clips_up_to_ten_minutes() -> None:
    assert [long_from(seconds) for seconds in (3.0, 10.0, 300.0, 3_600.0)] == [9.0, 30.0, 600.0, 600.0]


# --- scores ----------------------------------------------------------------------------------------------------------


def test_the_bundle_knows_how_long_its_clips_are(scorer: Scorer) -> None:
    assert scorer.clip_seconds == BLOCK_S


def test_a_recording_is_as_anomalous_as_its_worst_block_sent_alone(scorer: Scorer, tiny_data: Path) -> None:
    clips = sorted((tiny_data / "fan" / "test").glob("*.wav"))[:5]
    samples = np.concatenate([soundfile.read(clip, dtype="float32")[0] for clip in clips])
    whole = scorer.score([scorer.decode(encode(samples, subtype="FLOAT"))])[0]
    alone = scorer.score([scorer.decode(clip) for clip in clips])
    worst = int(np.argmax([score.score for score in alone]))
    assert whole.score == pytest.approx(alone[worst].score, abs=1e-6)
    assert whole.domain == alone[worst].domain
    assert whole.reconstruction_error == pytest.approx(np.mean([score.reconstruction_error for score in alone]))
    assert whole.duration_s == 15.0
    assert whole.blocks is not None
    assert (whole.blocks.count, whole.blocks.worst_start_s) == (5, BLOCK_S * worst)
    assert whole.blocks.anomalous == sum(score.anomalous for score in alone)
    for name, value in whole.systems.items():
        assert value == pytest.approx(max(score.systems[name] for score in alone), abs=1e-6)
    assert max(part.score for part in whole.segments) == pytest.approx(
        max(part.score for score in alone for part in score.segments), abs=1e-6
    )
    assert whole.to_dict()["blocks"]["seconds"] == BLOCK_S
    assert "blocks" not in alone[0].to_dict()


def test_up_to_three_clips_nothing_changes(scorer: Scorer) -> None:
    content = encode(noise(3 * BLOCK_S))
    whole = scorer.score([decode(content)])[0]
    assert scorer.score([scorer.decode(content)])[0] == whole
    assert whole.blocks is None
    assert len(whole.to_dict()["segments"]) == len(whole.segments)


def test_long_and_short_together_keep_their_places_and_thresholds(scorer: Scorer) -> None:
    contents = [encode(noise(seconds, seed=number)) for number, seconds in enumerate((2.0, 20.0, 4.0, 12.0))]
    recordings = [scorer.decode(content) for content in contents]
    together = scorer.score(recordings, thresholds=[None, 0.5, -1.0, 1e9])
    for recording, result, threshold in zip(recordings, together, (None, 0.5, -1.0, 1e9), strict=True):
        alone = scorer.score([recording], thresholds=[threshold])[0]
        assert result.score == pytest.approx(alone.score, abs=1e-5)
        assert (result.threshold, result.duration_s) == (alone.threshold, recording.duration_s)
    assert together[3].blocks is not None and together[3].blocks.anomalous == 0


def test_silence_in_between_does_not_refuse_a_long_recording(scorer: Scorer) -> None:
    sound = np.concatenate([noise(6.0), np.zeros(6 * RATE, np.float32), noise(6.0)])
    result = scorer.score([scorer.decode(encode(sound))])[0]
    assert np.isfinite(result.score)
    assert result.signals.level_dbfs == pytest.approx(-20.0, abs=0.1)  # of the rest
    assert result.blocks is not None
    assert result.blocks.off == ((6.0, 12.0),)
    assert result.blocks.count == 4


# --- segments --------------------------------------------------------------------------------------------------------


def test_peaks_do_not_overlap_and_the_highest_wins() -> None:
    windows = [Segment(start, start + 2.0, score) for start, score in enumerate((0.1, 0.5, 0.9, 0.4, 0.3, 0.7))]
    assert [(part.start_s, part.score) for part in peaks(windows)] == [(0.0, 0.1), (2.0, 0.9), (5.0, 0.7)]
    assert peaks([]) == ()


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=40))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_window_is_a_peak_or_overlaps_a_higher_one(windows: list[tuple[int, int]]) -> None:
    segments = [Segment(start / 2, start / 2 + 2.0, score) for start, score in windows]
    chosen = peaks(segments)
    assert [part.start_s for part in chosen] == sorted(part.start_s for part in chosen)
    assert all(one.end_s <= other.start_s for one, other in pairwise(chosen))
    for segment in segments:
        assert any(
            part.score >= segment.score and part.start_s < segment.end_s and segment.start_s < part.end_s
            for part in chosen
        )


def test_a_fault_of_a_second_is_found_in_minutes_and_the_answer_stays_short(scorer: Scorer, tiny_data: Path) -> None:
    clips = sorted((tiny_data / "fan" / "test").glob("*source*normal*"))
    samples = np.resize(np.concatenate([soundfile.read(clip, dtype="float32")[0] for clip in clips]), 120 * RATE)
    tone = (3 * samples.std() * np.sin(2 * np.pi * 3_111 * np.arange(RATE) / RATE)).astype(np.float32)
    samples[50 * RATE : 51 * RATE] += tone
    recording = scorer.decode(encode(samples))
    result = scorer.score([recording])[0]
    (highest,) = result.to_dict(top_segments=1)["segments"]
    assert abs((highest["start_s"] + highest["end_s"]) / 2 - 50.5) < 2.0
    assert len(result.to_dict()["segments"]) == LONG_SEGMENTS
    assert len(result.to_dict(top_segments=1_000)["segments"]) == len(result.segments) > LONG_SEGMENTS
    part = excerpt(recording, result, lambda block: scorer.score([block])[0])
    assert (part.start_s, part.recording.duration_s) == (48.0, BLOCK_S)
    assert len(part.segments) == 2  # all windows of the block, not only the peaks
    assert part.segments[0].start_s == 48.0


def test_the_report_shows_the_worst_block_of_a_long_test_clip(scorer: Scorer, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(encode(np.concatenate([noise(30.0), 3 * noise(3.0), noise(30.0)])))
    result = scorer.score([scorer.decode(path)])[0]
    assert result.blocks is not None
    usual = UsualResidual.fit([scorer.extract.residual(scorer.log_mel(noise(3.0)))])
    scores = pd.DataFrame(
        [{"name": "long.wav", "domain": "source", "condition": "anomaly", scorer.system: result.score}]
    )
    (example, *_) = choose_examples(scorer, scores, {"long.wav": path}, usual)
    assert example.start_s == result.blocks.worst_start_s
    assert example.audio_wav is not None and len(example.audio_wav) == 44 + 2 * int(BLOCK_S * RATE)
    assert all(example.start_s <= part.start_s < example.start_s + BLOCK_S for part in example.segments)
    assert b"<svg" in clip_figure(example).encode()
