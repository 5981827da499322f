"""Choose the channel of a machine's recordings if the settings do not."""

import soundfile

from masd.config import AudioSettings
from masd.data.folders.machine import MachineData

LOOKED_AT = 20
"""Training clips whose headers are read."""


def settled(audio: AudioSettings, data: MachineData) -> AudioSettings:
    """``audio`` with a number or ``mean`` in place of ``channel: auto``.

    Two channels under the challenge's file names are the near and the far microphone of DCASE 2026, as no other year
    has two: the near one, channel 0, is taken. Of all other recordings the mean of their channels is.
    """
    if audio.channel != "auto":
        return audio
    near_and_far = data.layout == "dcase" and _channels(data) == 2
    return audio.model_copy(update={"channel": 0 if near_and_far else "mean"})


def _channels(data: MachineData) -> int:
    """Most channels of some training clips; 0 where none of them can be read."""
    train = data.split("train")
    found = [0]
    for clip in train[:: max(1, len(train) // LOOKED_AT)]:
        try:
            found.append(soundfile.info(clip.path).channels)
        except (OSError, soundfile.SoundFileError):
            continue  # decoding says what is wrong with it
    return max(found)
