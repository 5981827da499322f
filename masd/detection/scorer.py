"""The Scorer: the only code that turns audio into a score, offline and online."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from masd.arrays import Array
from masd.audio import AudioError, Encoded, LongRecording, Recording, SoundProperties, decode_or_stream
from masd.audio.decode import name_of
from masd.audio.log_mel import LogMel
from masd.audio.signals import Signals
from masd.config import Settings, SystemName
from masd.detection.detectors import Detectors
from masd.detection.features.clip import ClipFeatures
from masd.detection.features.extractor import FeatureExtractor
from masd.detection.long_recordings.blocks import long_from, score_long
from masd.detection.result import ClipScore, Segment
from masd.detection.system import SystemScores
from masd.detection.trained_on.expected_bands import ExpectedBands
from masd.detection.trained_on.warning_codes import TrainedOn, WarningCode, warnings_of
from masd.learning.trained import TrainedNetwork


class Scorer:
    """One machine's model, ready to score: log-mel, network, detectors and thresholds together."""

    def __init__(
        self,
        settings: Settings,
        machine_type: str,
        trained: TrainedNetwork,
        detectors: Detectors,
        model_version: str = "0",
        clip_seconds: float = 10.0,
        trained_on: TrainedOn | None = None,
        expected: ExpectedBands | None = None,
        expected_far: ExpectedBands | None = None,
    ) -> None:
        """``clip_seconds`` is the length of the training clips: longer recordings are scored in blocks of that length.

        ``trained_on`` is what else is known of them, and ``expected`` what they lead one to expect of bands that
        cannot be compared, ``expected_far`` those of the reference channel.
        """
        self.settings, self.machine_type, self.model_version = settings, machine_type, model_version
        self.detectors, self.clip_seconds = detectors, clip_seconds
        self.trained_on, self.expected = trained_on or TrainedOn(), expected
        self.expected_far = expected_far
        self.log_mel = LogMel(settings.audio, settings.audio.high_pass_for(machine_type))
        self.extract = FeatureExtractor(trained.network, trained.normalisations[machine_type], settings.windows)

    @property
    def system(self) -> SystemName:
        """The system whose score is the answer."""
        return self.settings.detection.system

    def decode(self, source: Path | Encoded) -> Recording | LongRecording:
        """Decode with this model's audio settings and the limits of serving.

        A recording longer than a few training clips is read to its end, but kept encoded until it is scored.

        :raises AudioError: undecodable, empty, too long, or silent where the settings refuse silence.
        """
        audio, serving = self.settings.audio, self.settings.serving
        recording = decode_or_stream(
            source,
            sample_rate=audio.sample_rate,
            channel=audio.channel_used,
            reference=audio.reference_channel,
            max_seconds=serving.max_clip_seconds,
            long_from=long_from(self.clip_seconds),
        )
        floor = serving.refuse_silence_below_dbfs
        if floor is not None and recording.level_dbfs < floor:
            level = (
                f"its level of {recording.level_dbfs:.1f} dBFS is below {floor:g} (serving.refuse_silence_below_dbfs)"
            )
            raise AudioError("silent", name_of(source), f"is silent: {level}; check the microphone")
        return recording

    def known_bands(self, sample_rate_in: int) -> int:
        """How many of the lowest bands of a clip of this rate can be compared with those of the training clips."""
        below_hz = self.trained_on.alike_below_hz(sample_rate_in, self.settings.audio.sample_rate)
        if self.expected is None or below_hz is None:
            return self.settings.audio.n_mels
        return int((self.log_mel.tops_hz <= below_hz).sum())

    def frames(self, recording: Recording) -> Array:
        """Log-mel frames ``[T, n_mels]`` of a clip; bands beyond the :meth:`known_bands` are what the training clips
        lead one to expect.
        """
        log_mel = self.log_mel(recording.samples)
        known = self.known_bands(recording.sample_rate_in)
        return log_mel if self.expected is None else self.expected.fill(log_mel, known)

    def far_frames(self, recording: Recording) -> Array | None:
        """The same of the reference channel; None where the clip has none."""
        if recording.far is None:
            return None
        log_mel, known = self.log_mel(recording.far), self.known_bands(recording.sample_rate_in)
        return log_mel if self.expected_far is None else self.expected_far.fill(log_mel, known)

    def score(
        self,
        recordings: Sequence[Recording | LongRecording],
        *,
        thresholds: Sequence[float | None] | None = None,
        all_systems: bool = False,
    ) -> list[ClipScore]:
        """Score clips of any lengths together; ``thresholds`` replaces the model's own where not None.

        ``systems`` of a result has the model's own system, or with ``all_systems`` every one that the model has, which
        takes longer. Long
        recordings are scored one after the other, block by block.
        """
        overrides = thresholds or [None] * len(recordings)
        systems = list(self.detectors.systems) if all_systems else [self.system]
        pairs = list(zip(recordings, overrides, strict=True))
        together = [(clip, override) for clip, override in pairs if isinstance(clip, Recording)]
        clips = iter(self._clips([clip for clip, _ in together], [override for _, override in together], systems))

        def score_block(block: Recording, override: float | None) -> ClipScore:
            return self._clips([block], [override], systems)[0]

        return [
            next(clips) if isinstance(recording, Recording) else self._long(recording, override, score_block)
            for recording, override in pairs
        ]

    def _long(
        self, recording: LongRecording, override: float | None, score: Callable[[Recording, float | None], ClipScore]
    ) -> ClipScore:
        result = score_long(recording, self.clip_seconds, override, self.trained_on.off_dbfs, score)
        while_on = replace(recording, level_dbfs=result.signals.level_dbfs)
        return replace(result, warnings=self._warnings(while_on))

    def _clips(
        self, recordings: list[Recording], thresholds: list[float | None], systems: Sequence[SystemName]
    ) -> list[ClipScore]:
        if not recordings:
            return []
        log_mels = [self.frames(recording) for recording in recordings]
        features = self.extract(log_mels, [self.far_frames(recording) for recording in recordings])
        scores = self.detectors.score_clips(features, systems)
        return [self._result(*clip) for clip in zip(recordings, features, scores, thresholds, strict=True)]

    def _warnings(self, recording: SoundProperties) -> tuple[WarningCode, ...]:
        return warnings_of(recording, self.trained_on, self.settings.audio)

    def _segments(self, features: ClipFeatures, system: SystemScores, duration_s: float) -> tuple[Segment, ...]:
        """The window scores of a clip with the time each window covers."""
        seconds = self.settings.audio.hop_length / self.settings.audio.sample_rate
        return tuple(
            Segment(start * seconds, min(end * seconds, duration_s), float(score))
            for (start, end), score in zip(features.spans.tolist(), system.window_scores, strict=True)
        )

    def _result(
        self,
        recording: Recording,
        features: ClipFeatures,
        scores: dict[SystemName, SystemScores],
        threshold: float | None,
    ) -> ClipScore:
        system = scores[self.system]
        own, calibration = self.detectors.threshold_of(self.system, features)
        return ClipScore(
            machine_type=self.machine_type,
            model_version=self.model_version,
            system=self.system,
            score=system.score,
            threshold=own if threshold is None else threshold,
            own_threshold=own,
            calibration=calibration if threshold is None else None,
            domain="target" if system.from_target else "source",
            duration_s=recording.duration_s,
            segments=self._segments(features, system, recording.duration_s),
            reconstruction_error=features.mean_error,
            systems={name: of_system.score for name, of_system in scores.items()},
            signals=Signals.measure(recording, features.log_mel, self.log_mel),
            embedding_distance=self.detectors.embedding_distance(features),
            warnings=self._warnings(recording),
        )
