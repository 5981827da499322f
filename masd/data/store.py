"""The log-mel store: one memory-mapped array of frames for a machine, and a table of its clips."""

import hashlib
import json
import logging
import mmap
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from masd.arrays import Array, Integers
from masd.audio import AudioError, Recording, decode
from masd.audio.log_mel import FLOOR, LogMel
from masd.audio.signals import Signals
from masd.audio.threads import one_thread
from masd.config import AudioSettings, Settings
from masd.data.channels import settled
from masd.data.check.content import MeasuredClip, content_findings, properties_of
from masd.data.clips import Clip
from masd.data.findings import Finding, of_level, some
from masd.data.folders.machine import MachineData
from masd.data.recordings.groups import SIMILARITY
from masd.data.recordings.prints import Prints
from masd.data.recordings.similarity import half_spectra
from masd.data.recordings.table import add_recordings, copies_note
from masd.data.recordings.waveform_print import WaveformPrint
from masd.errors import MasdError, one_line
from masd.files import replacing_folder
from masd.progress import Progress

FORMAT = 5
SILENCE_DB = np.float32(10.0 * np.log10(FLOOR))
"""Of every frame of a reference channel that a clip does not have."""

FRAMES, UNFILTERED, FAR = "frames.npy", "frames-unfiltered.npy", "frames-far.npy"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureStore:
    """One machine's log-mel frames and clip table, read-only.

    ``clips`` has one row per readable clip: name, path, split, section, domain, condition, kind, attributes,
    ``offset`` and ``n_frames`` into ``frames`` ``[total, n_mels]`` (dB), and the clip's own duration, sample rate,
    channels, codec, level, clipping, spectral centroid and octave levels, and the columns of
    :func:`~masd.data.recordings.table.add_recordings`. The frames are those after the machine's high-pass;
    :meth:`without_high_pass` has the unfiltered ones, and ``far``, in the rows of ``frames``, those of the reference
    channel, if there is one; clips without it are silent there. ``fingerprint`` is that of the training data.
    ``recordings``, as given to :func:`build_store`, is that of all recordings, including test clips, of the machines
    that are trained together. ``findings`` are on the content of the training clips.
    """

    folder: Path
    machine_type: str
    fingerprint: str
    audio: AudioSettings
    high_pass_hz: float
    skipped: tuple[str, ...]
    clips: pd.DataFrame
    frames: Array
    recordings: str = ""
    findings: tuple[Finding, ...] = ()
    far: Array | None = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """:raises MasdError: the folder has no store of this format."""
        try:
            about = json.loads((folder / "store.json").read_text(encoding="utf-8"))
            if about["format"] != FORMAT:
                raise MasdError(
                    f"{folder}: has store format {about['format']}, but this masd reads {FORMAT}; run the training "
                    "again "
                    "from the start"
                )
            frames = _mapped(folder / FRAMES)
            return cls(
                folder=folder,
                machine_type=about["machine_type"],
                fingerprint=about["fingerprint"],
                audio=AudioSettings(**about["audio"]),
                high_pass_hz=about["high_pass_hz"],
                skipped=tuple(about["skipped"]),
                clips=pd.read_parquet(folder / "clips.parquet"),
                frames=frames,
                recordings=about.get("recordings", ""),
                findings=tuple(
                    Finding(**finding | {"clips": tuple(finding["clips"])}) for finding in about.get("findings", ())
                ),
                far=_mapped(folder / FAR) if "reference_channel" in about["audio"] else None,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MasdError(
                f"{folder}: is not a log-mel store ({one_line(error, 160)}); run the training again from the start"
            ) from error

    def without_high_pass(self) -> Self:
        """The same clips with unfiltered frames, which the controls use."""
        if self.high_pass_hz == 0.0:
            return self
        return replace(self, frames=_mapped(self.folder / UNFILTERED), high_pass_hz=0.0, far=None)

    def far_as_noise(self) -> Self:
        """The training clips as the reference channel heard them, as noise-only clips; others are not for training.

        :raises ValueError: there is no reference channel.
        """
        if self.far is None:
            raise ValueError(f"{self.folder}: has no reference channel")
        used = np.isin(np.arange(len(self.clips)), self.normal_rows())
        clips = self.clips.assign(kind="noise", split=np.where(used, "train", "test"))
        return replace(self, frames=self.far, clips=clips, far=None)

    def log_mel(self, row: int) -> Array:
        """Frames ``[T, n_mels]`` of one row of ``clips``."""
        return self._of_clip(self.frames, row)

    def far_log_mel(self, row: int) -> Array | None:
        """Frames ``[T, n_mels]`` of the reference channel; None for a clip, or a store, without one."""
        if self.far is None:
            return None
        frames = self._of_clip(self.far, row)
        return None if (frames <= SILENCE_DB).all() else frames

    def _of_clip(self, frames: Array, row: int) -> Array:
        offset, count = self.clips["offset"].to_numpy()[row], self.clips["n_frames"].to_numpy()[row]
        return np.asarray(frames[offset : offset + count])

    def normal_rows(self) -> Integers:
        """Rows of the machine's own (noisy) training clips; copies count once."""
        return self.rows(split="train", kind="noisy", copy_of="")

    def release(self) -> None:
        """Release the memory pages that were read; they stay in the system's file cache. So reading a large
        store does not need memory for all of it.
        """
        for frames in (self.frames, self.far):
            mapped = getattr(frames, "_mmap", None)
            if mapped is not None and hasattr(mapped, "madvise"):
                mapped.madvise(mmap.MADV_DONTNEED)

    def rows(self, **wanted: str) -> Integers:
        """Row numbers of the clips whose columns have the wanted values, e.g. ``rows(split="train", kind="noisy")``."""
        mask = np.ones(len(self.clips), dtype=bool)
        for column, value in wanted.items():
            mask &= (self.clips[column] == value).to_numpy()
        return np.flatnonzero(mask)


def build_store(
    data: MachineData,
    settings: Settings,
    out: Path,
    *,
    recordings: str = "",
    progress: Progress | None = None,
) -> FeatureStore:
    """Decode every clip once and write its log-mel frames, with and without the machine's high-pass, to ``out``
    (replaced as a whole when complete).

    Frames are appended to the file as they are computed, so memory stays flat as recordings grow.

    :raises MasdError: more clips are unreadable than ``data.max_unreadable_share`` allows (names the first), or the
        training clips cannot be used.
    """
    audio = settled(settings.audio, data)
    reference = audio.reference_channel
    cutoff = audio.high_pass_for(data.machine_type)
    log_mel, unfiltered = LogMel(audio, cutoff), LogMel(audio, 0.0)
    allowed = int(settings.data.max_unreadable_share * len(data.clips))
    rows: list[dict[str, Any]] = []
    prints = Prints()
    spectra: list[Array] = []
    facts: list[MeasuredClip] = []
    skipped: list[str] = []
    without_far: list[str] = []
    digest = hashlib.sha256()
    with replacing_folder(out) as staged:
        with ExitStack() as files, one_thread():
            frame_file = files.enter_context(_FrameFile(staged / FRAMES, settings.audio.n_mels))
            plain = files.enter_context(_FrameFile(staged / UNFILTERED, settings.audio.n_mels)) if cutoff else None
            far = files.enter_context(_FrameFile(staged / FAR, audio.n_mels)) if reference is not None else None
            for number, clip in enumerate(data.clips, start=1):
                try:
                    content = clip.path.read_bytes()
                    recording = decode(
                        content, sample_rate=audio.sample_rate, channel=audio.channel_used, reference=reference
                    )
                except (AudioError, OSError) as error:
                    reason = error.what if isinstance(error, AudioError) else f"cannot be read ({error.strerror})"
                    skipped.append(f"{clip.path}: {reason}")
                    log.warning("skipped unreadable clip %s: %s", clip.path, reason)
                    if len(skipped) > allowed:
                        raise MasdError(_too_many(skipped, len(data.clips), settings)) from error
                    continue
                frames = log_mel(recording.samples)
                rows.append(_row(clip, recording, frame_file.rows, frames, log_mel))
                facts.append(MeasuredClip(clip, properties_of(recording)))
                frame_file.append(frames)
                if plain is not None:
                    plain.append(unfiltered(recording.samples))
                if far is not None:
                    if recording.far is None and (clip.split, clip.kind) == ("train", "noisy"):
                        without_far.append(clip.name)
                    far.append(np.full_like(frames, SILENCE_DB) if recording.far is None else log_mel(recording.far))
                prints.add(WaveformPrint.of(recording.samples, settings.audio.sample_rate))
                if settings.data.group_by == SIMILARITY:
                    spectra.append(half_spectra(recording.samples))
                if clip.split != "test":
                    about_clip = f"{clip.split}/{clip.name}/{clip.domain}/{clip.kind}/{clip.attributes}\0"
                    digest.update(about_clip.encode() + hashlib.sha256(content).digest())
                if progress:
                    progress(number, len(data.clips), data.machine_type)
        clips = pd.DataFrame(rows)
        if clips.empty or not ((clips["split"] == "train") & (clips["kind"] == "noisy")).any():
            raise MasdError(f"{data.folder / 'train'}: no readable training clips; first problem: {skipped[0]}")
        if without_far:
            raise MasdError(
                f"{data.folder / 'train'}: {len(without_far)} training clips have no channel {reference} "
                f"(audio.reference_channel), or no sound in it: {some(without_far)}; remove them, or train without it"
            )
        clips = add_recordings(clips, prints, settings.data, spectra)
        if note := copies_note(clips):
            log.warning("%s: %s", data.machine_type, note)
        findings = content_findings(facts, audio, data.layout)
        if problems := of_level(findings, "problem"):
            raise MasdError(f"{data.folder / 'train'}: {'; '.join(finding.text for finding in problems)}")
        clips.to_parquet(staged / "clips.parquet", index=False)
        about = {
            "format": FORMAT,
            "machine_type": data.machine_type,
            "fingerprint": digest.hexdigest(),
            "recordings": recordings,
            "audio": audio.model_dump(mode="json"),
            "findings": [asdict(finding) for finding in findings],
            "high_pass_hz": cutoff,
            "skipped": skipped,
        }
        (staged / "store.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    return FeatureStore.open(out)


def _mapped(file: Path) -> Array:
    frames: Array = np.load(file, mmap_mode="r", allow_pickle=False)
    return frames


class _FrameFile:
    """A growing ``.npy`` file of rows ``[n, columns]``; closing it writes the number of rows to its header."""

    def __init__(self, path: Path, columns: int) -> None:
        self._file, self._columns, self.rows = path.open("wb"), columns, 0

    def __enter__(self) -> Self:
        self._write_header()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def append(self, frames: Array) -> None:
        self._file.write(np.ascontiguousarray(frames, dtype="<f4").tobytes())
        self.rows += len(frames)

    def _write_header(self) -> None:
        # numpy pads this header so that the first axis may grow in place: the second call overwrites the first exactly
        shape = (self.rows, self._columns)
        np.lib.format.write_array_header_1_0(self._file, {"shape": shape, "fortran_order": False, "descr": "<f4"})


def _row(
    clip: Clip,
    recording: Recording,
    offset: int,
    frames: Array,
    log_mel: LogMel,
) -> dict[str, Any]:
    row = asdict(clip)
    row["path"] = str(clip.path.resolve())
    return row | {
        "offset": offset,
        "n_frames": len(frames),
        "duration_s": recording.duration_s,
        **asdict(Signals.measure(recording, frames, log_mel)),
        "channels_in": recording.channels_in,
        "codec": recording.codec,
    }


def _too_many(skipped: Sequence[str], clips: int, settings: Settings) -> str:
    share = settings.data.max_unreadable_share
    return (
        f"{len(skipped)} of {clips} clips cannot be read, more than data.max_unreadable_share={share:g} allows (first: "
        f"{skipped[0]}); repair or remove them, or raise the share"
    )
