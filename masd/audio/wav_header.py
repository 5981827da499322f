"""Correct wrong headers of WAV, RF64, BW64, Wave64 and CAF files, which libsndfile would use as they are.

A recorder that lost its power, or a program that wrote to a pipe, leaves a length of zero or of the maximum. If the
fault is certain, the header is replaced by a correct one. Sizes in a header are always checked: nothing is read or
skipped beyond the file's end.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

MAX_CHUNKS = 1000
MAX_HEADER = 1 << 20
"""A header with more bytes than this before the samples is not corrected."""

PCM, MS_ADPCM, IMA_ADPCM, EXTENSIBLE = 0x0001, 0x0002, 0x0011, 0xFFFE
W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")
UNKNOWN = frozenset({0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF})
"""Lengths that programs write when they write to a pipe."""

_NAMES = b"fmt |data|fact|ds64|LIST|bext|iXML|axml|chna|cue |smpl|inst|junk|JUNK|PAD |FLLR|PEAK|id3 |cart|note"
KNOWN = frozenset(_NAMES.split(b"|"))
"""Names of chunks, to find a chunk that begins a byte too early."""

PROBE = 1 << 16
"""Bytes of samples that are read to find how 24 bits are placed in four bytes."""


class Bytes(Protocol):
    """A file, or bytes in memory."""

    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, count: int) -> bytes:
        """``count`` bytes from ``offset``, fewer at the end."""
        ...


@dataclass(frozen=True)
class Layout:
    """How to read a file: ``prefix``, and then its own bytes from ``start`` on, samples times ``gain``.

    ``frames`` is how many samples of each channel there are where the codec pads the last block, else None.
    ``repaired`` says that the length was guessed or the format corrected.
    """

    prefix: bytes = b""
    start: int = 0
    gain: float = 1.0
    frames: int | None = None
    repaired: bool = False


@dataclass(frozen=True)
class Chunk:
    """``size`` is what the header says of its bytes from ``start`` on; ``moved``: a chunk before lacks its padding."""

    name: bytes
    start: int
    size: int
    moved: bool = False


AS_IT_IS = Layout()


def layout_of(content: Bytes) -> Layout:
    """How to read a file; unchanged if there is nothing to correct."""
    head = content.read_at(0, 16)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and content.read_at(8, 4) == b"WAVE":
        return _wave(content, head[:4])
    if head == W64_RIFF:
        return _wave(content, b"riff")
    if head[:4] == b"caff":
        return _caf(content)
    return AS_IT_IS


def chunks(content: Bytes) -> Iterator[Chunk]:
    """The chunks of a WAV, RF64, BW64 or Wave64 file, up to its samples."""
    wave64 = content.read_at(0, 16) == W64_RIFF
    at, moved = (40, False) if wave64 else (12, False)
    for _ in range(MAX_CHUNKS):
        head = content.read_at(at, 24 if wave64 else 8)
        if len(head) < (24 if wave64 else 8):
            return
        if wave64:
            name, start = (head[:4] if head[4:16] == W64_TAIL else head[:16]), at + 24
            size = int.from_bytes(head[16:], "little") - 24
        else:
            name, start, size = head[:4], at + 8, int.from_bytes(head[4:], "little")
        if size < 0:
            return
        yield Chunk(name, start, size, moved)
        if name == b"data":
            return
        at = start + size + (-size % 8 if wave64 else size % 2)
        if not wave64 and size % 2 and content.read_at(at - 1, 4) in KNOWN and content.read_at(at, 4) not in KNOWN:
            at, moved = at - 1, True


def wave_header(form: bytes, length: int) -> bytes:
    """A header of ``length`` bytes of samples in the format that ``form``, the body of a ``fmt`` chunk, describes."""
    body = b"fmt " + struct.pack("<I", len(form)) + form + bytes(len(form) % 2)
    riff = 4 + len(body) + 8 + length
    if riff < 2**32:
        return b"RIFF" + struct.pack("<I", riff) + b"WAVE" + body + b"data" + struct.pack("<I", length)
    align = max(int.from_bytes(form[12:14], "little"), 1)
    sizes = b"ds64" + struct.pack("<IQQQI", 28, riff + 36, length, length // align, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + sizes + body + b"data\xff\xff\xff\xff"


def _wave(content: Bytes, kind: bytes) -> Layout:
    form, fact, long_size, data = b"", b"", 0, None
    for chunk in chunks(content):
        if chunk.name == b"fmt ":
            form = content.read_at(chunk.start, min(chunk.size, 64))
        elif chunk.name == b"fact":
            fact = content.read_at(chunk.start, min(chunk.size, 8 if kind == b"riff" else 4))
        elif chunk.name == b"ds64":
            long_size = int.from_bytes(content.read_at(chunk.start + 8, 8), "little")
        elif chunk.name == b"data":
            data = chunk
    if data is None or len(form) < 16 or data.start > MAX_HEADER:
        return AS_IT_IS
    there = content.size - data.start
    size = long_size if kind in (b"RF64", b"BW64") and data.size == 0xFFFF_FFFF else data.size
    lost = size == 0 and there > 0 and not _chunks_to_the_end(content, data.start)
    streamed = kind != b"RIFF" and (size in (UNKNOWN | {s - 24 for s in UNKNOWN}) or data.size == 0xFFFF_FFFF)
    length = there if lost or size > there else size
    put_right, gain = _in_larger_containers(content, form, data.start, length)
    frames = _frames(form, fact, length)
    # libsndfile takes the padding of a Wave64 for samples, and does not know BW64
    understood = kind in (b"RIFF", b"RF64") and not (kind == b"RF64" and size > there)
    if understood and put_right is None and not (lost or data.moved):
        return Layout(frames=frames)
    repaired = put_right is not None or data.moved or (lost and not streamed)
    return Layout(wave_header(put_right or form, length), data.start, gain, frames, repaired)


def _in_larger_containers(content: Bytes, form: bytes, start: int, length: int) -> tuple[bytes | None, float]:
    """A ``fmt`` chunk that says how large samples really are, and what to multiply them by; None where it does already.

    Some recorders say 24 bits and write four bytes per sample: with the bits at the upper end, as in the standard, or
    at the lower one, the sign repeated above them.
    """
    tag, channels, _, _, align, bits = struct.unpack("<HHIIHH", form[:16])
    if tag not in (PCM, EXTENSIBLE) or channels == 0 or align % channels or bits % 8 or not 8 <= bits < 32:
        return None, 1.0
    size = align // channels
    if size not in (2, 3, 4) or size <= bits // 8:
        return None, 1.0
    raw = content.read_at(start, min(length, PROBE) // size * size)
    samples = [int.from_bytes(raw[at : at + size], "little", signed=True) for at in range(0, len(raw), size)]
    unused = 8 * size - bits
    fits_below = all(-(1 << (bits - 1)) <= sample < 1 << (bits - 1) for sample in samples)
    above = all(sample % (1 << unused) == 0 for sample in samples)
    right = form[:14] + struct.pack("<H", 8 * size) + form[16:]
    return right, float(1 << unused) if fits_below and not above else 1.0


def _frames(form: bytes, fact: bytes, length: int) -> int | None:
    """The number of samples that a ``fact`` chunk states, if the rest is only padding of the last block of ADPCM."""
    tag, align = int.from_bytes(form[:2], "little"), int.from_bytes(form[12:14], "little")
    in_block = int.from_bytes(form[18:20], "little")
    frames = int.from_bytes(fact, "little")
    if tag not in (MS_ADPCM, IMA_ADPCM) or not (align and in_block and frames):
        return None
    decoded = -(-length // align) * in_block
    return frames if 0 <= decoded - frames < in_block else None


def _caf(content: Bytes) -> Layout:
    at = 8
    for _ in range(MAX_CHUNKS):
        head = content.read_at(at, 12)
        if len(head) < 12 or at > MAX_HEADER:
            break
        size = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] == b"data" and size == -1:  # allowed, and written to pipes
            length = content.size - at - 12
            prefix = content.read_at(0, at) + b"data" + length.to_bytes(8, "big")
            return Layout(prefix, at + 12)
        if size < 0:
            break
        at += 12 + size
    return AS_IT_IS


def _named(content: Bytes, at: int) -> bool:
    """Whether a chunk may begin there: four letters and a size that the file has, or the samples."""
    head = content.read_at(at, 8)
    if len(head) < 8 or not all(32 <= letter < 127 for letter in head[:4]):
        return False
    return head[:4] == b"data" or at + 8 + int.from_bytes(head[4:], "little") <= content.size


def _chunks_to_the_end(content: Bytes, at: int) -> bool:
    for _ in range(MAX_CHUNKS):
        if at == content.size:
            return True
        if not _named(content, at):
            return False
        size = int.from_bytes(content.read_at(at + 4, 4), "little")
        at = min(at + 8 + size + size % 2, max(content.size, at + 8 + size))
    return False
