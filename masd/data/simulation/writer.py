"""Write a simulated machine to disk, with file names and attribute table as in the challenge."""

import csv
import shutil
import uuid
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from masd.arrays import Array
from masd.data.clips import NO_ATTRIBUTE
from masd.data.simulation.machine import Machine
from masd.data.simulation.plan import Plan, PlannedClip, SimulationError
from masd.data.simulation.plant.recording import TwoChannelClip, record_two, site_of
from masd.data.simulation.recording import SimulatedClip, record
from masd.data.simulation.signals import RATE
from masd.files import json_text

_MISSING = "none"  # how the challenge's table says that an attribute is not there


def check_free(folder: Path) -> None:
    """:raises SimulationError: there is a file, or a folder that is not empty."""
    if folder.parent.exists() and not folder.parent.is_dir():
        raise SimulationError(f"{folder.parent} is a file: choose a folder to write into")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SimulationError(f"{folder} exists and is not empty: choose another folder or remove it first")


def write_machine(
    out: Path, machine: Machine, plan: Plan, *, n: int, seed: int, channels: int, written: Callable[[], None]
) -> Path:
    """Simulate one machine into `out/<machine>`, completely or not at all.

    :param channels: 1, or 2 for a near and a far microphone.
    :param written: called after each clip.
    :raises OSError: writing failed.
    """
    attributes: dict[str, dict[str, str]] = {}
    faults: dict[str, dict[str, str | float]] = {}
    bursts: dict[str, list[dict[str, Any]]] = {}
    site = site_of(machine, seed)
    folder = out / machine.name
    with _whole(folder) as partial:
        for split in ("train", "test", "supplemental"):
            (partial / split).mkdir()
        for clip in plan.clips():
            recording = record_two(machine, clip, n, seed, site) if channels == 2 else record(machine, clip, n, seed)
            name = file_name(machine, clip, recording)
            _write_wav(partial / clip.split / name, recording.samples)
            noise_only = clip.split == "supplemental" and machine.supplement == "noise"
            known = {} if noise_only else dict(recording.point.attributes)
            attributes[f"{machine.name}/{clip.split}/{name}"] = known
            if clip.condition == "anomaly":
                faults[name] = {"kind": recording.fault.kind, "severity": round(recording.fault.severity, 4)}
            if isinstance(recording, TwoChannelClip) and recording.bursts:
                bursts[f"{clip.split}/{name}"] = [burst.to_dict() for burst in recording.bursts]
            written()
        _write_table(partial / "attributes_00.csv", attributes)
        story = {
            "machine": machine.name,
            "seed": seed,
            "seconds": n / RATE,
            "counts": {
                "source_train": plan.train - plan.target_train,
                "target_train": plan.target_train,
                "test": plan.test,
                "supplemental": plan.supplemental,
            },
            "supplemental": machine.supplement,
            "faults": faults,
        }
        if channels == 2:
            story |= {"channels": ["near", "far"], "site": site.to_dict(), "bursts": bursts}
        (partial / "simulation.json").write_text(json_text(story, indent=2) + "\n", encoding="utf-8")
    return folder


def file_name(machine: Machine, clip: PlannedClip, recording: SimulatedClip | TwoChannelClip) -> str:
    """The challenge's name of a clip; an anomaly is named by its operating point, as a normal clip is."""
    pairs = recording.point.attributes.items()
    text = "_".join(f"{key}_{value}" for key, value in pairs) or NO_ATTRIBUTE
    if clip.split != "supplemental":
        return f"section_00_{clip.domain}_{clip.split}_{clip.condition}_{clip.index:04d}_{text}.wav"
    if machine.supplement == "noise":
        return f"section_00_noise_supplemental_normal_{clip.index:04d}.wav"
    return f"section_00_machine_source_{clip.index:04d}_{text}.wav"


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder beside the wanted one that is renamed to it when the block ends, and removed after an error."""
    partial = folder.with_name(f".{folder.name}.partial-{uuid.uuid4().hex}")
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rmdir()  # checked to be empty; a rename onto it is refused on some systems
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_wav(path: Path, samples: Array) -> None:
    """Of one channel ``[n]`` or two ``[n, 2]``."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.ndim)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(samples * np.float32(32767)).astype("<i2").tobytes())


def _write_table(path: Path, attributes: dict[str, dict[str, str]]) -> None:
    """`file_name,d1p,d1v,...`: the attributes of every clip, `none` where it has none."""
    width = max(1, *(len(pairs) for pairs in attributes.values()))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file_name", *(f"d{i}{column}" for i in range(1, width + 1) for column in "pv")])
        for name, pairs in attributes.items():
            cells = [cell for pair in pairs.items() for cell in pair]
            table.writerow([name, *cells, *[_MISSING] * (2 * width - len(cells))])
