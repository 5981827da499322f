"""Headers that are wrong in ways one can be certain of, and the errors for the others."""

import io
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from masd.audio import AudioError, Recording, decode
from masd.audio.wav_header import MAX_HEADER, W64_RIFF, W64_TAIL, chunks, layout_of, wave_header

RATE = 16_000
TONE = (0.3 * np.sin(2 * np.pi * 440.0 * np.arange(4_001) / RATE) * 32767).astype("<i2")
EXPECTED = (TONE / 32768).astype(np.float32)


def form(tag: int = 1, channels: int = 1, bits: int = 16, align: int | None = None) -> bytes:
    align = channels * bits // 8 if align is None else align
    return struct.pack("<HHIIHH", tag, channels, RATE, RATE * align, align, bits)


def chunk(name: bytes, body: bytes, size: int | None = None, padded: bool = True) -> bytes:
    size = len(body) if size is None else size
    return name + struct.pack("<I", size) + body + bytes(len(body) % 2 if padded else 0)


def wav(*parts: bytes, kind: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(parts)
    return kind + struct.pack("<I", len(body) if size is None else size) + body


def w64_chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    size = 24 + len(body) if size is None else size
    return name + W64_TAIL + struct.pack("<Q", size) + body + bytes(-len(body) % 8)


def w64(data_size: int | None, riff_size: int | None = None) -> bytes:
    """Padded at its end, as every chunk is, where it knows how long it is."""
    data = w64_chunk(b"data", TONE.tobytes(), data_size)
    data = data if data_size is None else data[: 24 + 2 * len(TONE)]
    body = b"wave" + W64_TAIL + w64_chunk(b"fmt ", form()) + data
    return W64_RIFF + struct.pack("<Q", 24 + len(body) if riff_size is None else riff_size) + body


def ds64(data_size: int, riff_size: int = 0, samples: int = 0) -> bytes:
    return chunk(b"ds64", struct.pack("<QQQI", riff_size, data_size, samples, 0))


def caf(data_size: int) -> bytes:
    described = struct.pack(">d4sIIIII", float(RATE), b"lpcm", 2, 2, 1, 1, 16)  # little-endian
    data = bytes(4) + TONE.tobytes()
    return (
        b"caff\0\1\0\0desc" + struct.pack(">q", len(described)) + described
        + b"data" + struct.pack(">q", data_size) + data
    )  # fmt: skip


def in_four_bytes(upper: bool) -> bytes:
    values = TONE.astype("<i4") * 256 + 37  # 24 bits
    return (values * 256 if upper else values).astype("<i4").tobytes()


def piped(content: bytes, folder: Path) -> Recording:
    """Decoded from a named pipe, which can be read once and has no length."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    try:
        return decode(pipe)
    finally:
        writer.join()
        pipe.unlink()


SAMPLES = TONE.tobytes()
FMT = chunk(b"fmt ", form())
LOST = wav(FMT, chunk(b"data", SAMPLES, 0), size=0)

RECOVERED = {
    "power lost": (LOST, True),
    "power lost, RIFF size right": (wav(FMT, chunk(b"data", SAMPLES, 0)), True),
    "streamed WAV": (wav(FMT, chunk(b"data", SAMPLES, 0xFFFFFFFF), size=0xFFFFFFFF), False),
    "WAV streamed by SoX": (wav(FMT, chunk(b"data", SAMPLES, 0x7FFFF000), size=0x7FFFF024), False),
    "streamed Wave64, as FFmpeg leaves it": (w64(2**63 - 1, 2**64 - 1), False),
    "streamed Wave64, all ones": (w64(2**64 - 1, 2**64 - 1), False),
    "whole Wave64": (w64(None), False),
    "streamed RF64": (wav(ds64(0), FMT, chunk(b"data", SAMPLES, 0xFFFFFFFF), kind=b"RF64", size=0xFFFFFFFF), False),
    "whole RF64": (
        wav(ds64(len(SAMPLES)), FMT, chunk(b"data", SAMPLES, 0xFFFFFFFF), kind=b"RF64", size=0xFFFFFFFF),
        False,
    ),
    "BW64": (
        wav(ds64(len(SAMPLES)), FMT, chunk(b"chna", bytes(4)), chunk(b"data", SAMPLES, 0xFFFFFFFF), kind=b"BW64"),
        False,
    ),
    "BW64 with a chunk behind": (
        wav(ds64(len(SAMPLES)), FMT, chunk(b"data", SAMPLES, 0xFFFFFFFF), chunk(b"axml", b"<a/>"), kind=b"BW64"),
        False,
    ),
    "streamed CAF": (caf(-1), False),
    "whole CAF": (caf(4 + len(SAMPLES)), False),
    "odd chunk": (wav(FMT, chunk(b"bext", b"Hello"), chunk(b"data", SAMPLES)), False),
    "odd chunk without padding": (wav(FMT, chunk(b"bext", b"Hello", padded=False), chunk(b"data", SAMPLES)), True),
    "two odd chunks without padding": (
        wav(chunk(b"bext", b"Hello", padded=False), FMT, chunk(b"note", b"abc", padded=False), chunk(b"data", SAMPLES)),
        True,
    ),
    "24 bits in the upper of four bytes": (
        wav(chunk(b"fmt ", form(bits=24, align=4)), chunk(b"data", in_four_bytes(upper=True))),
        True,
    ),
    "24 bits in the lower of four bytes": (
        wav(chunk(b"fmt ", form(bits=24, align=4)), chunk(b"data", in_four_bytes(upper=False))),
        True,
    ),
    "power lost, 24 bits in four bytes": (
        wav(chunk(b"fmt ", form(bits=24, align=4)), chunk(b"data", in_four_bytes(upper=True), 0), size=0),
        True,
    ),
}


@pytest.mark.parametrize("name", RECOVERED)
def test_what_can_be_read_is_the_same_from_path_bytes_and_pipe(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content, repaired = RECOVERED[name]
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    for recording in (decode(content), decode(path), piped(content, tmp_path)):
        np.testing.assert_allclose(recording.samples, EXPECTED, atol=2**-15)
        assert recording.repaired is repaired
        assert recording.duration_s == len(TONE) / RATE
    assert capfd.readouterr().err == ""


def test_an_empty_recording_stays_empty() -> None:
    """Its length of nothing is right: nothing is behind it, or other chunks to the very end."""
    for content in (
        wav(FMT, chunk(b"data", b"")),
        wav(FMT, chunk(b"data", b""), chunk(b"LIST", b"INFOISFT\4\0\0\0Lavf")),
        wav(FMT, chunk(b"data", b""), chunk(b"bext", b"Hello")),
    ):
        with pytest.raises(AudioError) as caught:
            decode(content)
        assert caught.value.reason == "empty"


def test_two_channels_of_24_bits_in_four_bytes() -> None:
    values = np.stack([TONE, -TONE], axis=1).astype("<i4") << 16
    content = wav(chunk(b"fmt ", form(channels=2, bits=24, align=8)), chunk(b"data", values.tobytes()))
    np.testing.assert_allclose(decode(content, channel=0).samples, EXPECTED, atol=2**-22)
    np.testing.assert_allclose(decode(content, channel=1).samples, -EXPECTED, atol=2**-22)


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM"])
def test_the_fact_chunk_is_the_length_of_adpcm(subtype: str) -> None:
    samples = 0.3 * np.sin(2 * np.pi * 440.0 * np.arange(RATE) / RATE)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype=subtype)
    content = bytearray(buffer.getvalue())
    fact = content.index(b"fact")
    content[fact + 8 : fact + 12] = struct.pack("<I", RATE)
    buffer.seek(0)
    padded, _ = soundfile.read(buffer)
    assert len(padded) > RATE, "libsndfile reads the padding of the last block"
    recording = decode(bytes(content))
    assert len(recording.samples) == RATE
    np.testing.assert_allclose(recording.samples, padded[:RATE], atol=1e-6)
    for wrong in (0, 100, RATE - 5_000, 2**32 - 1):  # no padding explains these
        content[fact + 8 : fact + 12] = struct.pack("<I", wrong)
        assert len(decode(bytes(content)).samples) == len(padded)


REFUSED = {
    "'LIST' chunk states 4294967295 bytes, more than the file has": wav(
        FMT, chunk(b"LIST", b"INFO", 0xFFFFFFFF), chunk(b"data", SAMPLES)
    ),
    "no 'fmt ' chunk before its samples": wav(chunk(b"data", SAMPLES)),
    "names the codec 0x0200": wav(chunk(b"fmt ", form(tag=0x200)), chunk(b"data", SAMPLES)),
    "cannot be right (0 channels, 16000 Hz": wav(chunk(b"fmt ", form(channels=0, align=2)), chunk(b"data", SAMPLES)),
    "it is FLAC in an Ogg container": b"OggS\0\2" + bytes(22) + b"\x7fFLAC\1\0" + bytes(500),
    "it is Speex": b"OggS\0\2" + bytes(22) + b"Speex   1.2" + bytes(500),
    "it is MP4": b"\0\0\0 ftypM4A " + bytes(500),
    "it is WavPack": b"wvpk" + bytes(500),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_be_read_is_named_with_its_repair(said: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(REFUSED[said])
    for source in (path, REFUSED[said]):
        with pytest.raises(AudioError) as caught:
            decode(source)
        assert caught.value.reason == "undecodable"
        assert said in str(caught.value)
        assert "ffmpeg" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_header_beyond_four_gigabytes_says_so_in_64_bits() -> None:
    header = wave_header(form(), 5 * 2**32)
    assert header[:4] == b"RF64"
    assert struct.unpack("<Q", header[28:36]) == (5 * 2**32,)
    assert wave_header(form(), 100)[:4] == b"RIFF"


# --- whatever comes in -----------------------------------------------------------------------------------------------


class Counted:
    """Bytes that note how much of them was read."""

    def __init__(self, content: bytes) -> None:
        self._content, self.read, self.calls = content, 0, 0

    @property
    def size(self) -> int:
        return len(self._content)

    def read_at(self, offset: int, count: int) -> bytes:
        assert offset >= 0 and 0 <= count <= MAX_HEADER
        part = self._content[offset : offset + count]
        self.read += len(part)
        self.calls += 1
        return part


SIZES = st.sampled_from([0, 1, 3, 4, 16, 40, 2**31 - 1, 2**31, 2**32 - 25, 2**32 - 1])
CHUNKS = st.builds(
    chunk,
    st.sampled_from([b"fmt ", b"data", b"fact", b"ds64", b"LIST", b"\0\0\0\0"]),
    st.one_of(st.binary(max_size=40), st.sampled_from([form(), form(bits=24, align=4), form(0x11), SAMPLES[:64]])),
    st.one_of(st.none(), SIZES),
    st.booleans(),
)


@given(
    st.lists(CHUNKS, max_size=6),
    st.sampled_from([b"RIFF", b"RF64", b"BW64"]),
    st.one_of(st.none(), SIZES),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_chunks_give_a_recording_or_an_audio_error(parts: list[bytes], kind: bytes, size: int | None) -> None:
    content = wav(*parts, kind=kind, size=size)
    counted = Counted(content)
    layout = layout_of(counted)
    assert counted.calls < 200 and counted.read < 10_000
    assert 0 <= layout.start <= len(content) and len(layout.prefix) < 200
    for found in chunks(Counted(content)):
        assert found.start <= len(content)
    try:
        recording = decode(content, max_seconds=60.0)
    except AudioError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(recording.samples).all()


@given(
    st.sampled_from([w64(None), w64(2**63 - 1), caf(-1), LOST, RECOVERED["BW64"][0]]),
    st.lists(st.tuples(st.integers(0, 120), st.binary(min_size=1, max_size=8)), max_size=4),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_damaged_header_gives_a_recording_or_an_audio_error(content: bytes, damage: list[tuple[int, bytes]]) -> None:
    damaged = bytearray(content)
    for position, value in damage:
        damaged[position : position + len(value)] = value
    try:
        recording = decode(bytes(damaged), max_seconds=60.0)
    except AudioError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(recording.samples).all()


def test_ten_thousand_chunks_are_not_walked() -> None:
    content = Counted(b"RIFF\xff\xff\xff\x7fWAVE" + b"junk\0\0\0\0" * 10_000)
    layout_of(content)
    assert content.calls <= 1_100
