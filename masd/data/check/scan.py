"""Decode every recording of a machine once, on all processors: measure its sound and find copies."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from masd.arrays import Array
from masd.audio import AudioError, decode
from masd.config import AudioSettings, DataSettings, Settings
from masd.data.channels import settled
from masd.data.check.content import MeasuredClip, content_findings, properties_of
from masd.data.clips import Clip
from masd.data.findings import Finding, counted, some
from masd.data.folders.machine import MachineData
from masd.data.recordings.groups import SIMILARITY
from masd.data.recordings.prints import Prints
from masd.data.recordings.similarity import half_spectra
from masd.data.recordings.table import add_recordings, shared_sound_note
from masd.data.recordings.waveform_print import WaveformPrint
from masd.progress import Progress

AT_ONCE = 64
"""The number of clips that are decoded ahead, and so in memory."""


@dataclass(frozen=True)
class Scan:
    """The result of decoding all clips of a machine.

    ``measured`` are the readable clips, ``unreadable`` the others with the reason. ``copy_of`` names the clip of which
    a training or supplemental clip is a copy. ``groups`` are the numbers of training clips that come from the same
    recording, if more than one, the largest first; ``independent`` is the number of recordings.
    """

    audio: AudioSettings
    measured: tuple[MeasuredClip, ...]
    unreadable: dict[str, str]
    copy_of: dict[str, str]
    groups: tuple[int, ...]
    independent: int
    findings: tuple[Finding, ...]


def scan(data: MachineData, settings: Settings, progress: Progress | None = None) -> Scan:
    """Decode all clips of ``data`` as for training, and compare them with each other.

    :raises MasdError: ``data.group_by`` matches no clip.
    """
    audio = settled(settings.audio, data)
    measured: list[MeasuredClip] = []
    prints = Prints()
    sounding: list[MeasuredClip] = []
    spectra: list[Array] = []
    unreadable: dict[str, str] = {}
    for number, (clip, found) in enumerate(_decoded(data.clips, audio, settings.data), start=1):
        if isinstance(found, str):
            unreadable[clip.path.relative_to(data.folder).as_posix()] = found
        else:
            measured.append(found[0])
            if not found[0].sound.silent:  # silent ones are no copies
                sounding.append(found[0])
                prints.add(found[1])
                spectra.append(found[2])
        if progress:
            progress(number, len(data.clips), data.machine_type)
    findings = [*_unreadable(unreadable, len(data.clips)), *content_findings(measured, audio, data.layout)]
    if not sounding:
        return Scan(audio, tuple(measured), unreadable, {}, (), 0, tuple(findings))
    rows = [vars(one.clip) | vars(one.sound) for one in sounding]
    table = add_recordings(pd.DataFrame(rows), prints, settings.data, spectra)
    copies = table[table["copy_of"] != ""]
    training = table[(table["split"] == "train") & (table["kind"] == "noisy")]
    sizes = training["recording"].value_counts().tolist()
    copy_of = dict(zip(copies["name"], copies["copy_of"], strict=True))
    findings += [*_copies(copy_of, len(training)), *_groups(sizes, copy_of, len(training))]
    if note := shared_sound_note(table):
        findings.append(Finding("warning", "test_in_training", note))
    groups = tuple(size for size in sizes if size > 1)
    return Scan(audio, tuple(measured), unreadable, copy_of, groups, len(sizes), tuple(findings))


def _decoded(
    clips: Sequence[Clip], audio: AudioSettings, settings: DataSettings
) -> Iterator[tuple[Clip, tuple[MeasuredClip, WaveformPrint, Array] | str]]:
    """Clips in their order, each with the properties of its sound, or the reason why it cannot be read."""

    def listen(clip: Clip) -> tuple[MeasuredClip, WaveformPrint, Array] | str:
        try:
            recording = decode(
                clip.path, sample_rate=audio.sample_rate, channel=audio.channel_used, reference=audio.reference_channel
            )
        except AudioError as error:
            return error.what
        wanted = settings.group_by == SIMILARITY
        spectra = half_spectra(recording.samples) if wanted else np.empty((2, 0), np.float32)
        return (
            MeasuredClip(clip, properties_of(recording)),
            WaveformPrint.of(recording.samples, audio.sample_rate),
            spectra,
        )

    # a clip per processor: libraries that share one clip among them spend more on waiting for each other
    with threadpool_limits(1), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(clips), AT_ONCE):
            part = clips[start : start + AT_ONCE]
            yield from zip(part, pool.map(listen, part), strict=True)


def _unreadable(unreadable: dict[str, str], clips: int) -> list[Finding]:
    if not unreadable:
        return []
    first, reason = next(iter(unreadable.items()))
    text = f"{len(unreadable)} of {counted(clips, 'recording')} cannot be read; repair or remove them: "
    text += some(list(unreadable))
    text += f" ({first}: {reason})"
    return [Finding("warning", "unreadable", text, tuple(unreadable))]


def _copies(copy_of: dict[str, str], clips: int) -> list[Finding]:
    if not copy_of:
        return []
    pairs = some([f"{copy} = {first}" for copy, first in copy_of.items()])
    text = f"{len(copy_of)} of {counted(clips, 'training clip')} have the same sound as others: {pairs}"
    return [Finding("warning", "copies", text, tuple(copy_of))]


def _groups(sizes: Sequence[int], copy_of: dict[str, str], clips: int) -> list[Finding]:
    shared = clips - len(sizes)
    if shared <= len(copy_of):
        return []
    text = f"{clips} training clips come from {len(sizes)} recordings (at most {counted(sizes[0], 'clip')} from "
    text += "one), as found by sound or by data.group_by; the clips of one recording are held out together"
    return [Finding("warning", "shared_sound", text)]
