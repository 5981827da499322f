"""Ten machines in a registry, two versions of each, and what either version says of some clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from old_registry import scores_of_its_own_code, unpacked

from bench.fleet import renamed
from masd.bundle.bundle import load_bundle
from masd.config import Settings
from masd.data.simulation import simulate
from masd.lifecycle import steps
from masd.registry.registry import Registry
from masd.registry.verify import verify
from masd.storage.opening import open_store

KIND = "fan"
OLD = "fan"
"""The machine whose versions masd 0.1.0 has made; this version cannot read them, but serves them."""

NEW = tuple(f"fan{number}" for number in range(1, 10))
VERSIONS = ("1", "2")
SHIFT = 5.0
"""Between the spectra that two models take for usual: every version of every machine scores otherwise."""


@dataclass(frozen=True)
class Machine:
    """``usual`` is in production at first, ``other`` is promoted now and then; the scores of all clips by version."""

    usual: str
    other: str
    known: dict[str, list[float]]


@dataclass(frozen=True)
class Fleet:
    """What can be asked, and what is right."""

    clips: tuple[bytes, ...]
    machines: dict[str, Machine]


def make_fleet(root: Path, registry: Registry) -> Fleet:
    """Fit one model and register two variants of it for each of :data:`NEW`; :data:`OLD` comes as 0.1.0 left it."""
    simulate(root / "data", [KIND], train=24, test=16, seconds=3.0, seed=1)
    files = sorted((root / "data" / KIND / "test").glob("*.wav"))
    clips = [file.read_bytes() for file in files]
    machines = {OLD: _old(root / "old", registry, clips)}
    settings, model = Settings(), root / "model"
    steps.featurize(root / "data", [KIND], settings, root / "features")
    steps.train(root / "features", [KIND], settings, root / "network", device="cpu")
    steps.fit_detectors(root / "features", KIND, root / "network", settings, model)
    for number, name in enumerate(NEW):
        known = {}
        for version in VERSIONS:
            shift = SHIFT * (2 * number + int(version))
            bundle = renamed(model, name, root / "named" / name / version, shift)
            scorer = load_bundle(bundle).scorer
            known[version] = [result.score for result in scorer.score([scorer.decode(file) for file in files])]
            registered = registry.register(bundle, metrics={}, reason="chaos")
            assert registered == version, registered
        registry.promote(name, VERSIONS[0], reason="chaos")
        machines[name] = Machine(*VERSIONS, known)
    problems = verify(registry)
    assert not problems, problems
    return Fleet(tuple(clips), machines)


def _old(work: Path, registry: Registry, clips: Sequence[bytes]) -> Machine:
    """Copy the registry of 0.1.0 into ours, as it is; its version 2 is in production."""
    work.mkdir()
    folder = unpacked(2, work)
    source = open_store(str(folder))
    for item in source.list():
        registry.store.write(item.key, source.read(item.key))
    known = {}
    for version in VERSIONS:
        (own := work / version).mkdir()
        known[version] = scores_of_its_own_code(folder / "models" / OLD / version / f"{OLD}.mar", clips, own)
    return Machine(VERSIONS[1], VERSIONS[0], known)
