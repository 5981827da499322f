"""What is wrong with a file that libsndfile refuses, and how to repair it."""

import struct

from masd.audio.wav_header import W64_RIFF, Bytes, chunks

CONVERT = "convert it, for example with: ffmpeg -i IN -c:a pcm_s16le OUT.wav"
RAW = "if you know its format, convert it, for example with: ffmpeg -f s16le -ar 16000 -ac 1 -i IN OUT.wav"

FOREIGN = (
    (0, b"wvpk", "WavPack"),
    (0, b"TTA1", "TTA"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"ADIF", "AAC"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (4, b"ftyp", "MP4"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"#!AMR", "AMR"),
    (28, b"\x7fFLAC", "FLAC in an Ogg container"),
    (28, b"Speex   ", "Speex"),
)
"""Where a format that libsndfile does not read says what it is."""

SAMPLED_TAGS = frozenset({0x0001, 0x0002, 0x0003, 0x0006, 0x0007, 0x0011, 0x0014, 0x0031, 0x0055, 0xFFFE})
"""Codecs in WAV that libsndfile reads."""


def advice(content: Bytes) -> str | None:
    """One sentence for a file that cannot be opened; None where nothing is known of it."""
    head = content.read_at(0, 64)
    for at, magic, name in FOREIGN:
        if head[at : at + len(magic)] == magic and (at != 28 or head[:4] == b"OggS"):
            return f"it is {name}, which masd does not read: {CONVERT}"
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _of_wave(content)
    return _of_wave(content) if head[:16] == W64_RIFF else None


def _of_wave(content: Bytes) -> str | None:
    found = list(chunks(content))
    form = next((chunk for chunk in found if chunk.name == b"fmt "), None)
    if beyond := next((c for c in found if c.name != b"data" and c.start + c.size > content.size), None):
        return f"its {_name(beyond.name)} chunk states {beyond.size} bytes, more than the file has: {RAW}"
    if form is None or form.size < 16:
        return f"it has no 'fmt ' chunk before its samples: {RAW}"
    if found[-1].name != b"data":
        return "it has no 'data' chunk: it contains no samples; record it again"
    tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", content.read_at(form.start, 16))
    if tag not in SAMPLED_TAGS:
        return f"its 'fmt ' chunk names the codec 0x{tag:04x}, which masd does not read: {CONVERT}"
    about = f"{channels} channels, {rate} Hz, {bits} bits, {align} bytes per frame"
    return f"its 'fmt ' chunk cannot be right ({about}): {RAW}"


def _name(name: bytes) -> str:
    return repr(name.decode("latin-1"))
