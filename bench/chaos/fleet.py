"""Ten machines in a registry, two versions of each, and what either version says of some clips."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from masd.bundle.bundle import load_bundle
from masd.bundle.manifest import load_manifest, write_manifest
from masd.config import Settings
from masd.data.simulation import simulate
from masd.lifecycle import steps
from masd.registry.registry import Registry

KIND = "fan"
MACHINES = tuple(f"fan{number}" for number in range(10))
SMALL = [
    *("network.channels=[4,8,8,16]", "network.embedding_dim=16", "training.stage1_epochs=1"),
    *("training.stage2_epochs=1", "training.batch_source=16", "training.batch_target=8"),
    "training.batch_supplemental=8",
]


@dataclass(frozen=True)
class Fleet:
    """``known`` has the score of each of ``clips`` by version; it is the same for all machines."""

    clips: tuple[bytes, ...]
    known: dict[str, tuple[float, ...]]


def make_fleet(root: Path, registry: Registry) -> Fleet:
    """Train two small models of one machine and register both for each of :data:`MACHINES`, the first in production.

    A model does not know whose it is: only the manifest names the machine.
    """
    simulate(root / "data", [KIND], train=24, test=16, seconds=3.0, seed=1)
    clips = sorted((root / "data" / KIND / "test").glob("*.wav"))
    known = {}
    for number, seed in enumerate((0, 1), start=1):
        settings = Settings.load(None, [*SMALL, f"seed={seed}"])
        out = root / str(seed)
        steps.featurize(root / "data", [KIND], settings, out / "features")
        steps.train(out / "features", [KIND], settings, out / "network", device="cpu")
        steps.fit_detectors(out / "features", KIND, out / "network", settings, out / "bundle")
        scorer = load_bundle(out / "bundle").scorer
        known[str(number)] = tuple(result.score for result in scorer.score([scorer.decode(clip) for clip in clips]))
        for machine in MACHINES:
            bundle = shutil.copytree(out / "bundle", out / machine)
            write_manifest(bundle, replace(load_manifest(bundle), machine_type=machine))
            version = registry.register(bundle, metrics={}, reason="chaos")
            assert version == str(number), version
            if number == 1:
                registry.promote(machine, version, reason="chaos")
    return Fleet(tuple(clip.read_bytes() for clip in clips), known)
