"""Small real things that many tests share: two simulated machines, settings that train in seconds, one bundle."""

import os
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # several processes share few cores: spinning threads cost more than they give

import numpy as np
import pytest
import torch

from masd.config import NetworkSettings, Settings, WindowSettings
from masd.data.simulation import simulate
from masd.detection.features import FeatureExtractor
from masd.learning.network import ConvolutionalAutoEncoder
from masd.learning.normalisation import Normalisation
from masd.lifecycle import steps

torch.set_num_threads(1)

TINY = {
    "network": {"channels": (4, 8, 8, 16), "embedding_dim": 16},
    "training": {
        "stage1_epochs": 1,
        "stage2_epochs": 1,
        "batch_source": 16,
        "batch_target": 8,
        "batch_supplemental": 8,
        "checkpoint_every": 1,
    },
    "gate": {"bootstrap_samples": 50},
}
TINY_OVERRIDES = [
    "network.channels=[4,8,8,16]",
    "network.embedding_dim=16",
    "training.stage1_epochs=1",
    "training.stage2_epochs=1",
    "training.batch_source=16",
    "training.batch_target=8",
    "training.batch_supplemental=8",
    "training.checkpoint_every=1",
    "gate.bootstrap_samples=50",
]

SMALL_NORMALISATION = Normalisation(np.linspace(-50, -30, 16).astype(np.float32), 4.0)


@pytest.fixture(scope="session")
def small_network() -> ConvolutionalAutoEncoder:
    """Untrained, for 16 mel bands and windows of 8 frames."""
    torch.manual_seed(0)
    return ConvolutionalAutoEncoder(NetworkSettings(channels=(4, 8), embedding_dim=6), 2).eval()


@pytest.fixture(scope="session")
def small_extractor(small_network: ConvolutionalAutoEncoder) -> FeatureExtractor:
    return FeatureExtractor(small_network, SMALL_NORMALISATION, WindowSettings(frames=8, hop_frames=4))


@pytest.fixture(scope="session")
def tiny_settings() -> Settings:
    """One epoch of each stage with a small network."""
    return Settings.model_validate(TINY)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two simulated machines: fan (attributes) and bearing (none), 3 s clips."""
    out = tmp_path_factory.mktemp("data")
    simulate(out, ["fan", "bearing"], train=24, test=16, seconds=3.0, seed=1)
    return out


@pytest.fixture(scope="session")
def tiny_features(tiny_data: Path, tiny_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the log-mel stores of ``tiny_data``."""
    out = tmp_path_factory.mktemp("features")
    steps.featurize(tiny_data, ["fan", "bearing"], tiny_settings, out)
    return out


@pytest.fixture(scope="session")
def tiny_bundle(tiny_features: Path, tiny_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the fan, trained for two epochs."""
    out = tmp_path_factory.mktemp("bundle")
    steps.train(tiny_features, ["fan"], tiny_settings, out / "network", device="cpu")
    steps.fit_detectors(tiny_features, "fan", out / "network", tiny_settings, out / "fan")
    return out / "fan"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Real recordings of lathe, bldcmotor and slider; tests that need them skip where the folder is absent."""
    folder = Path(os.environ.get("MASD_TEST_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
    if not (folder / "lathe").is_dir():
        pytest.skip(f"REAL RECORDINGS NOT TESTED: {folder} is absent; name another folder in MASD_TEST_DATA")
    return folder
