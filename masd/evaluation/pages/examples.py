"""The clips a report shows: the most anomalous, the most normal, and those nearest to the threshold."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from masd.audio import Recording
from masd.detection.long_recordings.blocks import excerpt
from masd.detection.scorer import Scorer
from masd.evaluation.pages.report import ExampleClip
from masd.evaluation.residuals import UsualResidual


def choose_examples(
    scorer: Scorer, scores: pd.DataFrame, files: Mapping[str, Path], usual: UsualResidual | None, each: int = 2
) -> list[ExampleClip]:
    """``each`` clips of the three kinds, without repeats, most anomalous first.

    ``scores`` has name, domain, condition and a column of the served system; ``files`` is where each clip lies. What
    is unusual in a clip is not marked where ``usual`` is not known.
    """
    threshold = scorer.detectors.thresholds[scorer.system]
    score = scores[scorer.system]
    by_score = list(score.sort_values(ascending=False, kind="stable").index)
    by_margin = list((score - threshold).abs().sort_values(kind="stable").index)
    chosen: dict[int, str] = {}
    for caption, ranked in (
        ("most anomalous", by_score),
        ("most normal", by_score[::-1]),
        ("nearest to the threshold", by_margin),
    ):
        chosen |= dict.fromkeys([row for row in ranked if row not in chosen][:each], caption)
    about = scores.to_dict("index")
    return [_example(scorer, usual, caption, about[row], files) for row, caption in chosen.items()]


def _example(
    scorer: Scorer, usual: UsualResidual | None, caption: str, about: dict[Any, Any], files: Mapping[str, Path]
) -> ExampleClip:
    decoded = scorer.decode(files[about["name"]])
    score = scorer.score([decoded])[0]
    part = excerpt(decoded, score, lambda block: scorer.score([block])[0])
    log_mel = scorer.frames(part.recording)
    rate = scorer.settings.audio.sample_rate
    return ExampleClip(
        name=about["name"],
        domain=about["domain"],
        condition=about["condition"],
        score=score.score,
        threshold=score.threshold,
        caption=caption,
        log_mel=log_mel,
        unusual=np.zeros_like(log_mel) if usual is None else usual.excess(scorer.extract.residual(log_mel)),
        segments=part.segments,
        start_s=part.start_s,
        hop_seconds=scorer.settings.audio.hop_length / rate,
        sample_rate=rate,
        audio_wav=wav_of(part.recording, rate),
    )


def wav_of(recording: Recording, sample_rate: int) -> bytes:
    """A decoded recording as a small WAV file to listen to, turned down to full scale where it is beyond that."""
    audio = io.BytesIO()
    samples = recording.samples / max(float(np.abs(recording.samples).max()), 1.0)
    soundfile.write(audio, samples, sample_rate, format="WAV", subtype="PCM_16")
    return audio.getvalue()
