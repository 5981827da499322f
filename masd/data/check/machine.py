"""The check of one machine's recordings, as one record."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from masd.config import Settings
from masd.data.check.content import CLIPPED, MeasuredClip
from masd.data.check.scan import Scan, scan
from masd.data.findings import LEVELS, Finding
from masd.data.folders.machine import MachineData, read_machine, refuse_too_few
from masd.data.machine_name import check_machine_name
from masd.errors import MasdError
from masd.progress import Progress


@dataclass(frozen=True)
class MachineCheck:
    """``data`` and ``scan`` are None if the folder cannot be read as that of a machine; ``findings`` say why.

    Findings are sorted, problems first.
    """

    machine_type: str
    folder: Path
    findings: tuple[Finding, ...] = ()
    data: MachineData | None = None
    scan: Scan | None = None
    clips: tuple[MeasuredClip, ...] = field(default=(), repr=False)

    @property
    def trainable(self) -> bool:
        return not any(finding.level == "problem" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; names of clips are those of the clip table."""
        about: dict[str, Any] = {
            "machine_type": self.machine_type,
            "folder": str(self.folder),
            "trainable": self.trainable,
            "findings": [asdict(finding) for finding in self.findings],
        }
        if self.data is None or self.scan is None:
            return about
        measured = [one.sound for one in self.clips]
        train = [one.sound for one in self.clips if one.clip.split == "train"]
        attributes = Counter(clip.attributes for clip in self.data.split("train"))
        return about | {
            "layout": self.data.layout,
            "counts": counts(self.data),
            "duration_s": spread(one.duration_s for one in measured),
            "total_s": round(sum(one.duration_s for one in measured), 1),
            "level_dbfs": spread(one.level_dbfs for one in train),
            "sample_rates": tally(one.sample_rate_in for one in measured),
            "codecs": tally(one.codec for one in measured),
            "suffixes": tally(clip.path.suffix.lower() for clip in self.data.clips),
            "channels": tally(one.channels_in for one in measured),
            "channel": self.scan.audio.channel,
            "attributes": tally(attributes.elements()),
            "silent": [one.clip.name for one in self.clips if one.sound.silent],
            "clipped": [one.clip.name for one in self.clips if one.sound.clipped_share > CLIPPED],
            "unreadable": self.scan.unreadable,
            "copies": self.scan.copy_of,
            "groups": list(self.scan.groups),
            "independent_recordings": self.scan.independent,
        }


def check_machine(folder: Path, settings: Settings, progress: Progress | None = None) -> MachineCheck:
    """Check a machine's folder. Every reason why it cannot be trained is a finding, not an error."""
    name = folder.resolve().name
    try:
        check_machine_name(name)
        data = read_machine(folder, settings.data)
        found = scan(data, settings, progress)
    except MasdError as error:
        return MachineCheck(name, folder, (Finding("problem", "unusable", str(error)),))
    findings = [*data.findings, *found.findings]
    train = [one for one in found.measured if one.clip.split == "train"]
    findings += _unfit(data, found, train, settings)
    order = sorted(findings, key=lambda one: LEVELS.index(one.level))
    return MachineCheck(name, folder, tuple(order), data, found, found.measured)


def _unfit(data: MachineData, found: Scan, train: Sequence[MeasuredClip], settings: Settings) -> list[Finding]:
    unfit = []
    if len(found.unreadable) > int(settings.data.max_unreadable_share * len(data.clips)):
        text = (
            f"{len(found.unreadable)} of {len(data.clips)} clips cannot be read, more than data.max_unreadable_share="
        )
        text += f"{settings.data.max_unreadable_share:g} allows; repair or remove them, or raise the share"
        unfit.append(Finding("problem", "too_many_unreadable", text, tuple(found.unreadable)))
    try:
        refuse_too_few(sum(one.clip.domain != "target" for one in train), data.folder)
    except MasdError as error:
        unfit.append(Finding("problem", "too_few", str(error)))
    conditions = {clip.condition for clip in data.split("test")}
    if not conditions:
        unfit.append(
            Finding("warning", "no_test", "there are no test clips, so nothing can be evaluated; expected test/*.wav")
        )
    elif not {"normal", "anomaly"} <= conditions and "unknown" not in conditions:
        missing = "anomalous" if "normal" in conditions else "normal"
        unfit.append(
            Finding(
                "warning",
                "one_sided_test",
                f"there is no {missing} test clip, so no AUC can be computed; add {missing} test clips",
            )
        )
    return unfit


def counts(data: MachineData) -> list[dict[str, Any]]:
    """Clips by split, domain, condition and kind."""
    found = Counter((clip.split, clip.domain, clip.condition, clip.kind) for clip in data.clips)
    names = ("split", "domain", "condition", "kind")
    return [dict(zip(names, about, strict=True)) | {"clips": number} for about, number in found.items()]


def spread(values: Iterable[float]) -> dict[str, float] | None:
    """Minimum, median and maximum; None without values."""
    known = list(values)
    if not known:
        return None
    return {name: round(float(of(known)), 3) for name, of in (("min", min), ("median", median), ("max", max))}


def tally(values: Iterable[object]) -> dict[str, int]:
    return {str(value): number for value, number in Counter(values).most_common()}
