"""A machine's folder -> its clip table: DCASE 2020-2026 layouts and plain user folders."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from masd.config import DataSettings
from masd.data.attributes import read_attributes
from masd.data.clips import AUDIO_SUFFIXES, NO_ATTRIBUTE, TEST_FOLDERS, Clip, Condition, Kind, Split
from masd.data.names import parse_name, parse_supplemental
from masd.errors import MasdError


@dataclass(frozen=True)
class MachineData:
    """The clips of one machine type, training clips first, each group sorted by name."""

    machine_type: str
    folder: Path
    clips: tuple[Clip, ...]

    def split(self, split: Split) -> tuple[Clip, ...]:
        return tuple(clip for clip in self.clips if clip.split == split)


def list_machines(data: Path) -> list[str]:
    """Names of the machine folders below a data set's root: those with a ``train`` folder.

    :raises MasdError: no such folder, or no machine in it.
    """
    if not data.is_dir():
        raise MasdError(f"{data}: no such folder; give the folder that holds one folder per machine type")
    machines = sorted(folder.name for folder in data.iterdir() if (folder / "train").is_dir())
    if not machines:
        raise MasdError(f"{data}: holds no machine; expected {data.name}/<machine>/train/*.wav")
    return machines


def read_machine(folder: Path, settings: DataSettings | None = None) -> MachineData:
    """Read ``train/``, ``test/`` and ``supplemental/`` of one machine.

    :raises MasdError: what is wrong with the data set, naming the file.
    """
    settings = settings or DataSettings()
    if not folder.is_dir():
        raise MasdError(f"{folder}: no such folder; expected a machine's folder with train/*.wav")
    attributes = read_attributes(folder)
    train_files = _audio_files(folder / "train")
    if not train_files:
        raise MasdError(f"{folder / 'train'}: no training clips; expected normal recordings such as train/*.wav")
    test_files = [path for name in TEST_FOLDERS for path in _audio_files(folder / name)]
    _refuse_anomalies_in_training(train_files, folder)
    if any(parse_name(path.stem) for path in train_files + test_files):
        clips = [_dcase_clip(path, "train", attributes) for path in train_files]
        clips += [_dcase_clip(path, "test", attributes) for path in test_files]
    else:
        clips = [_plain_clip(path, "train", "normal", attributes) for path in train_files]
        clips += [
            _plain_clip(path, "test", _plain_condition(path.relative_to(folder)), attributes) for path in test_files
        ]
    clips += _supplemental(folder / "supplemental", settings, attributes)
    return MachineData(folder.resolve().name, folder, _named(clips, folder))


def _audio_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _refuse_anomalies_in_training(files: Sequence[Path], folder: Path) -> None:
    for path in files:
        name = parse_name(path.stem)
        if (name and name.condition == "anomaly") or _plain_condition(path.relative_to(folder)) == "anomaly":
            raise MasdError(f"{path}: an anomalous clip among the training clips; move it to test/ or remove it")


def _dcase_clip(path: Path, split: Split, attributes: dict[str, str]) -> Clip:
    name = parse_name(path.stem)
    if name is None:
        raise MasdError(
            f"{path}: unknown name pattern in a DCASE folder; expected for example "
            f"section_00_source_{split}_normal_0000_noAttribute.wav"
        )
    if name.split not in (None, split):
        raise MasdError(f"{path}: the name says '{name.split}', the folder says '{split}'; move or rename it")
    domain = name.domain
    if domain == "none" and path.parent.name in ("source_test", "target_test"):
        domain = "source" if path.parent.name == "source_test" else "target"
    if split == "test":  # attributes of test clips exist only to be looked away from
        return Clip(path, split, section=name.section, domain=domain, condition=name.condition, attributes="")
    known = attributes.get(path.stem, name.attributes)
    return Clip(path, split, section=name.section, domain=domain, attributes=known)


def _plain_clip(path: Path, split: Split, condition: Condition, attributes: dict[str, str]) -> Clip:
    known = attributes.get(path.stem, NO_ATTRIBUTE) if split == "train" else ""
    return Clip(path, split, condition=condition, attributes=known)


def _plain_condition(path: Path) -> Condition:
    for folder in reversed(path.parts[:-1]):
        if folder == "normal":
            return "normal"
        if folder == "anomaly":
            return "anomaly"
    return "unknown"


def _supplemental(folder: Path, settings: DataSettings, attributes: dict[str, str]) -> list[Clip]:
    files = _audio_files(folder)
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
                f"{path}: cannot tell clean machine sound from noise: no 'noise', 'machine' or 'clean' before the "
                "number in the name; set data.supplemental=clean, noise or ignore"
            )
        first_of.setdefault(kind, path)
        clip = Clip(path, "supplemental", kind=kind, attributes=attributes.get(path.stem, text))
        clips.append(replace(clip, attributes=NO_ATTRIBUTE) if kind == "noise" else clip)
    if len(first_of) > 1:
        names = " and ".join(f"{path.name} ({kind})" for kind, path in sorted(first_of.items()))
        raise MasdError(f"{folder}: mixes supplemental kinds: {names}; set data.supplemental=clean, noise or ignore")
    return clips


def _named(clips: Sequence[Clip], folder: Path) -> tuple[Clip, ...]:
    files = Counter((clip.split, clip.path.name) for clip in clips)
    return tuple(
        replace(clip, name=clip.path.name)
        if files[clip.split, clip.path.name] == 1
        else replace(clip, name="/".join(clip.path.relative_to(folder).parts[1:]))
        for clip in clips
    )
