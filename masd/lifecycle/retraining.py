"""Decide which of the drifted machines should be trained again.

What the gate says follows from the recordings, the settings, masd itself and the version in production. While all four
are what they were when the gate refused the last challenger, another training ends like that one, and so does the next,
at every slot of a schedule. The same goes while that challenger waits for a person's approval.
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

    ``decision`` is what the gate said of its last challenger, ``version``: "refuse" or "ask" (it waits for approval).
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
    """Those of ``drifted`` whose training can end in something new; of the others ``out/<machine>/held_back.json`` and
    a warning say why not.

    Where one network serves all ``machines`` (``training.scope=fleet``), all or none of ``drifted``: one that is worth
    a training trains them all.

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
    """The record of the last challenger, with the ``recordings`` it was made of, if the gate did not let it through and
    all else that its verdict followed from is the same now.
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
        do = f"approve it with masd registry promote {machine} {version}, add"
    else:
        what = f"was refused on {time} ({verdict['decision_reason'] or verdict['reason']})"
        do = "add"
    sentence = (
        f"{machine} has drifted, but was not trained again: version {version} {what}; recordings, settings, masd and "
        f"the version in production are unchanged, so a new training would end the same way; {do} recordings of the "
        f"new condition to {place}, change settings, or train by hand with masd pipeline run"
    )
    return HeldBack(machine, version, verdict["event"], verdict["time"], sentence)
