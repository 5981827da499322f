"""Bodies that no honest client sends, generated the same every time."""

import base64
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

AUDIO, JSON, FORM = "audio/wav", "application/json", "multipart/form-data; boundary=x"


@dataclass(frozen=True)
class Hostile:
    """One request: what it is, and what is sent."""

    name: str
    body: bytes
    content_type: str = AUDIO


def tone(seconds: float = 1.0, rate: int = 16_000) -> np.ndarray:
    """A quiet sine."""
    return 0.1 * np.sin(2 * np.pi * 440.0 * np.arange(round(seconds * rate)) / rate)


def encode(samples: np.ndarray, rate: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """Samples as a file of libsndfile's."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def hostile() -> list[Hostile]:
    """All of them, in one order."""
    return [
        *_headers(),
        *_samples(),
        *_cut_off(),
        *_flipped(),
        *_other_files(),
        *_json(),
        *_forms(),
    ]


def _wav(
    data: bytes,
    *,
    channels: int = 1,
    rate: int = 16_000,
    bits: int = 16,
    kind: int = 1,
    riff: int | None = None,
    length: int | None = None,
    align: int | None = None,
) -> bytes:
    align = channels * bits // 8 if align is None else align
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    riff = 36 + len(data) if riff is None else riff
    length = len(data) if length is None else length
    return (
        b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", length) + data
    )  # fmt: skip


def _headers() -> Iterator[Hostile]:
    data = (tone() * 32_767).astype("<i2").tobytes()
    for rate in (0, 1, 7, 999, 400_001, 768_000, 2**31 - 1, 2**32 - 1):
        yield Hostile(f"{rate} Hz", _wav(data, rate=rate))
    for channels in (0, 3, 64, 65, 255, 1_024, 65_535):
        yield Hostile(f"{channels} channels", _wav(data, channels=channels, align=min(2 * channels, 65_535)))
    for bits in (0, 1, 7, 12, 40, 64, 65_535):
        yield Hostile(f"{bits} bits", _wav(data, bits=bits, align=2))
    for kind in (0, 2, 3, 6, 17, 49, 85, 0xFFFE, 0xFFFF):
        yield Hostile(f"WAV kind {kind}", _wav(data, kind=kind))
    for claim in (0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1):
        yield Hostile(f"a header of {claim} bytes", _wav(data, riff=claim, length=claim))
        yield Hostile(f"a RIFF of {claim} bytes", _wav(data, riff=claim))
        yield Hostile(f"{claim} bytes of data that are not there", _wav(b"", length=claim))
    for align in (0, 1, 3, 65_535):
        yield Hostile(f"alignment {align}", _wav(data, align=align))
    yield Hostile("a chunk of 4 GB before the data", b"RIFF\xff\xff\xff\xffWAVEjunk\xff\xff\xff\xff" + data)
    yield Hostile("ten thousand chunks", b"RIFF\xff\xff\xff\x7fWAVE" + b"junk\0\0\0\0" * 10_000)
    for container, subtype in (
        ("W64", "PCM_16"),
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("CAF", "PCM_16"),
    ):
        content = bytearray(encode(tone(), kind=container, subtype=subtype))
        content[4:12] = b"\xff" * 8
        yield Hostile(f"{container} with a header of all ones", bytes(content))
    for name, value in (("0", 0), ("2**36-1", 2**36 - 1)):
        content = bytearray(encode(tone(), kind="FLAC"))
        field = int.from_bytes(content[21:26], "big")
        content[21:26] = (field >> 36 << 36 | value).to_bytes(5, "big")
        yield Hostile(f"FLAC that promises {name} samples", bytes(content))


def _samples() -> Iterator[Hostile]:
    for name, value in (("NaN", np.nan), ("inf", np.inf), ("-inf", -np.inf), ("1e30", 1e30), ("1e-40", 1e-40)):
        for where in (slice(None), slice(8_000, 8_001), slice(15_999, None)):
            samples = tone()
            samples[where] = value
            yield Hostile(f"{name} at {where}", encode(samples, subtype="FLOAT"))
    yield Hostile("doubles of 1e300", encode(np.full(16_000, 1e300), subtype="DOUBLE"))
    yield Hostile("no sample", encode(np.zeros(0)))
    yield Hostile("one sample", encode(np.ones(1)))
    yield Hostile("one sample at 48 kHz", encode(np.ones(1), 48_000))
    yield Hostile("silence", encode(np.zeros(16_000)))
    yield Hostile("full scale", encode(np.sign(tone())))
    yield Hostile("64 channels that are there", encode(np.tile(tone(0.2)[:, None], 64)))
    yield Hostile("1024 channels that are there", encode(np.tile(tone(0.2)[:, None], 1_024)))
    yield Hostile("over an hour of silence in a small FLAC", encode(np.zeros(3_700 * 1_000), 1_000, "FLAC"))


def _cut_off() -> Iterator[Hostile]:
    for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF"):
        content = encode(tone(), kind=kind)
        for share in (0.0, 0.001, 0.003, 0.01, 0.1, 0.5, 0.9, 0.999):
            yield Hostile(f"{kind} cut off at {share}", content[: int(share * len(content))])
        yield Hostile(f"{kind} without its first bytes", content[7:])
        yield Hostile(f"{kind} twice", content + content)


def _flipped() -> Iterator[Hostile]:
    rng = np.random.default_rng(0)
    for kind in ("WAV", "FLAC", "OGG", "MP3"):
        content = encode(tone(0.5), kind=kind)
        for number in range(12):
            damaged = bytearray(content)
            reach = 60 if number % 2 else len(content)
            for position in rng.integers(0, min(reach, len(content)), size=6):
                damaged[position] = int(rng.integers(0, 256))
            yield Hostile(f"{kind} with damage {number}", bytes(damaged))


def _other_files() -> Iterator[Hostile]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../etc/passwd", "x" * 1_000_000)
    pixels = zlib.compress(b"\0" * 1_000)
    image = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    )
    yield Hostile("a ZIP", archive.getvalue())
    yield Hostile("a PNG", image + pixels)
    yield Hostile("a gzip bomb", gzip.compress(bytes(10_000_000)))
    yield Hostile("HTML", b"<!doctype html><script>alert(1)</script>" * 100, "text/html")
    yield Hostile("XML entities", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "text/xml")
    yield Hostile("a pickle", b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    yield Hostile("a torch file", b"PK\x03\x04archive/data.pkl" + b"\0" * 100)
    yield Hostile("an ELF", b"\x7fELF" + bytes(1_000))
    yield Hostile("a path", b"/etc/passwd", "text/plain")
    yield Hostile("an address", b"http://127.0.0.1:8081/models", "text/plain")
    yield Hostile("nothing", b"")
    yield Hostile("one byte", b"\0")
    yield Hostile("zeros", bytes(1_000_000))
    yield Hostile("random bytes", np.random.default_rng(1).bytes(1_000_000))
    for magic in (
        b"RIFF",
        b"RIFX",
        b"RF64",
        b"riff",
        b"fLaC",
        b"OggS",
        b"ID3\x04",
        b"\xff\xfb",
        b"FORM",
        b"caff",
        b".snd",
        b"Creative Voice File\x1a",
        b"MATLAB 5.0 MAT-file",
        b"2BIT",
        b" paf",
        b"NIST_1A\n   1024\n",
        b"ALaw",
    ):
        yield Hostile(f"{magic!r} and zeros", magic + bytes(500))
        yield Hostile(f"{magic!r} and ones", magic + b"\xff" * 500)


def _json() -> Iterator[Hostile]:
    good = base64.b64encode(encode(tone())).decode()

    def body(value: Any) -> bytes:
        return json.dumps(value).encode()

    texts = {
        "100,000 lists in each other": b'{"instances":' + b"[" * 100_000,
        "9,000 objects in each other": b'{"a":' * 9_000 + b"1" + b"}" * 9_000,
        "a million empty objects": b'{"instances": [' + b"{}," * 1_000_000 + b"{}]}",
        "a number of 100,000 digits": b'{"instances": ' + b"9" * 100_000 + b"}",
        "a number of a huge exponent": b'{"instances": [1e999999999]}',
        "NaN for a list": b'{"instances": NaN}',
        "half an object": b'{"instances": [{"b64": "',
        "not UTF-8": b'{"instances": "\xff\xfe"}',
        "UTF-16": '{"instances": []}'.encode("utf-16"),
        "a key twice": b'{"instances": [], "instances": 1}',
        "a NUL": b'{"instances\\u0000": []}',
    }  # fmt: skip
    yield from (Hostile(name, text, JSON) for name, text in texts.items())
    values: dict[str, Any] = {
        "no list": {"instances": {}},
        "an empty list": {"instances": []},
        "strings": {"instances": [good]},
        "null": {"instances": [None]},
        "a number for base64": {"instances": [{"b64": 1}]},
        "a path for base64": {"instances": [{"b64": "../../etc/passwd"}]},
        "a URL for base64": {"instances": [{"b64": "http://127.0.0.1:8081/models"}]},
        "base64 of nothing": {"instances": [{"b64": ""}]},
        "base64 with line ends": {"instances": [{"b64": good[:100] + "\n" + good[100:]}]},
        "base64 of JSON": {"instances": [{"b64": base64.b64encode(b'{"instances": []}').decode()}]},
        "65 clips": {"instances": [{"b64": good}] * 65},
        "parameters as a list": {"instances": [{"b64": good}], "parameters": [1]},
        "an unknown parameter": {"instances": [{"b64": good}], "parameters": {"__class__": 1}},
        "a threshold that is none": {"instances": [{"b64": good}], "parameters": {"threshold": float("nan")}},
        "a threshold as a list": {"instances": [{"b64": good}], "parameters": {"threshold": [0]}},
        "a request_id of 1 MB": {"instances": [{"b64": good}], "parameters": {"request_id": "x" * 1_000_000}},
        "a request_id as an object": {"instances": [{"b64": good}], "parameters": {"request_id": {}}},
        "minus one segments": {"instances": [{"b64": good}], "parameters": {"top_segments": -1}},
        "2**63 segments": {"instances": [{"b64": good}], "parameters": {"top_segments": 2**63}},
        "v2 without inputs": {"inputs": []},
        "v2 with two inputs": {"inputs": [{}, {}]},
        "v2 of floats": {"inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "data": [0.0]}]},
        "v2 with a lying shape": {"inputs": [{"name": "a", "shape": [2**40], "datatype": "BYTES", "data": [good]}]},
        "v2 of no data": {"inputs": [{"name": "a", "shape": [0], "datatype": "BYTES", "data": []}]},
        "v2 with a number as id": {"id": 5, "inputs": [{"shape": [1], "datatype": "BYTES", "data": [good]}]},
        "nothing known": {"signature_name": "serving_default"},
    }
    yield from (Hostile(name, body(value), JSON) for name, value in values.items())
    yield Hostile("a list", b"[1, 2, 3]", JSON)
    yield Hostile("audio that claims to be JSON, cut off", encode(tone())[:20], JSON)


def _forms() -> Iterator[Hostile]:
    def part(name: str, value: bytes) -> bytes:
        return b'--x\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + value + b"\r\n"

    clip, end = encode(tone()), b"--x--\r\n"
    yield Hostile("a form without a file", part("threshold", b"1") + end, FORM)
    yield Hostile("a form that does not end", part("data", clip)[:-200], FORM)
    yield Hostile("a form of nothing", end, FORM)
    yield Hostile("a form without a boundary", part("data", b"x") + end, "multipart/form-data")
    yield Hostile("a form with an empty file", part("data", b"") + end, FORM)
    yield Hostile("a threshold of words", part("data", clip) + part("threshold", b"high") + end, FORM)
    yield Hostile("a threshold that is no text", part("data", clip) + part("threshold", b"\xff\xfe") + end, FORM)
    yield Hostile("an infinite threshold", part("data", clip) + part("threshold", b"1e999") + end, FORM)
    yield Hostile("a path as a name", part("data", clip) + part("../../etc/passwd", b"1") + end, FORM)
    yield Hostile("a thousand fields", b"".join(part(f"f{n}", b"1") for n in range(1_000)) + end, FORM)
    yield Hostile("a long request_id", part("data", clip) + part("request_id", b"x" * 100_000) + end, FORM)
    yield Hostile("an encoded form", b"data=" + b"%41" * 1_000, "application/x-www-form-urlencoded")
