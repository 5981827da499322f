"""Choose the channel of a machine's recordings if the settings leave it open."""

import soundfile

from masd.config import AudioSettings
from masd.data.folders.machine import MachineData

LOOKED_AT = 20
"""The number of training clips whose headers are read."""


def settled(audio: AudioSettings, data: MachineData) -> AudioSettings:
    """``audio`` with a number or ``mean`` in place of ``channel: auto``.

    Two channels under the challenge's file names are the near and the far microphone of DCASE 2026, the only year with
    two: the near one, channel 0, is used. For all other recordings it is the mean of the channels, or, with a
    ``reference_channel``, the first other channel.
    """
    if audio.channel != "auto":
        return audio
    if audio.reference_channel is not None:
        return audio.model_copy(update={"channel": audio.channel_used})
    near_and_far = data.layout == "dcase" and _channels(data) == 2
    return audio.model_copy(update={"channel": 0 if near_and_far else "mean"})


def _channels(data: MachineData) -> int:
    """The largest number of channels in some training clips; 0 if none of them can be read."""
    train = data.split("train")
    found = [0]
    for clip in train[:: max(1, len(train) // LOOKED_AT)]:
        try:
            found.append(soundfile.info(clip.path).channels)
        except (OSError, soundfile.SoundFileError):
            continue  # decoding says what is wrong with it
    return max(found)
