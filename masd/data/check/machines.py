"""Check the recordings of machines before training."""

from collections.abc import Sequence
from pathlib import Path

from masd.config import Settings
from masd.data.clips import SPLIT_FOLDERS
from masd.data.data_sets import local_data, local_machine, training_bytes
from masd.data.folders.attributes import AttributeTables
from masd.data.folders.listing import is_audio, list_machine, listing_of
from masd.data.folders.machine import MachineData, machine_of, read_machine
from masd.data.machine_name import MACHINE_NAME, check_machine_name
from masd.errors import MasdError
from masd.storage.opening import folder_of, open_store

_SPLIT_WORDS = frozenset({*SPLIT_FOLDERS, "training", "testing"})


def unfit_machines(url: str | Path, machines: Sequence[str], settings: Settings) -> dict[str, str]:
    """Machines that cannot be trained and evaluated, with the reason. No recording is opened or downloaded.

    :raises MasdError: the store cannot be used.
    """
    found = {}
    for machine in machines:
        try:
            data = _listed(url, check_machine_name(machine), settings)
            data.check_enough()
            if not data.split("test"):
                raise MasdError(f"{data.folder / 'test'}: no test clips; expected test/*.wav to evaluate on")
        except MasdError as error:
            found[machine] = str(error)
    return found


def _listed(url: str | Path, machine: str, settings: Settings) -> MachineData:
    if not str(url).startswith("s3://"):
        return read_machine(folder_of(str(url)) / machine, settings.data)
    prefix = f"{machine}/"
    keys = [item.key.removeprefix(prefix) for item in open_store(str(url)).list(prefix)]
    return machine_of(Path(machine), listing_of(keys), AttributeTables(), settings.data)


def machine_folders(url: str) -> list[Path]:
    """Folders of the machines at ``url``, which is the folder of one machine or has one folder per machine.

    Every folder with recordings counts as a machine, also with problems.

    :raises MasdError: the store cannot be used, or has no recordings below ``url``.
    """
    if url.startswith("s3://"):
        store = open_store(url)
        if any(True for split in SPLIT_FOLDERS for _ in store.list(f"{split}/")):
            return [local_machine(url)]
        machines = list(training_bytes(url))
        named = [machine for machine in machines if MACHINE_NAME.fullmatch(machine)]  # of others no folder is made
        root = local_data(url, named) if named else Path()
        return [root / machine for machine in machines]
    root = folder_of(url)
    if not root.is_dir():
        raise MasdError(f"{root}: no such folder; give a machine's folder or the folder of all machines")
    parts = sorted(part for part in root.iterdir() if part.is_dir() and not part.name.startswith("."))
    if any(part.name.lower() in _SPLIT_WORDS for part in parts) or any(map(is_audio, root.iterdir())):
        return [root]
    found = [part for part in parts if (part / "train").is_dir() or any(map(is_audio, list_machine(part).files))]
    if not found:
        raise MasdError(f"{root}: contains no recordings; expected {root.name}/<machine>/train/*.wav")
    return found
