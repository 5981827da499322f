"""The result of scoring one clip."""

from dataclasses import asdict, dataclass
from typing import Any

from masd.audio.signals import Signals
from masd.config import SystemName
from masd.detection.decision import flagged
from masd.detection.threshold import Calibration
from masd.detection.trained_on.warning_codes import WarningCode


@dataclass(frozen=True)
class Segment:
    """One analysis window of a clip; ``score`` comes from the window-level bank of the same kind of detector."""

    start_s: float
    end_s: float
    score: float


LONG_SEGMENTS = 20
"""Default number of segments in the answer for a long recording."""


@dataclass(frozen=True)
class Blocks:
    """How a long recording was cut: ``count`` blocks of ``seconds``, of which ``anomalous`` are above the threshold.

    ``worst_start_s`` is where the block begins whose score is the recording's. ``off`` are the stretches, start and end
    in seconds, in which the machine is off: they are in no block, unless they are all of the recording.
    """

    seconds: float
    count: int
    anomalous: int
    worst_start_s: float
    off: tuple[tuple[float, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the total of ``off``, and the longest of its stretches in order of time."""
        longest = sorted(sorted(self.off, key=lambda span: span[0] - span[1])[:LONG_SEGMENTS])
        return asdict(self) | {
            "off_s": round(sum((end - start for start, end in self.off), 0.0), 3),
            "off": [{"start_s": round(start, 3), "end_s": round(end, 3)} for start, end in longest],
        }


@dataclass(frozen=True)
class ClipScore:
    """The score of one clip, its decision and the reason (the fields of ``masd score --json`` and of the endpoint).

    ``reconstruction_error`` is None for a model without a network, and so is ``embedding_distance``, which goes to the
    inference log only; the latter also where the bundle is too old to measure it. ``blocks`` is
    there for long recordings only (:mod:`masd.detection.long_recordings.blocks`), whose ``segments`` are the peaks.
    ``warnings`` are of :data:`masd.detection.trained_on.warning_codes.WARNINGS`. ``calibration`` is what the model's
    own threshold rests on; None for another one, and where the bundle is too old to know. ``own_threshold`` is the
    model's, whatever threshold a request asked for; None where it is ``threshold``.
    """

    machine_type: str
    model_version: str
    system: SystemName
    score: float
    threshold: float
    domain: str
    duration_s: float
    segments: tuple[Segment, ...]
    reconstruction_error: float | None
    systems: dict[SystemName, float]
    signals: Signals
    embedding_distance: float | None = None
    blocks: Blocks | None = None
    warnings: tuple[WarningCode, ...] = ()
    calibration: Calibration | None = None
    own_threshold: float | None = None

    @property
    def anomalous(self) -> bool:
        return flagged(self.score, self.threshold)

    def highest(self, most: int | None = None) -> list[Segment]:
        """The ``most`` segments with the highest scores, in order of time.

        Without a number these are all of a clip and :data:`LONG_SEGMENTS` of a long recording.
        """
        if most is None:
            most = len(self.segments) if self.blocks is None else LONG_SEGMENTS
        ranked = sorted(self.segments, key=lambda segment: -segment.score)[:most]
        return sorted(ranked, key=lambda segment: segment.start_s)

    def to_dict(self, top_segments: int | None = None) -> dict[str, Any]:
        """The public answer, JSON-ready, in the order of the contract; ``top_segments`` as for :meth:`highest`."""
        answer: dict[str, Any] = {
            "machine_type": self.machine_type,
            "model_version": self.model_version,
            "system": self.system,
            "score": self.score,
            "threshold": self.threshold,
            "anomalous": self.anomalous,
            "domain": self.domain,
            "duration_s": self.duration_s,
            "segments": [asdict(segment) for segment in self.highest(top_segments)],
            "reconstruction_error": self.reconstruction_error,
            "warnings": list(self.warnings),
        }
        if self.calibration is not None:
            answer["threshold_interval"] = [self.calibration.low, self.calibration.high]
            answer["threshold_recordings"] = self.calibration.recordings
        return answer if self.blocks is None else {**answer, "blocks": self.blocks.to_dict()}

    def to_record(self) -> dict[str, Any]:
        """One flat row for the inference log and for ``reference.parquet``: scalars only.

        ``threshold`` and ``anomalous`` are as they were served; ``margin`` is the distance from the model's own
        threshold, so that no caller's threshold looks like a machine that has changed.
        """
        own = self.threshold if self.own_threshold is None else self.own_threshold
        return {
            "machine_type": self.machine_type,
            "model_version": self.model_version,
            "system": self.system,
            "score": self.score,
            "threshold": self.threshold,
            "margin": self.score - own,
            "anomalous": self.anomalous,
            "domain": self.domain,
            "reconstruction_error": self.reconstruction_error,
            "embedding_distance": self.embedding_distance,
            **self.signals.columns(self.duration_s),
            "warnings": " ".join(self.warnings),
        }
