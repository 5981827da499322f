"""Sound files with several channels, read with libsndfile."""

from pathlib import Path

import numpy as np
import soundfile

from masd.data.importing.channel import Channel, check_size, facts

_TAGS = ("title", "artist", "comment", "date", "software")


def read_sound(path: Path) -> list[Channel]:
    """Channels are named ``channel_0``, ``channel_1`` and so on; full scale is 1."""
    with soundfile.SoundFile(path) as file:
        check_size(file.channels, file.frames * file.channels)
        about = {tag: getattr(file, tag, "") or "" for tag in _TAGS}
        tags = facts({tag: text for tag, text in about.items() if text})
        samples = file.read(dtype="float32", always_2d=True)
        integer = file.subtype.startswith(("PCM", "ULAW", "ALAW"))
        scaling = "full scale of the integer samples is 1" if integer else "none"
        rate = float(file.samplerate)
    return [
        Channel(f"channel_{number}", np.ascontiguousarray(column), rate, scaling=scaling, attributes=tags)
        for number, column in enumerate(samples.T)
    ]
