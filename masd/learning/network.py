"""The network of figure 1 of the paper: a convolutional auto-encoder with an embedding and an attribute classifier."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from masd.config import NetworkSettings


def _encoder_block(inputs: int, outputs: int) -> nn.Module:
    """``[B, inputs, F, T]`` -> ``[B, outputs, F/2, T/2]``."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),  # after the maximum: the same values from a quarter of the work
    )


def _decoder_block(inputs: int, outputs: int) -> nn.Module:
    """``[B, inputs, F, T]`` -> ``[B, outputs, 2F, 2T]``: the deconvolution is the up-sampling."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ConvolutionalAutoEncoder(nn.Module):
    """Sections 2.1 and 2.2 of the paper.

    Input: standardised log-mel windows ``X`` ``[B, 1, F, T]``, ``F`` and ``T`` multiples of ``2 ** len(channels)``.
    """

    def __init__(self, settings: NetworkSettings, n_classes: int) -> None:
        super().__init__()
        widths: Sequence[int] = (1, *settings.channels)
        reverse = tuple(reversed(settings.channels))
        self.encoder = nn.Sequential(*(_encoder_block(a, b) for a, b in pairwise(widths)))
        self.decoder = nn.Sequential(
            *(_decoder_block(a, b) for a, b in pairwise(reverse)),
            nn.ConvTranspose2d(reverse[-1], 1, kernel_size=4, stride=2, padding=1),
        )
        self.projection = nn.Linear(settings.channels[-1], settings.embedding_dim)
        self.classifier = nn.Linear(settings.embedding_dim, n_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, 1, F, T]`` -> reconstruction ``X_hat`` ``[B, 1, F, T]`` and embedding ``z`` ``[B, d]``."""
        latent = self.encoder(x)
        return self.decoder(latent), self.embed_latent(latent)

    def embed(self, x: Tensor) -> Tensor:
        """``[B, 1, F, T]`` -> embedding ``z`` ``[B, d]``, without the decoder's work."""
        return self.embed_latent(self.encoder(x))

    def embed_latent(self, latent: Tensor) -> Tensor:
        """Global average pooling, then the projection: latent ``[B, C, F', T']`` -> ``z`` ``[B, d]``."""
        embedding: Tensor = self.projection(latent.mean(dim=(2, 3)))
        return embedding

    def classify(self, z: Tensor) -> Tensor:
        """Embedding ``z`` ``[B, d]`` -> logits ``o`` ``[B, n_classes]``."""
        logits: Tensor = self.classifier(z)
        return logits
