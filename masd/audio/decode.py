"""From encoded audio (a path or bytes) to mono float32 at the model's sample rate, whole or in a stream of blocks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import soundfile
import soxr

from masd.arrays import Array
from masd.audio.content import Encoded, LaidOut, in_memory_unless_regular, opened
from masd.audio.sound_properties import Channel, Loudness, LoudnessMeter, SoundMeter, SoundProperties
from masd.audio.unreadable import advice
from masd.audio.wav_header import Layout, layout_of
from masd.errors import MasdError, one_line

MIN_SAMPLE_RATE = 1_000
MAX_SAMPLE_RATE = 400_000

MAX_MAGNITUDE = 1e12
"""The largest valid sample: above it the power of a frame overflows float32 and the log-mel is infinite."""

MAX_CHANNELS = 64
"""The most channels of a recording: libsndfile allows 1024, and a block of all channels must fit into memory."""

BLOCK = 1 << 18
"""Samples of all channels read at a time."""

Reason = Literal["undecodable", "empty", "not_finite", "sample_rate", "channel", "too_long", "silent"]


class AudioError(MasdError):
    """Audio that cannot be scored: ``reason`` is a code for programs, ``what`` the message without the clip's name."""

    def __init__(self, reason: Reason, name: str, what: str) -> None:
        super().__init__(f"{name}: {what}")
        self.reason = reason
        self.what = what


@dataclass(frozen=True, kw_only=True)
class Recording(SoundProperties):
    """One clip, ready for :class:`masd.audio.LogMel`: ``samples`` is mono float32 ``[n]`` at the model's rate.

    ``far`` ``[n]`` is the reference channel; None where none was asked for, the recording is mono, or this channel has
    no sound.
    """

    samples: Array
    far: Array | None = None


@dataclass(frozen=True, kw_only=True)
class LongRecording(SoundProperties):
    """A long recording. It was read to its end once and is valid; it is decoded again block by block when it is scored,
    so that only one block is in memory.
    """

    source: Path | Encoded
    sample_rate: int
    channel: Channel
    loudness: Loudness
    reference: int | None = None

    def stream(self) -> Iterator[Array]:
        """Mono float32 ``[n]`` at ``sample_rate``, in blocks; joined they equal the result of :func:`decode`. With a
        reference channel, ``[n, 2]``: the samples, and the far ones.

        :raises AudioError: the file has changed.
        """
        with _opened(self.source, self.channel, self.reference) as stream:
            blocks = (_side_by_side(mono, stream.far(block)) for block, mono in stream.blocks())
            if stream.rate == self.sample_rate:
                yield from blocks
                return
            width = 1 if stream.reference is None else 2
            resampler = soxr.ResampleStream(stream.rate, self.sample_rate, width, dtype="float32", quality="HQ")
            for block in blocks:
                yield resampler.resample_chunk(block)
            yield resampler.resample_chunk(np.empty((0, 2)[:width], np.float32), last=True)


def decode(
    source: Path | Encoded,
    *,
    sample_rate: int = 16_000,
    channel: Channel = "mean",
    reference: int | None = None,
    max_seconds: float | None = None,
) -> Recording:
    """Decode any format libsndfile reads (WAV, FLAC, OGG, MP3, ...), take one channel, resample.

    ``channel`` applies to recordings with several channels: an index, or ``"mean"`` of all. A mono recording has only
    channel 0, whatever is asked for, so that one setting serves mixed data. ``reference`` is the channel of a far
    microphone, which comes as :attr:`Recording.far`.

    :raises AudioError: what is wrong with the clip, in one line.
    """
    whole = decode_or_stream(
        source, sample_rate=sample_rate, channel=channel, reference=reference, max_seconds=max_seconds
    )
    return cast(Recording, whole)  # nothing is long where no length is named


def decode_or_stream(
    source: Path | Encoded,
    *,
    sample_rate: int,
    channel: Channel,
    max_seconds: float | None,
    reference: int | None = None,
    long_from: float | None = None,
) -> Recording | LongRecording:
    """:func:`decode`, except that a recording of more than ``long_from`` seconds comes as a :class:`LongRecording`."""
    name = name_of(source)
    try:
        source = in_memory_unless_regular(source)
    except OSError as error:
        raise AudioError("undecodable", name, f"cannot be read ({error.strerror or error})") from error
    kept: list[Array] | None = []
    with _opened(source, channel, reference) as stream:
        rate = stream.rate
        meter = SoundMeter(stream.channels, channel, stream.codec, rate)
        loudness = LoudnessMeter(rate)
        repaired = stream.layout.repaired
        for block, mono in stream.blocks():
            both = _side_by_side(mono, stream.far(block))
            if not (both.max() <= MAX_MAGNITUDE and both.min() >= -MAX_MAGNITUDE):  # true for NaN too
                raise AudioError(
                    "not_finite", name, "contains NaN, infinite or impossibly large samples; check the recorder"
                )
            meter.add(block, mono)
            n = meter.samples
            if max_seconds is not None and n > max_seconds * rate:
                raise AudioError(
                    "too_long",
                    name,
                    f"is longer than {max_seconds:g} s (serving.max_clip_seconds); cut it into shorter clips",
                )
            if kept is None:
                loudness.add(mono)
                continue
            kept.append(both)
            if long_from is not None and n > long_from * rate:
                for before in kept:
                    loudness.add(near_of(before))
                kept = None
    if meter.samples == 0:
        raise AudioError("empty", name, "contains no samples; record it again")
    properties = meter.properties()
    measured = {**vars(properties), "repaired": repaired}
    if reference in properties.dead_channels:
        reference = None
        kept = None if kept is None else [near_of(block) for block in kept]
    if kept is None:
        return LongRecording(
            source=source,
            sample_rate=sample_rate,
            channel=channel,
            loudness=loudness.loudness(),
            reference=reference,
            **measured,
        )
    whole = kept[0] if len(kept) == 1 else np.concatenate(kept)
    samples = whole if rate == sample_rate else soxr.resample(whole, rate, sample_rate, quality="HQ")
    if len(samples) == 0:
        raise AudioError("empty", name, f"is too short to contain a sample at {sample_rate} Hz")
    return recording_of(samples, **measured)


def recording_of(samples: Array, **properties: Any) -> Recording:
    """A clip from its samples ``[n]``, or ``[n, 2]`` with the far ones, and the properties of its sound."""
    near = near_of(samples)
    far = None if samples.ndim == 1 else np.ascontiguousarray(samples[:, 1], dtype=np.float32)
    return Recording(samples=np.ascontiguousarray(near, dtype=np.float32), far=far, **properties)


def near_of(samples: Array) -> Array:
    """The first channel of ``[n]`` or ``[n, 2]``."""
    return samples if samples.ndim == 1 else samples[:, 0]


def _side_by_side(mono: Array, far: Array | None) -> Array:
    """``[n]``, or ``[n, 2]`` where there is a far channel."""
    return mono if far is None else np.stack([mono, far], axis=1)


@dataclass(frozen=True)
class _Stream:
    """An opened recording, its header checked."""

    file: "_SoundFile"
    channel: Channel
    reference: int | None
    layout: Layout

    @property
    def rate(self) -> int:
        rate: int = self.file.samplerate
        return rate

    @property
    def channels(self) -> int:
        channels: int = self.file.channels
        return channels

    @property
    def codec(self) -> str:
        codec: str = self.file.subtype
        return codec

    def blocks(self) -> Iterator[tuple[Array, Array]]:
        """All channels ``[n, channels]`` and the channel or mean that is used ``[n]``, at the recording's own rate."""
        left = self.layout.frames
        while left is None or left > 0:
            frames = BLOCK // self.channels if left is None else min(BLOCK // self.channels, left)
            block = self.file.read(frames, dtype="float32", always_2d=True)
            if len(block) == 0:
                return
            if self.layout.gain != 1.0:
                block *= np.float32(self.layout.gain)
            left = None if left is None else left - len(block)
            yield block, self._mono(block)

    def far(self, block: Array) -> Array | None:
        """The reference channel ``[n]`` of a block; None where there is none."""
        return None if self.reference is None else block[:, self.reference]

    def _mono(self, block: Array) -> Array:
        if self.channels == 1:
            return block[:, 0]
        if self.channel == "mean":
            return np.asarray(block.mean(axis=1, dtype=np.float32))
        return block[:, self.channel].copy()  # a view would keep all channels in memory


@contextmanager
def _opened(source: Path | Encoded, channel: Channel, reference: int | None = None) -> Iterator[_Stream]:
    """Open a recording; whatever goes wrong with it until the block ends becomes an :class:`AudioError`."""
    name, hint = name_of(source), None
    try:
        with opened(source) as content:
            if content.size == 0:
                raise AudioError("empty", name, "contains no bytes; record it again")
            layout = layout_of(content)
            laid_out = LaidOut(content, layout)
            try:
                with _SoundFile(laid_out) as file:
                    _check_header(file.samplerate, file.channels, channel, reference, name)
                    yield _Stream(file, channel, None if file.channels == 1 else reference, layout)
            except soundfile.SoundFileError:
                hint = advice(content)
                raise
            if laid_out.failure is not None:
                raise laid_out.failure
    except OSError as error:
        raise AudioError("undecodable", name, f"cannot be read ({error.strerror or error})") from error
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        reason = getattr(error, "error_string", None) or str(error)  # str() of libsndfile's errors has an address in it
        raise AudioError("undecodable", name, f"cannot be decoded ({hint or one_line(reason, 160)})") from error


def _check_header(rate: int, channels: int, channel: Channel, reference: int | None, name: str) -> None:
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise AudioError(
            "sample_rate",
            name,
            f"has a sample rate of {rate} Hz, but masd reads {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz: resample it, "
            "or correct its header",
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(
            "channel", name, f"has {channels} channels, more than {MAX_CHANNELS}; use only those that are needed"
        )
    if channels > 1 and channel != "mean" and channel >= channels:
        raise AudioError(
            "channel", name, f"has {channels} channels, but audio.channel is {channel}; channels are counted from 0"
        )
    if channels > 1 and reference is not None and reference >= channels:
        raise AudioError(
            "channel",
            name,
            f"has {channels} channels, but audio.reference_channel is {reference}; channels are counted from 0",
        )


class _SoundFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile ships no types
    """Read until the end of the data, because the length in the header is 0 in a streamed FLAC and can be wrong in a
    broken file.
    """

    def seekable(self) -> bool:
        return False


def name_of(source: Path | Encoded) -> str:
    """What messages call a recording: its path, if it has one."""
    return str(source) if isinstance(source, Path) else "the audio"
