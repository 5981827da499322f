"""Register a version completely or not at all: claim a number, write the files, the manifest last."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from masd.errors import MasdError
from masd.files import sha256
from masd.registry.audit import AuditTrail, RunDecision
from masd.registry.files import SUMS
from masd.registry.layout import CLAIM, MANIFEST, numbered, place_of
from masd.storage.protocol import ObjectStore, StoreError


def add_version(
    store: ObjectStore,
    machine: str,
    staged: Path,
    prepare: Callable[[str], None],
    reason: str,
    metrics: dict[str, Any],
    gate: RunDecision | None,
) -> tuple[str, str]:
    """Register the folder ``staged``, which ``prepare(version)`` may still complete; returns version and claim.

    The caller deletes the claim at the end: a claim that stays shows that the registration was killed.
    """
    version, claim = _claim_number(store, machine)
    try:
        prepare(version)
        _write(store, machine, staged, version, claim, reason, metrics, gate)
    except BaseException:
        with suppress(MasdError):  # the store has gone: verify and prune know what this leaves
            _withdraw(store, f"{place_of(machine)}/{version}", claim)
        raise
    return version, claim


def _claim_number(store: ObjectStore, machine: str) -> tuple[str, str]:
    """A number that no other version has, had or will get, and the key of its claim.

    As in :mod:`masd.storage.locks`: the claim is written to the place of the version. A process that finds any other
    object there takes the next number.
    """
    number = 0
    while True:
        taken = {*numbered(store, machine), *AuditTrail(store, machine).versions("register")}
        number = max({number, *map(int, taken)}) + 1
        place = f"{place_of(machine)}/{number}"
        own = f"{place}/{CLAIM}{uuid4().hex}"
        store.write(own, b"")
        if [item.key for item in store.list(f"{place}/")] == [own]:
            return str(number), own
        store.delete(own)
        time.sleep(random.uniform(0, 0.1))  # noqa: S311 - no secret


def _write(
    store: ObjectStore,
    machine: str,
    staged: Path,
    version: str,
    claim: str,
    reason: str,
    metrics: dict[str, Any],
    gate: RunDecision | None,
) -> None:
    place = f"{place_of(machine)}/{version}"
    for file in sorted(path for path in staged.rglob("*") if path.is_file()):
        name = file.relative_to(staged).as_posix()
        if name != MANIFEST:
            store.upload(file, f"{place}/{name}")
    trail, sums = AuditTrail(store, machine), sha256(staged / SUMS)
    record = trail.add("register", version, None, reason, metrics, gate, sums)
    try:
        if not list(store.list(claim)):  # pruned as one that was killed long ago
            raise StoreError(f"{store.url}: registering {machine} took too long and was stopped; try again")
        store.upload(staged / MANIFEST, f"{place}/{MANIFEST}")
    except BaseException:
        with suppress(MasdError):
            store.delete(record)
        raise


def _withdraw(store: ObjectStore, place: str, claim: str) -> None:
    store.delete(f"{place}/{MANIFEST}")  # in case it got there although its writing failed
    for item in list(store.list(f"{place}/")):
        if not item.key.startswith(f"{place}/{CLAIM}"):
            store.delete(item.key)
    store.delete(claim)
