"""ONNX Runtime against plain PyTorch, the independent path."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from masd.bundle.bundle import load_bundle
from masd.config import ALL_SYSTEMS, NetworkSettings, Settings
from masd.detection.features.runtime import NetworkRuntime
from masd.learning.network import ConvolutionalAutoEncoder
from masd.learning.trained import load_network
from masd.lifecycle import steps

SHAPES = {(16, 32, 64, 128): (128, 64), (4, 8): (16, 8), (6,): (10, 6)}


def trained(channels: tuple[int, ...]) -> ConvolutionalAutoEncoder:
    """In evaluation mode, with batch statistics and scales as training leaves them: none 0 or 1."""
    torch.manual_seed(0)
    network = ConvolutionalAutoEncoder(NetworkSettings(channels=channels, embedding_dim=12), 3).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0.0, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.3, 3.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
    return network


@pytest.fixture(params=SHAPES, ids=str)
def network(request: pytest.FixtureRequest) -> ConvolutionalAutoEncoder:
    return trained(request.param)


def windows(network: ConvolutionalAutoEncoder, count: int, scale: float = 1.0) -> np.ndarray:
    shape = SHAPES[tuple(block[0].out_channels for block in network.encoder)]
    return (scale * np.random.default_rng(count).normal(size=(count, *shape))).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_every_output_is_that_of_pytorch(network: ConvolutionalAutoEncoder, count: int, scale: float) -> None:
    x = windows(network, count, scale)
    embeddings, errors, latents = NetworkRuntime(network)(x)
    with torch.no_grad():
        latent = network.encoder(torch.from_numpy(x)[:, None])
        x_hat, z = network(torch.from_numpy(x)[:, None])
    np.testing.assert_allclose(latents, latent.numpy(), rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(embeddings, normalize(z, dim=1).numpy(), atol=1e-5)
    np.testing.assert_allclose(errors, np.linalg.norm((x - x_hat[:, 0].numpy()).reshape(count, -1), axis=1), rtol=1e-5)
    np.testing.assert_allclose(NetworkRuntime(network).reconstruct(x), x_hat[:, 0].numpy(), atol=1e-5 * scale)


def test_a_window_is_the_same_in_any_company(network: ConvolutionalAutoEncoder) -> None:
    run, x = NetworkRuntime(network), windows(network, 7)
    for together, alone in zip(run(x), zip(*(run(x[n : n + 1]) for n in range(7)), strict=True), strict=True):
        np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5, atol=1e-5)


def test_it_keeps_what_the_network_was(network: ConvolutionalAutoEncoder) -> None:
    """Training that goes on with the same module changes nothing that is being served."""
    run, x = NetworkRuntime(network), windows(network, 2)
    before = run(x)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)
    for same, expected in zip(run(x), before, strict=True):
        np.testing.assert_array_equal(same, expected)


def test_a_network_that_embeds_to_nothing_has_a_finite_embedding(network: ConvolutionalAutoEncoder) -> None:
    for parameter in network.projection.parameters():
        torch.nn.init.zeros_(parameter)
    embeddings, _, _ = NetworkRuntime(network)(windows(network, 2))
    np.testing.assert_array_equal(embeddings, np.zeros((2, 12)))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_of_pytorch(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        run = NetworkRuntime(trained((6,)))
    finally:
        torch.set_num_threads(before)
    assert run._session.get_session_options().intra_op_num_threads == threads


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["slider", "bldcmotor"])
def test_scores_of_real_recordings_are_those_of_plain_pytorch(recordings: Path, machine: str, tmp_path: Path) -> None:
    """A network of the size that is served, every system, every test clip: to 1e-4."""
    settings = Settings.load(None, ["detection.latent=true", "training.stage1_steps=1", "training.stage2_steps=1"])
    steps.featurize(recordings, [machine], settings, tmp_path / "features")
    steps.train(tmp_path / "features", [machine], settings, tmp_path / "network", device="cpu")
    steps.fit_detectors(tmp_path / "features", machine, tmp_path / "network", settings, tmp_path / "bundle")
    scorer = load_bundle(tmp_path / "bundle").scorer
    clips = [scorer.decode(file) for file in sorted((recordings / machine / "test").glob("*.wav"))]
    served = scorer.score(clips, all_systems=True)
    network = load_network(tmp_path / "network").network

    @torch.no_grad()
    def plain(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = torch.from_numpy(windows)[:, None]
        x_hat, z = network(x)
        errors = (x - x_hat).flatten(1).norm(dim=1)
        return normalize(z, dim=1).numpy(), errors.numpy(), network.encoder(x).numpy()

    scorer.extract._network = plain  # type: ignore[assignment]
    for ours, theirs in zip(served, scorer.score(clips, all_systems=True), strict=True):
        for name in ALL_SYSTEMS:
            assert ours.systems[name] == pytest.approx(theirs.systems[name], rel=1e-4, abs=1e-4)
        assert [s.score for s in ours.segments] == pytest.approx([s.score for s in theirs.segments], rel=1e-4)
        assert ours.reconstruction_error == pytest.approx(theirs.reconstruction_error, rel=1e-4)


TELEMETRY = """
from masd.config import NetworkSettings
from masd.detection.features.runtime import NetworkRuntime
from masd.learning.network import ConvolutionalAutoEncoder
NetworkRuntime(ConvolutionalAutoEncoder(NetworkSettings(channels=(4, 8), embedding_dim=4), 2).eval())
"""


def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry is on by default, and leaves the identifiers that it sends in these folders."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    folders = {"HOME": tmp_path / "home", "TMPDIR": tmp_path / "tmp", "XDG_CACHE_HOME": tmp_path / "cache"}
    for folder in folders.values():
        folder.mkdir()
    environment |= {name: str(folder) for name, folder in folders.items()}
    subprocess.run([sys.executable, "-c", TELEMETRY], env=environment, check=True)
    assert [path for folder in folders.values() for path in folder.iterdir()] == []
