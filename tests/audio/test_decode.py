"""Decoding: every format gives the same sound, and whatever is no sound is refused in one line with its reason."""

import errno
import io
import struct
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from masd.audio import AudioError, Recording, decode

RATE = 16_000
needs_mp3 = pytest.mark.skipif("MP3" not in soundfile.available_formats(), reason="this libsndfile has no MP3")


def tone(rate: int = RATE, seconds: float = 1.0, hz: float = 440.0, amplitude: float = 0.3) -> np.ndarray:
    """A sine that starts at phase 0."""
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def encode(samples: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def refused(source: Path | bytes, **options: object) -> AudioError:
    """The error of ``decode``: one line that names the file."""
    with pytest.raises(AudioError) as caught:
        decode(source, **options)
    assert "\n" not in str(caught.value)
    assert (str(source) if isinstance(source, Path) else "the audio") in str(caught.value)
    return caught.value


def peak_hz(samples: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples)))
    return float(np.argmax(spectrum) * rate / (8 * len(samples)))


def rms_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


# --- formats ---------------------------------------------------------------------------------------------------------


def test_wav_16_bit_is_the_integer_over_32768(tmp_path: Path) -> None:
    """Written with the standard library, so that nothing of libsndfile's scaling is assumed."""
    values = [0, 1, -1, 16384, -16384, 32767, -32768]
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(struct.pack(f"<{len(values)}h", *values))
    recording = decode(tmp_path / "a.wav")
    assert recording.samples.tolist() == [value / 32768 for value in values]
    assert recording.samples.dtype == np.float32
    assert (recording.sample_rate_in, recording.channels_in, recording.duration_s) == (RATE, 1, 7 / RATE)


@pytest.mark.parametrize(
    ("kind", "subtype", "step"),
    [
        ("WAV", "PCM_U8", 2**-7),
        ("WAV", "PCM_16", 2**-15),
        ("WAV", "PCM_24", 2**-23),
        ("WAV", "PCM_32", 2**-23),  # float32 keeps 24 bits
        ("WAV", "FLOAT", 2**-24),
        ("WAV", "DOUBLE", 2**-24),
        ("FLAC", "PCM_16", 2**-15),
        ("FLAC", "PCM_24", 2**-23),
        ("AIFF", "PCM_16", 2**-15),
    ],
)
def test_lossless_formats_keep_the_samples_to_their_resolution(kind: str, subtype: str, step: float) -> None:
    original = tone()
    samples = decode(encode(original, kind=kind, subtype=subtype)).samples
    assert len(samples) == len(original)
    assert np.abs(samples - original).max() <= step


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("OGG", "VORBIS"), ("OGG", "OPUS"), pytest.param("MP3", "MPEG_LAYER_III", marks=needs_mp3)],
)
def test_lossy_formats_keep_duration_frequency_and_level(kind: str, subtype: str) -> None:
    original = tone(seconds=2.0)
    recording = decode(encode(original, kind=kind, subtype=subtype))
    assert recording.duration_s == pytest.approx(2.0, abs=0.06)
    middle = recording.samples[RATE // 2 : 3 * RATE // 2]
    assert peak_hz(middle, RATE) == pytest.approx(440.0, abs=0.5)
    assert rms_db(middle) == pytest.approx(rms_db(original), abs=0.2)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", pytest.param("MP3", marks=needs_mp3)])
@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_bytes_and_path_give_the_same_recording(kind: str, rate: int, tmp_path: Path) -> None:
    content = encode(np.stack([tone(rate), tone(rate, hz=700.0)], axis=1), rate, kind)
    path = tmp_path / "clip.bin"  # the content counts, not the name
    path.write_bytes(content)
    from_bytes, from_path = decode(content, channel=1), decode(path, channel=1)
    np.testing.assert_array_equal(from_bytes.samples, from_path.samples)
    assert {k: v for k, v in vars(from_bytes).items() if k != "samples"} == {
        k: v for k, v in vars(from_path).items() if k != "samples"
    }


def test_a_clip_longer_than_one_read_is_whole() -> None:
    original = np.random.default_rng(0).uniform(-0.5, 0.5, 200_001)
    samples = decode(encode(original, subtype="FLOAT")).samples
    np.testing.assert_array_equal(samples, original.astype(np.float32))


# --- channels --------------------------------------------------------------------------------------------------------


def test_one_channel_or_the_mean_of_all() -> None:
    left, right = tone(amplitude=0.4), tone(hz=1000.0, amplitude=0.2)
    content = encode(np.stack([left, right], axis=1), subtype="FLOAT")
    for channel, expected in (("mean", (left + right) / 2), (0, left), (1, right)):
        recording = decode(content, channel=channel)
        np.testing.assert_allclose(recording.samples, expected, atol=1e-7)
        assert recording.channels_in == 2
        assert recording.level_dbfs == pytest.approx(rms_db(expected), abs=1e-3)
        assert recording.samples.flags["C_CONTIGUOUS"]


def test_a_missing_channel_is_refused() -> None:
    error = refused(encode(np.zeros((100, 2)) + 0.1), channel=2)
    assert error.reason == "channel"
    assert "2 channels" in str(error)


def test_a_mono_clip_serves_any_channel() -> None:
    content = encode(tone())
    np.testing.assert_array_equal(decode(content, channel=3).samples, decode(content).samples)


def test_the_reference_channel_comes_beside_the_near_one() -> None:
    near, far = tone(amplitude=0.4), tone(hz=1000.0, amplitude=0.2)
    content = encode(np.stack([near, far], axis=1), subtype="FLOAT")
    recording = decode(content, channel=0, reference=1)
    np.testing.assert_array_equal(recording.samples, near.astype(np.float32))
    np.testing.assert_array_equal(recording.far, far.astype(np.float32))
    assert decode(content, channel=0).far is None
    other_rate = decode(content, channel=0, reference=1, sample_rate=8_000)
    np.testing.assert_array_equal(other_rate.far, decode(content, channel=1, sample_rate=8_000).samples)


@pytest.mark.parametrize("channels", [(0.4,), (0.4, 0.0)], ids=["mono", "no sound in it"])
def test_without_a_reference_channel_the_near_one_is_all_there_is(channels: tuple[float, ...]) -> None:
    content = encode(np.stack([tone(amplitude=amplitude) for amplitude in channels], axis=1))
    recording = decode(content, channel=0, reference=1)
    assert recording.far is None
    np.testing.assert_array_equal(recording.samples, decode(content, channel=0).samples)


def test_a_missing_reference_channel_is_refused() -> None:
    error = refused(encode(np.zeros((100, 2)) + 0.1), channel=0, reference=2)
    assert error.reason == "channel"
    assert "audio.reference_channel is 2" in str(error)


def test_a_broken_reference_channel_is_refused() -> None:
    stereo = np.stack([tone(), np.full(RATE, np.nan)], axis=1)
    assert refused(encode(stereo, subtype="FLOAT"), channel=0, reference=1).reason == "not_finite"


# --- sample rates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_051, 44_100, 48_000, 96_000, 192_000])
def test_resampling_keeps_time_frequency_and_level_of_a_tone(rate: int) -> None:
    """Sample by sample the same sine as one written at 16 kHz, away from the filter's edges."""
    recording = decode(encode(tone(rate, hz=1000.0), rate, subtype="FLOAT"))
    assert recording.sample_rate_in == rate
    assert recording.duration_s == pytest.approx(1.0, abs=1 / rate)
    assert abs(len(recording.samples) - RATE) <= 1
    middle = slice(2_000, 14_000)
    np.testing.assert_allclose(recording.samples[middle], tone(hz=1000.0)[middle], atol=2e-4)


def test_other_target_rates() -> None:
    recording = decode(encode(tone(48_000, hz=300.0), 48_000, subtype="FLOAT"), sample_rate=8_000)
    assert len(recording.samples) == 8_000
    assert peak_hz(recording.samples, 8_000) == pytest.approx(300.0, abs=0.5)


def test_sound_above_half_the_target_rate_does_not_fold_back() -> None:
    recording = decode(encode(tone(48_000, hz=10_000.0), 48_000, subtype="FLOAT"))
    assert rms_db(recording.samples[2_000:14_000]) < -100.0
    assert recording.level_dbfs == pytest.approx(rms_db(tone()), abs=0.01)  # of the clip as it came in


@pytest.mark.parametrize("rate", [999, 400_001])
def test_absurd_sample_rates_are_refused(rate: int) -> None:
    error = refused(encode(tone(), rate))
    assert error.reason == "sample_rate"
    assert str(rate) in str(error)


@pytest.mark.parametrize("rate", [1_000, 400_000])
def test_the_extreme_sample_rates_are_accepted(rate: int) -> None:
    assert decode(encode(tone(rate, hz=100.0), rate)).duration_s == pytest.approx(1.0)


# --- what is said about the clip -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "level", "clipped"),
    [
        (tone(amplitude=1.0, hz=500.0), 10 * np.log10(0.5), None),
        (tone(amplitude=0.1, hz=500.0), 10 * np.log10(0.005), 0.0),
        (np.full(1000, 0.5), 20 * np.log10(0.5), 0.0),
        (np.zeros(1000), -120.0, 0.0),
        (np.repeat([0.9985, 1.0], [300, 100]), None, 0.25),
    ],
)
def test_level_and_clipping(samples: np.ndarray, level: float | None, clipped: float | None) -> None:
    for subtype in ("PCM_16", "FLOAT"):
        recording = decode(encode(samples, subtype=subtype))
        if level is not None:
            assert recording.level_dbfs == pytest.approx(level, abs=0.01)
        if clipped is not None:
            assert recording.clipped_share == clipped


# --- refusals --------------------------------------------------------------------------------------------------------


def _with(value: float) -> bytes:
    samples = tone()
    samples[8_000] = value
    return encode(samples, subtype="FLOAT")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (encode(np.zeros(0)), "empty"),
        (encode(tone())[:44], "empty"),  # the header alone
        (encode(tone(48_000)[:1], 48_000), "empty"),  # no sample left at 16 kHz
        (b"RIFF", "undecodable"),
        (b"this is no audio at all " * 100, "undecodable"),
        (np.random.default_rng(0).bytes(5_000), "undecodable"),
        (encode(tone())[:20], "undecodable"),
        (encode(tone(), kind="FLAC")[:-500], "undecodable"),
        (encode(tone(), kind="FLAC")[:60], "undecodable"),
        (encode(tone(), kind="OGG")[:1_500], "undecodable"),
        (_with(np.nan), "not_finite"),
        (_with(np.inf), "not_finite"),
        (_with(-np.inf), "not_finite"),
        (_with(1e30), "not_finite"),  # its power overflows float32: the log-mel would be infinite
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_sound_is_refused_by_reason_from_bytes_and_from_a_file(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    assert refused(content).reason == reason
    error = refused(path)
    assert error.reason == reason
    assert "0x" not in str(error)  # no address of an object


def test_loud_float_recordings_are_still_heard() -> None:
    """Some recorders write floats on the scale of integers."""
    assert np.isfinite(decode(encode(32_768.0 * tone(), subtype="FLOAT")).samples).all()


def test_nan_in_a_channel_that_is_not_asked_for_does_not_matter() -> None:
    stereo = np.stack([tone(), np.full(RATE, np.nan)], axis=1)
    content = encode(stereo, subtype="FLOAT")
    assert len(decode(content, channel=0).samples) == RATE
    assert refused(content, channel="mean").reason == "not_finite"


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path) -> None:
    error = refused(tmp_path / "none.wav")
    assert error.reason == "undecodable"
    assert "No such file" in str(error)
    assert refused(tmp_path).reason == "undecodable"


def test_a_disk_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    error = refused(tmp_path / "clip.wav")
    assert error.reason == "undecodable"
    assert "Input/output error" in str(error)


def test_the_length_limit_is_exact() -> None:
    content = encode(tone(8_000, seconds=2.0), 8_000)
    assert decode(content, max_seconds=2.0).duration_s == 2.0
    error = refused(content, max_seconds=1.999)
    assert error.reason == "too_long"
    assert "1.999 s" in str(error)


def test_a_far_too_long_clip_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "day.wav"
    path.write_bytes(encode(tone()))
    data_bytes = 1_000_000_000
    with path.open("r+b") as file:  # a header that promises 1 GB, in a sparse file that has it
        file.seek(4)
        file.write(struct.pack("<I", data_bytes + 36))
        file.seek(40)
        file.write(struct.pack("<I", data_bytes))
        file.truncate(data_bytes + 44)
    tracemalloc.start()
    try:
        assert refused(path, max_seconds=2.0).reason == "too_long"
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


# --- headers that do not tell the length -----------------------------------------------------------------------------


def _flac_that_promises(samples: int) -> bytes:
    """A one-second FLAC with another number of samples in its STREAMINFO (36 bits from byte 21)."""
    content = bytearray(encode(tone(), kind="FLAC"))
    field = int.from_bytes(content[21:26], "big")
    assert field & (2**36 - 1) == RATE
    content[21:26] = (field >> 36 << 36 | samples).to_bytes(5, "big")
    return bytes(content)


@pytest.mark.parametrize("promised", [0, RATE + 1, 2**33, 2**36 - 1])
@pytest.mark.parametrize("max_seconds", [None, 600.0])
def test_a_streamed_or_lying_flac_is_read_to_its_end(promised: int, max_seconds: float | None) -> None:
    """Encoders that write to a pipe leave 0; 2**36 samples must not be allocated on a header's word."""
    recording = decode(_flac_that_promises(promised), max_seconds=max_seconds)
    np.testing.assert_array_equal(recording.samples, decode(encode(tone(), kind="FLAC")).samples)
    assert recording.duration_s == 1.0


def test_a_streamed_wav_is_read_to_its_end() -> None:
    content = bytearray(encode(tone()))
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    np.testing.assert_array_equal(decode(bytes(content)).samples, decode(encode(tone())).samples)


def test_a_wav_cut_off_in_its_samples_gives_what_is_there() -> None:
    """A streamed WAV cannot be told from one cut off, so the shorter duration is the only sign."""
    recording = decode(encode(tone())[: 44 + 2 * 4_000])
    assert 0.2 < recording.duration_s <= 0.25
    np.testing.assert_allclose(recording.samples, tone()[: len(recording.samples)], atol=2**-15)


# --- whatever comes in -----------------------------------------------------------------------------------------------

_VALID = [encode(tone(seconds=0.05), kind=kind) for kind in ("WAV", "FLAC", "OGG")]


@given(
    st.sampled_from(_VALID),
    st.lists(st.tuples(st.integers(0, 150), st.binary(min_size=1, max_size=4)), max_size=4),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_damaged_header_gives_a_recording_or_an_audio_error(content: bytes, damage: list[tuple[int, bytes]]) -> None:
    damaged = bytearray(content)
    for position, value in damage:
        damaged[position : position + len(value)] = value
    try:
        recording = decode(bytes(damaged), max_seconds=60.0)
    except AudioError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(recording, Recording)
        assert len(recording.samples) > 0
        assert np.isfinite(recording.samples).all()
