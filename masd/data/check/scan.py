"""Every recording of a machine decoded once, on all processors: what is heard in it, and what it is a copy of."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from masd.audio import AudioError, decode
from masd.config import AudioSettings
from masd.data.channels import settled
from masd.data.check.content import HeardClip, content_findings, heard_of
from masd.data.check.findings import Finding, counted, some
from masd.data.clips import Clip
from masd.data.copies import connected, copies, find_overlaps
from masd.data.folders import MachineData
from masd.data.waveform_print import WaveformPrint
from masd.progress import Progress

AT_ONCE = 64
"""Clips that are decoded ahead of the one that is asked for: only so many are in memory."""


@dataclass(frozen=True)
class Scan:
    """``heard`` are the readable clips, ``unreadable`` the others with the reason. ``copy_of`` names, for each training
    clip whose sound is in another one, that other; ``groups`` are the sizes of sets of training clips that share sound,
    the largest first, and ``independent`` is how many training clips there are when each set counts once.
    """

    audio: AudioSettings
    heard: tuple[HeardClip, ...]
    unreadable: dict[str, str]
    copy_of: dict[str, str]
    groups: tuple[int, ...]
    independent: int
    findings: tuple[Finding, ...]


def scan(data: MachineData, audio: AudioSettings, progress: Progress | None = None) -> Scan:
    """Listen to all clips of ``data`` as training would. Training clips with sound in them are compared."""
    audio = settled(audio, data)
    heard: list[HeardClip] = []
    names: list[str] = []
    prints: list[WaveformPrint] = []
    unreadable: dict[str, str] = {}
    for number, (clip, found) in enumerate(_decoded(data.clips, audio), start=1):
        if isinstance(found, str):
            unreadable[_place(clip, data)] = found
        else:
            one, print_ = found
            heard.append(one)
            if print_ is not None:
                names.append(clip.name)
                prints.append(print_)
        if progress:
            progress(number, len(data.clips), data.machine_type)
    overlaps = find_overlaps(prints)
    copy_of = {names[copy]: names[first] for copy, first in copies(prints, overlaps, range(len(prints))).items()}
    group = connected(len(prints), [(overlap.first, overlap.second) for overlap in overlaps])
    sizes = sorted(Counter(group.tolist()).values(), reverse=True)
    findings = [
        *_unreadable(unreadable, len(data.clips)),
        *content_findings(heard, audio, data.layout),
        *_copies(copy_of, len(names)),
        *_groups(sizes, copy_of, len(names)),
    ]
    groups = tuple(size for size in sizes if size > 1)
    return Scan(audio, tuple(heard), unreadable, copy_of, groups, len(sizes), tuple(findings))


def _decoded(
    clips: Sequence[Clip], audio: AudioSettings
) -> Iterator[tuple[Clip, tuple[HeardClip, WaveformPrint | None] | str]]:
    """Clips in their order, each with what is heard in it or why it cannot be read."""

    def listen(clip: Clip) -> tuple[HeardClip, WaveformPrint | None] | str:
        try:
            recording = decode(clip.path, sample_rate=audio.sample_rate, channel=audio.channel_heard)
        except AudioError as error:
            return str(error).removeprefix(f"{clip.path}: ")
        compared = clip.split == "train" and not recording.silent
        print_ = WaveformPrint.of(recording.samples, audio.sample_rate) if compared else None
        return HeardClip(clip, heard_of(recording)), print_

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(clips), AT_ONCE):
            part = clips[start : start + AT_ONCE]
            yield from zip(part, pool.map(listen, part), strict=True)


def _place(clip: Clip, data: MachineData) -> str:
    return clip.path.relative_to(data.folder).as_posix()


def _unreadable(unreadable: dict[str, str], clips: int) -> list[Finding]:
    if not unreadable:
        return []
    first, reason = next(iter(unreadable.items()))
    text = f"{len(unreadable)} of {counted(clips, 'recording')} cannot be read: {some(list(unreadable))}"
    text += f" ({first}: {reason})"
    return [Finding("warning", "unreadable", text, tuple(unreadable))]


def _copies(copy_of: dict[str, str], clips: int) -> list[Finding]:
    if not copy_of:
        return []
    pairs = some([f"{copy} of {first}" for copy, first in copy_of.items()])
    text = f"{len(copy_of)} of {counted(clips, 'training clip')} are copies of others by their sound: {pairs}"
    return [Finding("warning", "copies", text, tuple(copy_of))]


def _groups(sizes: Sequence[int], copy_of: dict[str, str], clips: int) -> list[Finding]:
    shared = clips - len(sizes)
    if shared <= len(copy_of):
        return []
    text = f"training clips share parts of their sound, as cuts of one recording do: {clips} clips are {len(sizes)} "
    text += f"independent recordings, the largest of {counted(int(np.max(sizes)), 'clip')}"
    return [Finding("warning", "shared_sound", text)]
