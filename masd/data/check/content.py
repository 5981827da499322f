"""Check what the training clips of a machine contain: silence, channels, levels, rates, formats, durations."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median

from masd.audio import SoundProperties
from masd.audio.sound_properties import FLOOR_DBFS
from masd.config import AudioSettings
from masd.data.clips import Clip
from masd.data.findings import Finding, Level, counted, have, some
from masd.data.folders.machine import Layout

CLIPPED = 0.001
"""A clip with a larger share of clipped samples is named."""

UNEVEN = 2.0
"""If the longest training clip is more than this many times as long as the shortest, a note says so."""


@dataclass(frozen=True)
class MeasuredClip:
    """A clip with the properties of its sound, without its samples."""

    clip: Clip
    sound: SoundProperties


QUIET_DB = 30.0
"""In dB below the median level of the training clips: the machine is off, or a cable is loose."""

QUIET_DBFS = -80.0
"""Hardly more than the steps of 16-bit samples."""

DEAD_DB = 40.0
"""In dB below the loudest channel: the noise of a channel without a microphone."""


def properties_of(recording: SoundProperties) -> SoundProperties:
    """The properties of a recording, without its samples."""
    return SoundProperties(**{field.name: getattr(recording, field.name) for field in fields(SoundProperties)})


def content_findings(clips: Sequence[MeasuredClip], audio: AudioSettings, layout: Layout) -> list[Finding]:
    """Findings on the training clips; clips of other splits are skipped.

    :param audio: settings in which the channel is a number or ``mean``, not ``auto``.
    """
    train = [one for one in clips if one.clip.split == "train"]
    if not train:
        return []
    return [*_silent(train), *_channels(train, audio, layout), *_levels(train), *_samples(train, audio)]


def _silent(train: Sequence[MeasuredClip]) -> list[Finding]:
    silent = [one for one in train if one.sound.silent and not one.sound.channels_cancel]
    if not silent:
        return []
    alive = sorted(set.union(*(_channels_with_sound(one) for one in silent)))
    remedy = f"set audio.channel={alive[0]}" if alive else "record them again, or remove them"
    return [_of_some("silent", silent, train, "contain no sound", remedy)]


def _channels(train: Sequence[MeasuredClip], audio: AudioSettings, layout: Layout) -> list[Finding]:
    found = []
    mixed = [one for one in train if one.sound.mixed]
    cancel = [one for one in mixed if one.sound.channels_cancel]
    if cancel:
        what = "have channels that cancel each other in their mean: one of them is inverted"
        found.append(_of_some("channels_cancel", cancel, train, what, "set audio.channel=0"))
    half = [one for one in mixed if 0 < len(_channels_with_sound(one)) < one.sound.channels_in]
    if half:
        alive = _channels_with_sound(half[0])
        dead = sorted(set(range(half[0].sound.channels_in)) - alive)
        what = f"have a channel without sound ({', '.join(map(str, dead))}), which is averaged with the others"
        found.append(_of_some("dead_channel", half, train, what, f"set audio.channel={min(alive)}"))
    if mixed and not found:
        near_and_far = layout == "dcase" and {one.sound.channels_in for one in mixed} == {2}
        numbers = " or ".join(str(number) for number in sorted({one.sound.channels_in for one in mixed}))
        what = "a near and a far microphone" if near_and_far else f"{numbers} channels"
        text = (
            f"masd uses the mean of {what} of {counted(len(mixed), 'training clip')}; set audio.channel=0 to use only "
            "the first"
        )
        found.append(Finding("warning" if near_and_far else "note", "mean_of_channels", text))
    if chosen := [one for one in train if one.sound.channels_in > 1 and not one.sound.mixed]:
        text = f"{_have(chosen)} several channels; only channel {audio.channel} is used (audio.channel)"
        if audio.reference_channel is not None:
            text = (
                f"{_have(chosen)} several channels; channel {audio.channel} is scored (audio.channel), and channel "
                f"{audio.reference_channel} tells what is noise (audio.reference_channel)"
            )
        found.append(Finding("note", "one_of_channels", text))
    return found


def _levels(train: Sequence[MeasuredClip]) -> list[Finding]:
    sounding = [one for one in train if not one.sound.silent]
    if not sounding:
        return []
    middle = median(one.sound.level_dbfs for one in sounding)
    quiet = [one for one in sounding if one.sound.level_dbfs < max(middle - QUIET_DB, QUIET_DBFS)]
    if not quiet:
        return []
    what = f"are at least {QUIET_DB:g} dB quieter than most, or below {QUIET_DBFS:g} dBFS"
    return [_of_some("quiet", quiet, train, what, "remove them if the machine was off", "warning")]


def _samples(train: Sequence[MeasuredClip], audio: AudioSettings) -> list[Finding]:
    found = []
    if clipped := [one for one in train if one.sound.clipped_share > CLIPPED]:
        names = _names(clipped)
        text = f"{_have(clipped)} more than {CLIPPED:.1%} of clipped samples: {some(names)}; turn the gain down"
        found.append(Finding("warning", "clipped", text, names))
    rates = Counter(one.sound.sample_rate_in for one in train)
    if len(rates) > 1:
        text = ", ".join(f"{rate} Hz ({counted(number, 'clip')})" for rate, number in rates.most_common())
        found.append(
            Finding(
                "warning", "sample_rates", f"training clips have several sample rates: {text}; record all at one rate"
            )
        )
    if low := [one for one in train if one.sound.sample_rate_in < audio.sample_rate]:
        names = _names(low)
        text = (
            f"{_have(low)} a sample rate below audio.sample_rate ({audio.sample_rate} Hz): {some(names)}; set "
            "audio.sample_rate to the lowest rate"
        )
        found.append(Finding("warning", "low_rate", text, names))
    lossy = [one for one in train if one.sound.lossy]
    if lossy and len(lossy) < len(train):
        names = _names(lossy)
        text = (
            f"{len(lossy)} of {counted(len(train), 'training clip')} have a lossy format, the others do not: "
            f"{some(names)}; use one format, the one that you will send"
        )
        found.append(Finding("warning", "lossy", text, names))
    durations = [one.sound.duration_s for one in train]
    if max(durations) > UNEVEN * min(durations):
        text = (
            f"training clips last from {min(durations):.2g} to {max(durations):.4g} s, and the score depends on the "
            "length; cut them to one length"
        )
        found.append(Finding("note", "durations", text))
    return found


def _of_some(
    code: str,
    clips: Sequence[MeasuredClip],
    train: Sequence[MeasuredClip],
    what: str,
    remedy: str,
    level: Level | None = None,
) -> Finding:
    """A finding that is a problem if it concerns all training clips, else a warning."""
    names = _names(clips)
    text = f"{len(clips)} of {counted(len(train), 'training clip')} {what}: {some(names)}; {remedy}"
    return Finding(level or ("problem" if len(clips) == len(train) else "warning"), code, text, names)


def _have(clips: Sequence[MeasuredClip]) -> str:
    return have(len(clips), "training clip")


def _names(clips: Sequence[MeasuredClip]) -> tuple[str, ...]:
    return tuple(one.clip.name for one in clips)


def _channels_with_sound(one: MeasuredClip) -> set[int]:
    levels = one.sound.channel_levels_dbfs
    floor = max(FLOOR_DBFS, max(levels, default=0.0) - DEAD_DB)
    return {number for number, level in enumerate(levels) if level > floor}
