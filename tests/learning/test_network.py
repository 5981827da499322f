"""The convolutional auto-encoder of report figure 1."""

import numpy as np
import pytest
import torch

from masd.config import NetworkSettings
from masd.learning.network import ConvolutionalAutoEncoder

SMALL = NetworkSettings(channels=(4, 8), embedding_dim=6)


def network(settings: NetworkSettings = SMALL, n_classes: int = 3) -> ConvolutionalAutoEncoder:
    torch.manual_seed(0)
    return ConvolutionalAutoEncoder(settings, n_classes).eval()


def windows(count: int, bands: int = 16, frames: int = 8) -> torch.Tensor:
    return torch.randn(count, 1, bands, frames, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("channels", "bands", "frames"), [((4, 8), 16, 8), ((2, 3, 5), 8, 24), ((16, 32, 64, 128), 128, 64)]
)
def test_shapes(channels: tuple[int, ...], bands: int, frames: int) -> None:
    net = network(NetworkSettings(channels=channels, embedding_dim=7), n_classes=5)
    x = windows(3, bands, frames)
    with torch.no_grad():
        latent = net.encoder(x)
        x_hat, z = net(x)
    shrink = 2 ** len(channels)
    assert latent.shape == (3, channels[-1], bands // shrink, frames // shrink)
    assert x_hat.shape == x.shape
    assert z.shape == (3, 7)
    assert net.classify(z).shape == (3, 5)


def test_the_embedding_is_the_projected_global_average_of_the_encoder_output() -> None:
    net, x = network(), windows(4)
    with torch.no_grad():
        latent = net.encoder(x).numpy().astype(np.float64)
        z = net.embed(x).numpy()
    weight, bias = (p.detach().numpy().astype(np.float64) for p in (net.projection.weight, net.projection.bias))
    pooled = latent.reshape(4, latent.shape[1], -1).sum(axis=2) / (latent.shape[2] * latent.shape[3])
    np.testing.assert_allclose(z, pooled @ weight.T + bias, rtol=1e-5, atol=1e-6)


def test_forward_gives_the_decoded_latent_and_the_same_embedding() -> None:
    net, x = network(), windows(4)
    with torch.no_grad():
        x_hat, z = net(x)
        torch.testing.assert_close(x_hat, net.decoder(net.encoder(x)))
        torch.testing.assert_close(z, net.embed(x))


def test_the_classifier_is_linear_in_the_embedding() -> None:
    net = network()
    a, b = torch.randn(2, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        middle = net.classify((a + b) / 2)
        torch.testing.assert_close(middle, (net.classify(a) + net.classify(b)) / 2)


@pytest.mark.parametrize("shift", [-10.0, 10.0])
def test_a_reconstruction_may_be_of_either_sign(shift: float) -> None:
    """Standardised input lies on both sides of 0: a rectified last layer could never reach half of it."""
    net, x = network(), windows(2)
    with torch.no_grad():
        before, _ = net(x)
        net.decoder[-1].bias.add_(shift)
        after, _ = net(x)
    torch.testing.assert_close(after, before + shift)


def test_a_window_is_scored_alike_alone_and_in_a_batch() -> None:
    net, x = network(), windows(8)
    with torch.no_grad():
        x_hat, z = net(x)
        alone_x, alone_z = net(x[5:6])
    torch.testing.assert_close(alone_x, x_hat[5:6], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone_z, z[5:6], rtol=1e-4, atol=1e-5)


def test_every_part_learns_from_the_three_outputs() -> None:
    net = network().train()
    x_hat, z = net(windows(4))
    (x_hat.square().mean() + net.classify(z).square().mean()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
