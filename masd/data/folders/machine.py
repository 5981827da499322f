"""The clip table of a machine's folder, in the layouts of DCASE 2020 to 2026 or a plain one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from masd.config import DataSettings
from masd.data.clips import NO_ATTRIBUTE, TEST_FOLDERS, Clip, Condition, Kind, Split
from masd.data.findings import Finding, counted, some
from masd.data.folders.attributes import AttributeTables, read_attributes
from masd.data.folders.listing import Listing, list_machine
from masd.data.folders.names import parse_name, parse_supplemental
from masd.data.folders.words import condition_in, conditions_in
from masd.errors import MasdError

LEAST_SOURCE_CLIPS = 3
"""The fewest training clips of the source domain: with less, distances between them say nothing."""

Layout = Literal["dcase", "plain"]


@dataclass(frozen=True)
class MachineData:
    """The clips of one machine type, training clips first, each group sorted by name.

    ``findings`` are on names and tables; none of them prevents reading.
    """

    machine_type: str
    folder: Path
    clips: tuple[Clip, ...]
    layout: Layout = "plain"
    findings: tuple[Finding, ...] = ()

    def split(self, split: Split) -> tuple[Clip, ...]:
        return tuple(clip for clip in self.clips if clip.split == split)

    def check_enough(self) -> None:
        """:raises MasdError: there are too few clips to train on."""
        source = [clip for clip in self.split("train") if clip.domain != "target"]
        refuse_too_few(len(source), self.folder)


def list_machines(data: Path) -> list[str]:
    """Names of the machine folders below a data set's root, which have a folder ``train``.

    :raises MasdError: there is no such folder, or no machine in it.
    """
    if not data.is_dir():
        raise MasdError(f"{data}: no such folder; give the folder that contains one folder per machine type")
    machines = sorted(folder.name for folder in data.iterdir() if (folder / "train").is_dir())
    if not machines:
        raise MasdError(f"{data}: contains no machine folder; expected {data.name}/<machine>/train/*.wav")
    return machines


def read_machine(folder: Path, settings: DataSettings | None = None) -> MachineData:
    """Read ``train/``, ``test/`` and ``supplemental/`` of one machine.

    :raises MasdError: the folder or a file name is not valid; names the file.
    """
    if not folder.is_dir():
        raise MasdError(f"{folder}: no such folder; expected a machine's folder with train/*.wav")
    listing = list_machine(folder)
    return machine_of(folder, listing, read_attributes(folder, listing.files), settings)


def machine_of(
    folder: Path, listing: Listing, attributes: AttributeTables, settings: DataSettings | None = None
) -> MachineData:
    """:func:`read_machine` for a listing; no file is opened."""
    settings = settings or DataSettings()
    train, test = listing.audio("train"), listing.audio(*TEST_FOLDERS)
    seen = listing.findings()
    if not train:
        why = "".join(f"; {finding.text}" for finding in seen)
        raise MasdError(f"{folder / 'train'}: no training clips; expected normal recordings such as train/*.wav{why}")
    _refuse_anomalies_in_training(train, folder)
    dcase = any(parse_name(path.stem) for path in train + test)
    read = _dcase_clip if dcase else _plain_clip
    clips = [read(folder, path, "train", attributes) for path in train]
    clips += [read(folder, path, "test", attributes) for path in test]
    clips += _supplemental(folder, listing.audio("supplemental"), settings, attributes)
    seen += _unknown_words(clips, folder) + attributes.findings(clips, folder)
    layout: Layout = "dcase" if dcase else "plain"
    return MachineData(folder.resolve().name, folder, _named(clips, folder), layout, tuple(seen))


def refuse_too_few(source_clips: int, folder: Path) -> None:
    """:raises MasdError: fewer than :data:`LEAST_SOURCE_CLIPS`."""
    if source_clips < LEAST_SOURCE_CLIPS:
        raise MasdError(
            f"{folder / 'train'}: has {counted(source_clips, 'source training clip')}, but training needs at least "
            f"{LEAST_SOURCE_CLIPS}, better 50; cut long recordings into clips of about 10 s, for example with "
            "ffmpeg -i long.wav -f segment -segment_time 10 train/part_%04d.wav"
        )


def _refuse_anomalies_in_training(files: Sequence[Path], folder: Path) -> None:
    found = [path for path in files if _says_anomaly(path)]
    if found:
        first, *others = found
        more = f" (and {len(others)} more such clips)" if others else ""
        raise MasdError(
            f"{folder / first}: is anomalous by its name or folder, but is a training clip{more}; move it to "
            "test/anomaly/ or remove it"
        )


def _says_anomaly(path: Path) -> bool:
    name = parse_name(path.stem)
    words = [*path.parts[1:-1], *([] if name else [path.stem])]  # attributes of a DCASE name are no conditions
    return (name is not None and name.condition == "anomaly") or any(condition_in(word) == "anomaly" for word in words)


def _dcase_clip(folder: Path, path: Path, split: Split, attributes: AttributeTables) -> Clip:
    name = parse_name(path.stem)
    if name is None:
        raise MasdError(
            f"{folder / path}: unknown name pattern in a DCASE folder; expected for example "
            f"section_00_source_{split}_normal_0000_noAttribute.wav"
        )
    if name.split not in (None, split):
        raise MasdError(f"{folder / path}: the name says '{name.split}', the folder says '{split}'; move or rename it")
    domain = name.domain
    if domain == "none" and path.parts[0] in ("source_test", "target_test"):
        domain = "source" if path.parts[0] == "source_test" else "target"
    if split == "test":  # attributes of test clips exist only to be looked away from
        condition = _folder_condition(path) if name.condition == "unknown" else name.condition
        return Clip(folder / path, split, section=name.section, domain=domain, condition=condition, attributes="")
    known = attributes.of(path) or name.attributes
    return Clip(folder / path, split, section=name.section, domain=domain, attributes=known)


def _plain_clip(folder: Path, path: Path, split: Split, attributes: AttributeTables) -> Clip:
    if split == "train":
        return Clip(folder / path, split, attributes=attributes.of(path) or NO_ATTRIBUTE)
    condition = _folder_condition(path)
    if condition == "unknown":
        condition = condition_in(path.stem) or "unknown"
    return Clip(folder / path, split, condition=condition, attributes="")


def _folder_condition(path: Path) -> Condition:
    """The condition in the name of the nearest folder that has one."""
    for folder in reversed(path.parts[1:-1]):
        if said := condition_in(folder):
            return said
    return "unknown"


def _unknown_words(clips: Sequence[Clip], folder: Path) -> list[Finding]:
    """Findings on folders without a condition in their name, and on test clips of unknown condition."""
    found = []
    unheard: Counter[str] = Counter()
    for clip in clips:
        path = clip.path.relative_to(folder)
        if clip.split == "train" and len(path.parts) > 2 and not any(map(condition_in, path.parts[1:-1])):
            unheard[f"{path.parent.as_posix()}/"] += 1
    if unheard:
        text = (
            "the names of these folders say neither normal nor anomalous, so their clips are used as normal: "
            f"{some(_counts(unheard))}"
        )
        found.append(Finding("note", "unknown_words_train", text, tuple(unheard)))
    mixed = [
        clip.path.relative_to(folder).as_posix()
        for clip in clips
        if clip.split == "train" and len(set().union(*map(conditions_in, _spoken(clip, folder)))) > 1
    ]
    if mixed:
        text = (
            "the names of these training clips say both normal and anomalous, so they are used as normal: "
            f"{some(mixed)}"
        )
        found.append(Finding("warning", "ambiguous_train", text, tuple(mixed)))
    return found + _unknown_conditions([clip for clip in clips if clip.split == "test"], folder)


def _spoken(clip: Clip, folder: Path) -> list[str]:
    path = clip.path.relative_to(folder)
    return [*path.parts[1:-1], *([] if parse_name(path.stem) else [path.stem])]


def _unknown_conditions(test: Sequence[Clip], folder: Path) -> list[Finding]:
    unknown = [clip for clip in test if clip.condition == "unknown"]
    if not unknown:
        return []
    names = tuple(clip.path.relative_to(folder).as_posix() for clip in unknown)
    places = Counter(f"{Path(name).parent.as_posix()}/" for name in names)
    odd = {place: count for place, count in places.items() if place.count("/") > 1}
    if odd:
        text = "the names of these test folders say neither normal nor anomalous, so their clips are scored, but not "
        text += f"evaluated: {some(_counts(odd))}; rename them to normal or anomaly"
        return [Finding("warning", "unknown_words_test", text, names)]
    have = "has no known condition: it is" if len(unknown) == 1 else "have no known condition: they are"
    text = f"{counted(len(unknown), 'test clip')} {have} scored, but not evaluated; move labelled clips to "
    return [Finding("note", "unlabelled_test", f"{text}test/normal/ and test/anomaly/", names)]


def _counts(places: dict[str, int]) -> list[str]:
    return [f"{place} ({counted(count, 'clip')})" for place, count in sorted(places.items())]


def _supplemental(
    folder: Path, files: Sequence[Path], settings: DataSettings, attributes: AttributeTables
) -> list[Clip]:
    if not files or settings.supplemental == "ignore":
        return []
    clips: list[Clip] = []
    first_of: dict[Kind, Path] = {}
    for path in files:
        kind, text = parse_supplemental(path.stem) or (None, NO_ATTRIBUTE)
        if settings.supplemental != "auto":
            kind = settings.supplemental
        if kind is None:
            raise MasdError(
                f"{folder / path}: cannot tell clean machine sound from noise: no 'noise', 'machine' or 'clean' before "
                "the number in the name; set data.supplemental=clean, noise or ignore"
            )
        first_of.setdefault(kind, path)
        clip = Clip(folder / path, "supplemental", kind=kind, attributes=attributes.of(path) or text)
        clips.append(replace(clip, attributes=NO_ATTRIBUTE) if kind == "noise" else clip)
    if len(first_of) > 1:
        names = " and ".join(f"{path.name} ({kind})" for kind, path in sorted(first_of.items()))
        raise MasdError(
            f"{folder / 'supplemental'}: mixes supplemental kinds: {names}; set data.supplemental=clean, noise or "
            "ignore"
        )
    return clips


def _named(clips: Sequence[Clip], folder: Path) -> tuple[Clip, ...]:
    files = Counter((clip.split, clip.path.name) for clip in clips)
    return tuple(
        replace(clip, name=clip.path.name)
        if files[clip.split, clip.path.name] == 1
        else replace(clip, name="/".join(clip.path.relative_to(folder).parts[1:]))
        for clip in clips
    )
