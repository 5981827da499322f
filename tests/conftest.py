"""Small real things that many tests share: two simulated machines, settings that train in seconds, one bundle."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # several processes share few cores: spinning threads cost more than they give

import numpy as np
import pytest
import torch
from tiny import SMALL_NORMALISATION, TINY

from masd.config import NetworkSettings, Settings, WindowSettings
from masd.data.simulation import simulate
from masd.detection.features.extractor import FeatureExtractor
from masd.learning.network import ConvolutionalAutoEncoder
from masd.lifecycle import steps

if TYPE_CHECKING:
    from s3_gateway import S3Gateway

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process waits for the longest of them in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


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


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator["S3Gateway"]:
    """One real S3 server for all tests; nobody kills it or changes its mode: tests that do start their own."""
    from s3_gateway import running_gateway

    with running_gateway(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture
def s3_gateway(gateway: "S3Gateway", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "S3Gateway":
    """:func:`gateway`, with the environment that masd needs to use it and a cache of its own."""
    for name, value in gateway.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASD_CACHE", str(tmp_path / "cache"))
    return gateway


@pytest.fixture
def s3_url(s3_gateway: "S3Gateway") -> str:
    """``s3://bucket/prefix`` with a new, empty bucket on the session's S3 server."""
    return f"{s3_gateway.make_bucket(f'b-{uuid4().hex[:12]}')}/some/prefix"
