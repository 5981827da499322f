"""Decide which of the drifted machines should be trained again.

The decision of the gate depends on the recordings, the settings, masd itself and the version in production. If none of
the four has changed since the gate refused the last challenger, a new training would be refused again, at every run of
a schedule. So it is skipped. It is also skipped while the last challenger waits for a person's approval.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from masd.bundle.manifest import code_version
from masd.config import Settings
from masd.data.data_sets import fingerprint
from masd.errors import MasdError
from masd.files import json_text, write_text
from masd.registry.registry import Registry

HELD_BACK = "held_back.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldBack:
    """``held_back.json``: a machine that has drifted and is not trained again, and what to do about it.

    ``decision`` is the gate's decision on its last challenger, ``version``: "refuse" or "ask" (it waits for approval).
    """

    machine_type: str
    version: str
    decision: str
    time: str
    sentence: str

    @property
    def refused(self) -> bool:
        return self.decision == "refuse"

    @classmethod
    def read(cls, file: Path) -> Self:
        """Parse what :func:`worth_training` wrote."""
        return cls(**json.loads(file.read_text(encoding="utf-8")))


def worth_training(
    drifted: Sequence[str], machines: Sequence[str], data: str, registry: str, settings: Settings, out: Path
) -> list[str]:
    """The machines of ``drifted`` that should be trained again; for the others ``out/<machine>/held_back.json`` and a
    warning say why not.

    If all ``machines`` share one network (``training.scope=fleet``), all of ``drifted`` are trained as soon as one
    should be.

    :param data: the recordings that would be trained on.
    :raises MasdError: recordings or a registry that cannot be used.
    """
    models, fleet = Registry.open(registry), settings.training.scope == "fleet"
    recordings = cache(lambda *together: fingerprint(data, together))
    held = []
    for machine in drifted:
        verdict = _last_verdict(models, machine, settings)
        if verdict and verdict["recordings"] == recordings(*(machines if fleet else [machine])):
            held.append(_held_back(machine, verdict, f"{data.rstrip('/')}/{machine}/train"))
    if fleet and len(held) < len(drifted):
        return list(drifted)
    for one in held:
        log.warning("%s", one.sentence)
        write_text(out / one.machine_type / HELD_BACK, json_text(asdict(one), indent=2) + "\n")
    return [machine for machine in drifted if machine not in {one.machine_type for one in held}]


def _last_verdict(models: Registry, machine: str, settings: Settings) -> dict[str, Any] | None:
    """The record of the last challenger, with the fingerprint of its ``recordings``, if the gate did not promote it,
    and if the settings, masd and the version in production have not changed since.
    """
    try:
        challenger = models.channel(machine, "candidate")
        records = models.audit(machine, "refuse", "ask")
        if challenger is None or not records or records[-1]["version"] != challenger:  # promoted, or broken off
            return None
        manifest = models.manifest(machine, challenger)
        made = models.settings(machine, challenger)
        now = (models.channel(machine, "production"), settings.settled_like(made), code_version())
        if now != (records[-1]["previous"], made, manifest.code_version):
            return None
    except MasdError as error:
        log.warning(
            "%s: the result of the last training cannot be read, so the machine is trained again: %s", machine, error
        )
        return None
    return records[-1] | {"recordings": manifest.recordings}


def _held_back(machine: str, verdict: dict[str, Any], place: str) -> HeldBack:
    version, time = verdict["version"], f"{verdict['time'][:16].replace('T', ' ')} UTC"
    if verdict["event"] == "ask":
        what = f"has waited for approval since {time}"
        do = f"Approve it with masd registry promote {machine} {version}, add"
    else:
        what = f"was refused on {time} ({verdict['decision_reason'] or verdict['reason']})"
        do = "Add"
    sentence = (
        f"{machine} has drifted, but was not trained again. Version {version} {what}. Recordings, settings, masd and "
        "the version in production have not changed since, so a new training would have the same result. "
        f"{do} recordings of the new condition to {place}, or change settings. To train anyway, run masd pipeline run."
    )
    return HeldBack(machine, version, verdict["event"], verdict["time"], sentence)
