"""Some clips of a machine once more, for the pictures that set test clips against training clips."""

import logging
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from masd.audio import AudioError, decode
from masd.data.clips import Clip
from masd.detection.scorer import Scorer

DRAW_SEED = 0
"""Of every draw: the same clips, the same report."""

log = logging.getLogger(__name__)


def draw(scorer: Scorer, clips: Sequence[Clip], most: int) -> Iterator[tuple[Clip, npt.NDArray[np.float32]]]:
    """At most ``most`` readable clips in random order, each with its log-mel ``[T, F]``.

    Unreadable ones are left out and logged. As in training, the limits of serving do not apply.
    """
    order = np.random.default_rng(DRAW_SEED).permutation(len(clips))
    return islice(_readable(scorer, [clips[int(number)] for number in order]), most)


def _readable(scorer: Scorer, clips: Sequence[Clip]) -> Iterator[tuple[Clip, npt.NDArray[np.float32]]]:
    audio = scorer.settings.audio
    for clip in clips:
        try:
            recording = decode(clip.path, sample_rate=audio.sample_rate, channel=audio.channel_heard)
        except AudioError as error:
            log.warning("left out of the report's pictures: %s", error)
        else:
            yield clip, scorer.log_mel(recording.samples)
