"""Why a clip got its score: where, in time and frequency, the network's reconstruction misses it more than usual."""

import base64
from typing import Any

import numpy as np

from masd.audio import LongRecording, Recording
from masd.detection.long_recordings.blocks import excerpt
from masd.detection.result import ClipScore
from masd.detection.scorer import Scorer
from masd.evaluation.residuals import UsualResidual
from serving.worker.requests import Request, RequestError

MAX_EXPLAINED = 8
"""Clips in one request to be explained: a picture takes as long as the scores of ten clips."""


def checked(explainer: "Explainer | None", request: Request) -> "Explainer":
    """:raises RequestError: 422 for what cannot be explained, before anything is scored."""
    if explainer is None:
        raise RequestError(422, "not_explainable", "this model has no data for explanations; train it again")
    if len(request.clips) > MAX_EXPLAINED:
        raise RequestError(422, "invalid_parameters", f"at most {MAX_EXPLAINED} clips in one explanation")
    return explainer


class Explainer:
    """Explains answers of one model; ``usual`` is what its network misses of normal training clips."""

    def __init__(self, scorer: Scorer, usual: UsualResidual) -> None:
        self._scorer, self._usual = scorer, usual

    def __call__(self, recording: Recording | LongRecording, score: ClipScore) -> dict[str, Any]:
        """Residuals and picture of a clip, or of the most anomalous block of a long recording.

        Residuals are in spreads above the usual of their band: 0 is a normal clip's mean. ``band_residuals`` has one
        for each of ``bands_hz``; the picture is a PNG in base64.
        """
        from masd.evaluation.figures.clip import UNUSUAL_LEVEL, DrawnClip, clip_png

        part = excerpt(recording, score, lambda clip: self._scorer.score([clip], thresholds=[score.threshold])[0])
        start_s, segments = part.start_s, part.segments
        log_mel = self._scorer.frames(part.recording)
        unusual = self._usual.excess(self._scorer.extract.residual(log_mel))
        audio = self._scorer.settings.audio
        hop_s = audio.hop_length / audio.sample_rate
        cells = [
            unusual[round((segment.start_s - start_s) / hop_s) : round((segment.end_s - start_s) / hop_s) + 1]
            for segment in segments
        ]
        picture = DrawnClip(
            score=score.score,
            threshold=score.threshold,
            log_mel=log_mel,
            unusual=unusual,
            segments=segments,
            hop_seconds=hop_s,
            sample_rate=audio.sample_rate,
            start_s=start_s,
        )
        return {
            "start_s": start_s,
            "end_s": start_s + part.recording.duration_s,
            "unusual_share": float(np.mean(unusual > UNUSUAL_LEVEL)),
            "bands_hz": _rounded(self._scorer.log_mel.centres_hz),
            "band_residuals": _rounded(unusual.mean(axis=0)),
            "segments": [
                {
                    "start_s": segment.start_s,
                    "end_s": segment.end_s,
                    "score": segment.score,
                    "residual": round(float(rows.mean()), 3),
                    "band_residuals": _rounded(rows.mean(axis=0)),
                }
                for segment, rows in zip(segments, cells, strict=True)
            ],
            "picture": {"media_type": "image/png", "b64": base64.b64encode(clip_png(picture)).decode("ascii")},
        }


def _rounded(values: np.ndarray[Any, np.dtype[Any]]) -> list[float]:
    return [round(float(value), 3) for value in values]
