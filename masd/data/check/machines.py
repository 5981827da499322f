"""Recordings are looked at before anything is trained on them."""

from collections.abc import Sequence
from pathlib import Path

from masd.config import Settings
from masd.data.attributes import AttributeTables
from masd.data.folders import MachineData, machine_of, read_machine
from masd.data.listing import listing_of
from masd.data.machine_name import check_machine_name
from masd.errors import MasdError
from masd.storage.opening import folder_of, open_store


def unfit_machines(url: str | Path, machines: Sequence[str], settings: Settings) -> dict[str, str]:
    """Machines that no pipeline can train and evaluate, with the reason; no recording is opened or downloaded.

    :raises MasdError: a store that cannot be used.
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
