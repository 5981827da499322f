"""Write a channel as clips: WAV of 32-bit floats in its unit and at its rate, with a description of each clip."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from masd.data.importing.channel import Channel, ImportRefusedError
from masd.data.importing.rates import whole_rate


def rate_of(channel: Channel, rate: float | None) -> int:
    """The rate to write the channel with, in Hz; ``rate`` is used where the channel states none.

    :raises ImportRefusedError: there is no sample rate, no sample, or a sample that is not a finite number.
    """
    stated = channel.rate_hz if channel.rate_hz is not None else rate
    if stated is None:
        raise ImportRefusedError(f"channel '{channel.name}' states no sample rate: give --rate")
    if not len(channel.samples):
        raise ImportRefusedError(f"channel '{channel.name}' contains no samples")
    wrong = np.flatnonzero(~np.isfinite(channel.samples))
    if len(wrong):
        raise ImportRefusedError(
            f"channel '{channel.name}': {len(wrong)} samples are not finite numbers, the first at {wrong[0]}; "
            "correct the recording or cut them out"
        )
    return whole_rate(stated, channel.tolerance)


def write_clips(channel: Channel, folder: Path, name: str, hertz: int, seconds: float | None) -> list[dict[str, Any]]:
    """Write ``<name>.wav``, or ``<name>_part000.wav`` and so on if it is cut into clips of ``seconds``.

    A rest at the end that is shorter than a clip is not written. Returns a description of each clip.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = None if seconds is None else max(1, round(seconds * hertz))
    clips = [
        _write(channel, samples, folder / f"{name}{part}.wav", hertz, start)
        for part, start, samples in _cut(channel.samples, size)
    ]
    clips[-1]["left_over_s"] = (len(channel.samples) - sum(clip["samples"] for clip in clips)) / hertz
    return clips


def _cut(samples: Any, size: int | None) -> Iterator[tuple[str, int, Any]]:
    if size is None or len(samples) <= size:
        yield "", 0, samples
        return
    for number in range(len(samples) // size):
        yield f"_part{number:03d}", number * size, samples[number * size : (number + 1) * size]


def _write(channel: Channel, samples: Any, path: Path, hertz: int, start: int) -> dict[str, Any]:
    soundfile.write(path, samples, hertz, format="WAV", subtype="FLOAT")
    return {
        "clip": path.name,
        "channel": channel.name,
        "unit": channel.unit,
        "rate_hz": hertz,
        "stated_rate_hz": channel.rate_hz,
        "start_s": start / hertz,
        "samples": len(samples),
        "scaling": channel.scaling,
        "attributes": channel.attributes,
    }
