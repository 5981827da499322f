"""The model for the measurements: a simulated machine, and a model of the size of the challenge's data sets."""

from dataclasses import dataclass
from pathlib import Path

from masd.config import Settings
from masd.data.simulation import simulate
from masd.data.store import FeatureStore
from masd.lifecycle import steps

MACHINE = "fan"
CLIPS = 1000
"""Training clips of one machine in the challenge, 10 of them of the target: what a score is compared with, and so what
detectors cost."""


@dataclass(frozen=True)
class BenchModel:
    """A data set of 10 s clips, its log-mels, a bundle as by default and one with a network."""

    root: Path

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    @property
    def with_network(self) -> Path:
        return self.root / "with-network"

    @property
    def store(self) -> FeatureStore:
        """Of the 60 clips that the network is trained on."""
        return FeatureStore.open(self.root / "features" / MACHINE)

    @property
    def clips(self) -> list[Path]:
        return sorted((self.root / "data" / MACHINE / "test").glob("*.wav"))


def make_model(root: Path, settings: Settings) -> BenchModel:
    """Simulate, train a network for as long as ``settings`` say, and fit the detectors to as many clips as the
    challenge has.
    """
    latent = settings.model_copy(update={"detection": settings.detection.model_copy(update={"latent": True})})
    simulate(root / "data", [MACHINE], train=60, test=8, seconds=10.0)
    steps.featurize(root / "data", [MACHINE], settings, root / "features")
    steps.train(root / "features", [MACHINE], latent, root / "network")
    simulate(root / "many", [MACHINE], train=CLIPS, test=4, seconds=10.0)
    steps.featurize(root / "many", [MACHINE], settings, root / "many-features")
    steps.train(root / "many-features", [MACHINE], settings, root / "no-network")
    steps.fit_detectors(root / "many-features", MACHINE, root / "no-network", settings, root / "bundle")
    steps.fit_detectors(root / "many-features", MACHINE, root / "network", latent, root / "with-network")
    return BenchModel(root)
