"""The clips a report shows: the most anomalous, the most normal, and those nearest to the threshold."""

import io
from collections.abc import Sequence

import numpy as np
import soundfile

from masd.audio import Recording
from masd.data.clips import Clip
from masd.detection.result import ClipScore
from masd.detection.scorer import Scorer
from masd.detection.streaming import excerpt
from masd.evaluation.pages.report import ExampleClip
from masd.evaluation.residuals import UsualResidual

Results = Sequence[tuple[Clip, ClipScore]]


def choose_examples(scorer: Scorer, results: Results, usual: UsualResidual, each: int = 2) -> list[ExampleClip]:
    """``each`` clips of the three kinds, without repeats, most anomalous first."""
    by_score = sorted(results, key=lambda result: -result[1].score)
    by_margin = sorted(results, key=lambda result: abs(result[1].score - result[1].threshold))
    chosen: dict[str, tuple[str, Clip, ClipScore]] = {}
    for caption, ranked in (
        ("most anomalous", by_score),
        ("most normal", by_score[::-1]),
        ("nearest to the threshold", by_margin),
    ):
        fresh = [(clip, score) for clip, score in ranked if clip.name not in chosen][:each]
        chosen |= {clip.name: (caption, clip, score) for clip, score in fresh}
    return [_example(scorer, usual, *choice) for choice in chosen.values()]


def _example(scorer: Scorer, usual: UsualResidual, caption: str, clip: Clip, score: ClipScore) -> ExampleClip:
    part = excerpt(scorer.decode(clip.path), score, lambda block: scorer.score([block])[0])
    recording = part.recording
    log_mel = scorer.log_mel(recording.samples)
    rate = scorer.settings.audio.sample_rate
    return ExampleClip(
        name=clip.name,
        domain=clip.domain,
        condition=clip.condition,
        score=score.score,
        threshold=score.threshold,
        caption=caption,
        log_mel=log_mel,
        unusual=usual.excess(scorer.extract.residual(log_mel)),
        segments=part.segments,
        start_s=part.start_s,
        hop_seconds=scorer.settings.audio.hop_length / rate,
        sample_rate=rate,
        audio_wav=wav_of(recording, rate),
    )


def wav_of(recording: Recording, sample_rate: int) -> bytes:
    """A decoded recording as a small WAV file to listen to."""
    audio = io.BytesIO()
    soundfile.write(audio, np.clip(recording.samples, -1.0, 1.0), sample_rate, format="WAV", subtype="PCM_16")
    return audio.getvalue()
