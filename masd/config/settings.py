"""Every setting of masd with its default, and where the default comes from.

"Paper, section 3.1" is a section of the technical report whose method masd implements (docs/method.md). Settings that
the paper leaves open say why they have their default. The settings travel inside every bundle as ``config.yaml``.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from masd.errors import MasdError, one_line

SystemName = Literal["fused", "knn-feature", "knn-score", "lof-feature", "lof-score"]
ALL_SYSTEMS: tuple[SystemName, ...] = get_args(SystemName)
"""The values of ``detection.system``: the rows of :data:`masd.detection.detectors.SYSTEMS`, in their order."""
PAPER_SYSTEMS: tuple[SystemName, ...] = ("knn-feature", "knn-score", "lof-feature", "lof-score")
"""The systems of the paper, which need a network."""

LossName = Literal["reconstruction", "classification", "contrastive"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class AudioSettings(_Section):
    """From a recording to log-mel frames (paper, section 3.1)."""

    sample_rate: PositiveInt = 16_000
    n_fft: PositiveInt = 1024
    hop_length: PositiveInt = 512
    n_mels: PositiveInt = 128
    f_max_hz: float | None = Field(None, gt=0.0)  # upper edge of the mel bands; None: half of sample_rate
    high_pass_hz: float = Field(200.0, ge=0.0)  # 0 switches it off; the paper leaves the value open
    high_pass_hz_by_machine: dict[str, Annotated[float, Field(ge=0.0)]] = {}
    channel: NonNegativeInt | Literal["auto", "mean"] = "auto"  # 0 of DCASE 2026, whose channel 1 is far; else the mean

    @model_validator(mode="after")
    def _frames_and_filters_fit_the_samples(self) -> Self:
        if self.hop_length > self.n_fft:
            raise ValueError(
                f"hop_length is {self.hop_length}: must be at most n_fft ({self.n_fft}); otherwise samples are skipped"
            )
        if self.upper_edge_hz > self.sample_rate / 2:
            raise ValueError(f"f_max_hz is {self.f_max_hz:g}: must be at most half of sample_rate ({self.sample_rate})")
        for cutoff in (self.high_pass_hz, *self.high_pass_hz_by_machine.values()):
            if cutoff >= self.upper_edge_hz:
                raise ValueError(
                    f"high_pass_hz is {cutoff:g}: must be below {self.upper_edge_hz:g}, the upper edge of the bands"
                )
        return self

    @property
    def upper_edge_hz(self) -> float:
        """The upper edge of the mel bands, in Hz."""
        return self.sample_rate / 2 if self.f_max_hz is None else self.f_max_hz

    @property
    def channel_used(self) -> int | Literal["mean"]:
        """The channel that is decoded. :func:`masd.data.store.build_store` replaces ``auto``, and a bundle stores the
        result.
        """
        return "mean" if self.channel == "auto" else self.channel

    def high_pass_for(self, machine_type: str) -> float:
        """The high-pass cut-off for one machine type, in Hz."""
        return self.high_pass_hz_by_machine.get(machine_type, self.high_pass_hz)


class WindowSettings(_Section):
    """Analysis windows cut from the log-mel frames (paper, section 3.1: 64 frames, with overlap)."""

    frames: PositiveInt = 64
    hop_frames: PositiveInt = 32

    @model_validator(mode="after")
    def _windows_leave_no_gap(self) -> Self:
        if self.hop_frames > self.frames:
            raise ValueError(
                f"hop_frames is {self.hop_frames}: must be at most frames ({self.frames}); otherwise frames are skipped"
            )
        return self


class DataSettings(_Section):
    """Which recordings are read, and how their clips are grouped."""

    supplemental: Literal["auto", "clean", "noise", "ignore"] = "auto"
    max_unreadable_share: float = Field(0.01, ge=0.0, le=1.0)
    group_by: str | tuple[str, ...] = "auto"
    """How to find the clips of one recording: attributes by name, ``pattern:REGULAR_EXPRESSION`` with one group on the
    file name, ``similarity`` of their mean spectra, ``none``, or ``auto``: all attributes, if there are many
    combinations with few clips each. Clips that share sound always belong to one recording.
    """

    @field_validator("group_by")
    @classmethod
    def _a_pattern_has_one_group(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str) and value.startswith("pattern:"):
            try:
                groups = re.compile(value.removeprefix("pattern:")).groups
            except re.error as error:
                raise ValueError(f"{value}: is not a regular expression ({error})") from error
            if groups != 1:
                raise ValueError(f"{value}: needs exactly one group (...); clips with the same group are one recording")
        return value


class NetworkSettings(_Section):
    """The convolutional auto-encoder (paper, sections 2.1 and 3.1)."""

    channels: tuple[PositiveInt, ...] = Field((16, 32, 64, 128), min_length=1)
    embedding_dim: PositiveInt = 128


SCHEDULES: dict[str, tuple[int, int]] = {"default": (1_000, 2_500), "paper": (4_400, 11_000)}
"""Optimiser steps of stages 1 and 2; ``paper``: 100 + 250 passes over the challenge's 990 + 10 clips of 10 s."""

EPOCHS = ("stage1_epochs", "stage2_epochs")


class TrainingSettings(_Section):
    """Two-stage training (paper, sections 2.3 and 3.1)."""

    scope: Literal["machine", "fleet"] = "machine"
    losses: tuple[LossName, ...] = ("reconstruction", "classification", "contrastive")
    schedule: Literal["default", "paper"] = "default"  # the number of optimiser steps: SCHEDULES
    stage1_steps: NonNegativeInt | None = None  # instead of the schedule's
    stage2_steps: NonNegativeInt | None = None
    learning_rate: float = Field(1e-3, gt=0.0)
    batch_source: PositiveInt = 96  # 96 + 16 + 16: the paper's batch of 128
    batch_target: NonNegativeInt = 16
    batch_supplemental: NonNegativeInt = 16
    alpha: float = Field(2.0, ge=0.0)
    beta: float = Field(1.0, ge=0.0)
    temperature: float = Field(0.07, gt=0.0)
    mixup_probability: float = Field(0.5, ge=0.0, le=1.0)
    specaugment_probability: float = Field(0.5, ge=0.0, le=1.0)
    specaugment_bands: NonNegativeInt = 16
    specaugment_frames: NonNegativeInt = 8
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    checkpoint_every: PositiveInt = 100  # steps
    calibration_share: float = Field(
        0.1, ge=0.0, le=0.5
    )  # of the source clips: kept from the network, for the threshold

    @model_validator(mode="before")
    @classmethod
    def _steps_instead_of_epochs(cls, values: Any) -> Any:
        if isinstance(values, dict) and (old := [name for name in EPOCHS if name in values]):
            raise ValueError(f"{old[0]}: the schedule counts optimiser steps now; set stage1_steps and stage2_steps")
        return values

    @model_validator(mode="after")
    def _reconstruction_is_always_there(self) -> Self:
        if "reconstruction" not in self.losses:
            raise ValueError(
                "losses must contain 'reconstruction': the weights of the other two are relative to it (eq. (5))"
            )
        if sum(self.stages) == 0:
            raise ValueError("stage1_steps and stage2_steps are both 0: nothing would be trained")
        return self

    @property
    def stages(self) -> tuple[int, int]:
        """Optimiser steps with ``L_recon`` alone, and with all losses."""
        first, second = SCHEDULES[self.schedule]
        return (
            first if self.stage1_steps is None else self.stage1_steps,
            second if self.stage2_steps is None else self.stage2_steps,
        )


class DetectionSettings(_Section):
    """The detectors (those of the paper, behind its network: section 2.4)."""

    system: SystemName = "fused"
    latent: bool = False  # fused also compares the encoder's latent; needs the network; measured: no better
    error_weight: float = Field(1.0, ge=0.0)
    knn: Literal["centres", "plain"] = "centres"
    knn_centres: PositiveInt = 16
    knn_neighbours: PositiveInt = 1
    lof_neighbours: PositiveInt = 20
    smote_neighbours: PositiveInt = 2
    smote_share: float = Field(0.2, ge=0.0, le=1.0)  # target vectors after SMOTE, as a share of the source's
    domain_scores: Literal["raw", "zscore", "density"] = "raw"
    max_vectors: PositiveInt = 20_000  # of one domain's bank: bounds memory and the cost of a score
    threshold_percentile: float = Field(90.0, gt=0.0, lt=100.0)
    held_out_folds: PositiveInt = Field(5, ge=2)

    @property
    def needs_network(self) -> bool:
        """Whether the system looks at what a trained network makes of a clip."""
        return self.latent or self.system in PAPER_SYSTEMS


class GateSettings(_Section):
    """When a candidate may go into production. Margins are differences of the harmonic mean of AUC source, AUC target
    and pAUC.
    """

    confidence: float = Field(0.9, gt=0.0, lt=1.0)  # of an interval: its lower end is the quantile (1 - confidence) / 2
    bootstrap_samples: PositiveInt = 1000  # resamples of the test clips
    control_margin: float = Field(0.05, ge=0.0)
    baseline_epochs: PositiveInt = 100  # of the baseline, a control; as published. Fewer make it quicker and weaker
    production_margin: float = Field(0.02, ge=0.0)
    approval: Literal["automatic", "manual"] = "automatic"  # manual: what passes waits for masd registry promote


class ServingSettings(_Section):
    """Limits of one request to the endpoint."""

    max_clip_seconds: float = Field(3600.0, gt=0.0)  # of one request: all its clips together
    refuse_silence_below_dbfs: float | None = None


class DriftSettings(_Section):
    """When an inference log has drifted."""

    false_alarm_rate: float = Field(0.05, gt=0.0, lt=1.0)
    min_clips: PositiveInt = 30
    window: PositiveInt = 1000
    """The number of newest clips that are compared: among all clips of a log, a recent change would not show."""


class Settings(_Section):
    """All settings of one model."""

    seed: int = Field(0, ge=0, le=2**32 - 1)  # as far as scikit-learn takes one
    audio: AudioSettings = AudioSettings()
    windows: WindowSettings = WindowSettings()
    data: DataSettings = DataSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    detection: DetectionSettings = DetectionSettings()
    gate: GateSettings = GateSettings()
    serving: ServingSettings = ServingSettings()
    drift: DriftSettings = DriftSettings()

    @model_validator(mode="after")
    def _windows_fit_the_network(self) -> Self:
        step = 2 ** len(self.network.channels)
        for name, size in (("audio.n_mels", self.audio.n_mels), ("windows.frames", self.windows.frames)):
            if size % step:
                raise ValueError(
                    f"{name} is {size}, but must be a multiple of {step}: network.channels has "
                    f"{len(self.network.channels)} blocks, and each halves it"
                )
        return self

    @classmethod
    def load(cls, file: Path | None = None, overrides: Sequence[str] = ()) -> Self:
        """Read a YAML file and apply ``section.key=value`` overrides (values are YAML too).

        :raises MasdError: unreadable file, unknown key or a value out of range, with its place.
        """
        values: dict[str, Any] = {}
        if file is not None:
            try:
                loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                raise MasdError(f"cannot read settings {file}: {one_line(error)}") from error
            if not isinstance(loaded, dict | None):
                raise MasdError(
                    f"settings {file}: expected sections such as 'training:', found {type(loaded).__name__}"
                )
            values = loaded or {}
        for override in overrides:
            _apply(values, override)
        return cls._validated(values, str(file) if file else "settings")

    @classmethod
    def from_yaml(cls, text: str, where: str) -> Self:
        """Parse what :meth:`to_yaml` wrote, now or in an older bundle; ``where`` names the source in errors."""
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise MasdError(f"{where}: not YAML: {one_line(error)}") from error
        if not isinstance(values, dict):
            raise MasdError(f"{where}: expected sections with settings, such as training: {{stage1_steps: 20}}")
        if isinstance(training := values.get("training"), dict):
            # Up to schema 6 a schedule was counted in passes over the frames; history.json has what was trained.
            values["training"] = {name: value for name, value in training.items() if name not in EPOCHS}
        return cls._validated(values, where)

    @classmethod
    def _validated(cls, values: dict[str, Any], where: str) -> Self:
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']} (got {_short(item['input'])})"
                for item in error.errors()
            )
            raise MasdError(f"{where}: {problems}") from error

    def settled_like(self, made: "Settings") -> Self:
        """These settings with the channel of ``made``, the settings of a bundle, if they leave the channel open."""
        if self.audio.channel != "auto":
            return self
        return self.model_copy(update={"audio": self.audio.model_copy(update={"channel": made.audio.channel})})

    def to_yaml(self) -> str:
        """All settings, defaults included, as YAML that :meth:`from_yaml` reads back to an equal object."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise MasdError(f"--set {override}: expected section.key=value, for example training.stage1_steps=20")
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise MasdError(f"--set {override}: '{section}' is a value, not a section")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MasdError(f"--set {override}: not a YAML value") from error


def _short(value: object) -> str:
    text = one_line(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
