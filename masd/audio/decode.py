"""From encoded audio (a path or bytes) to mono float32 at the model's sample rate."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from masd.errors import MasdError

Samples = npt.NDArray[np.float32]

MIN_SAMPLE_RATE = 1_000
MAX_SAMPLE_RATE = 400_000
CLIPPED = 0.999
"""Magnitude from which a sample counts as clipped (16-bit full scale is 0.99997)."""

MAX_MAGNITUDE = 1e12
"""Largest sample that is believed: beyond it the power of a frame overflows float32 and the log-mel is infinite."""

BLOCK = 1 << 16

Reason = Literal["undecodable", "empty", "not_finite", "sample_rate", "channel", "too_long", "silent"]


class AudioError(MasdError):
    """Audio that cannot be scored; ``reason`` is the machine-readable kind."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Recording:
    """One clip, ready for :class:`masd.audio.LogMel`.

    ``samples`` is mono float32 ``[n]`` at the model's rate; the rest describes the clip as it came in.
    """

    samples: Samples
    sample_rate_in: int
    channels_in: int
    duration_s: float
    level_dbfs: float
    clipped_share: float


def decode(
    source: Path | bytes,
    *,
    sample_rate: int = 16_000,
    channel: int | Literal["mean"] = "mean",
    max_seconds: float | None = None,
) -> Recording:
    """Decode any format libsndfile reads (WAV, FLAC, OGG, MP3, ...), take one channel, resample.

    ``channel`` applies to recordings with several channels: an index, or ``"mean"`` of all. A mono recording has only
    channel 0, whatever is asked for, so that one setting serves mixed data.

    :raises AudioError: what is wrong with the clip, in one line.
    """
    name = str(source) if isinstance(source, Path) else "the audio"
    try:
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as content:
            data, rate = _read(content, name, max_seconds)
    except OSError as error:
        raise AudioError("undecodable", f"{name}: cannot be read ({error.strerror or error})") from error
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        reason = getattr(error, "error_string", None) or str(error)  # str() of libsndfile's errors has an address in it
        raise AudioError("undecodable", f"{name}: cannot be decoded ({' '.join(reason.split())[:160]})") from error
    if len(data) == 0:
        raise AudioError("empty", f"{name}: holds no samples")
    if max_seconds is not None and len(data) > max_seconds * rate:
        raise AudioError("too_long", f"{name}: longer than {max_seconds:g} s")
    mono = _one_channel(data, channel, name)
    if not (np.abs(mono) <= MAX_MAGNITUDE).all():  # false for NaN too
        raise AudioError("not_finite", f"{name}: holds NaN, infinite or impossibly large samples")
    samples = mono if rate == sample_rate else soxr.resample(mono, rate, sample_rate, quality="HQ")
    if len(samples) == 0:
        raise AudioError("empty", f"{name}: holds no samples at {sample_rate} Hz")
    power = float(np.mean(np.square(mono, dtype=np.float64)))
    return Recording(
        samples=np.ascontiguousarray(samples, dtype=np.float32),
        sample_rate_in=rate,
        channels_in=data.shape[1],
        duration_s=len(data) / rate,
        level_dbfs=10.0 * float(np.log10(max(power, 1e-12))),
        clipped_share=float(np.mean(np.abs(mono) >= CLIPPED)),
    )


class _Stream(soundfile.SoundFile):  # type: ignore[misc]  # soundfile ships no types
    """Read front to back until it ends: a header's length is 0 in a streamed FLAC and anything in a broken file."""

    def seekable(self) -> bool:
        return False


def _read(content: BinaryIO, name: str, max_seconds: float | None) -> tuple[Samples, int]:
    if not content.read(1):
        raise AudioError("empty", f"{name}: holds no bytes")
    content.seek(0)
    with _Stream(content) as file:
        rate = file.samplerate
        if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
            raise AudioError(
                "sample_rate", f"{name}: sample rate {rate} Hz is outside {MIN_SAMPLE_RATE}..{MAX_SAMPLE_RATE} Hz"
            )
        blocks = [np.empty((0, file.channels), dtype=np.float32)]
        n = 0
        while max_seconds is None or n <= max_seconds * rate:
            block = file.read(BLOCK, dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            blocks.append(block)
            n += len(block)
        return np.concatenate(blocks), rate


def _one_channel(data: Samples, channel: int | Literal["mean"], name: str) -> Samples:
    channels = data.shape[1]
    if channels == 1:
        return data[:, 0]
    if channel == "mean":
        return np.asarray(data.mean(axis=1, dtype=np.float32))
    if channel >= channels:
        raise AudioError(
            "channel", f"{name}: has {channels} channels, so there is no channel {channel} (audio.channel)"
        )
    return data[:, channel]
