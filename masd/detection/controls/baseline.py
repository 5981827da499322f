"""The official baseline of DCASE Task 2, 2023 to 2026: a dense auto-encoder, MSE and selective Mahalanobis.

Written from its description: 5 frames of 128 log-mel bands in dB make a vector of 640; the auto-encoder is
640-128x4-8-128x4-640 with batch normalisation and ReLU; Adam 1e-3, batch 256, 100 epochs (``gate.baseline_epochs``).
The Mahalanobis score uses the covariance of the residual frames (128 x 128) of each domain, the smaller of the two
counts; thresholds are the 90th percentile of a gamma distribution fitted to the training scores.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from masd.arrays import Array, Floats, Integers
from masd.audio import frame_contexts
from masd.data.store import FeatureStore
from masd.progress import Progress

FRAMES = 5
WIDTHS = (128, 128, 128, 128, 8, 128, 128, 128, 128)
BATCH, LEARNING_RATE = 256, 1e-3
THRESHOLD_PERCENTILE = 0.9


def frame_vectors(log_mel: Array) -> Tensor:
    """``[T, F]`` -> ``[T - 4, 5F]``: every run of 5 consecutive frames (:func:`~masd.audio.frame_contexts`)."""
    contexts = frame_contexts(np.ascontiguousarray(log_mel), FRAMES)
    return torch.from_numpy(np.array(contexts, order="C")).flatten(1)


@dataclass(frozen=True)
class BaselineAutoEncoder:
    """A fitted baseline; ``precisions`` are the inverse residual covariances ``[F, F]`` of the domains."""

    network: nn.Module
    precisions: tuple[Tensor, ...]
    thresholds: dict[str, float]

    @classmethod
    def fit(cls, store: FeatureStore, seed: int, epochs: int, progress: Progress | None = None) -> Self:
        """Train on the noisy training clips of one machine. The caller's random state is left as it was."""
        rows = store.normal_rows()
        vectors = torch.cat([frame_vectors(store.log_mel(int(row))) for row in rows])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _network(vectors.shape[1])
            optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE, fused=True)
            for epoch in range(epochs):
                for batch in torch.split(torch.randperm(len(vectors)), BATCH):
                    if len(batch) < 2:  # batch statistics need two rows
                        continue
                    x = vectors[batch]
                    loss = nn.functional.mse_loss(network(x), x)
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                if progress:
                    progress(epoch + 1, epochs, f"loss {loss.detach():.2f}")
        network.eval()
        is_target = store.clips["domain"].to_numpy()[rows] == "target"
        precisions = tuple(
            _precision(network, store, domain) for domain in (rows[~is_target], rows[is_target]) if len(domain)
        )
        unfinished = cls(network, precisions, {})
        thresholds = {name: _gamma_threshold(scores) for name, scores in unfinished.score(store, rows).items()}
        return cls(network, precisions, thresholds)

    def score(self, store: FeatureStore, rows: Integers) -> dict[str, Floats]:
        """``baseline-mse`` and ``baseline-mahalanobis``, each ``[n]``: means over the vectors of a clip."""
        mse, mahalanobis = np.empty(len(rows)), np.empty(len(rows))
        for number, row in enumerate(rows):
            residual = _residual(self.network, frame_vectors(store.log_mel(int(row))))
            mse[number] = float(residual.square().mean())
            frames = residual.view(-1, store.frames.shape[1]).double()
            mahalanobis[number] = min(
                float(((frames @ precision) * frames).sum(dim=1).mean()) for precision in self.precisions
            )
        return {"baseline-mse": mse, "baseline-mahalanobis": mahalanobis}


def _network(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((width, *WIDTHS)):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTHS[-1], width))


@torch.inference_mode()
def _residual(network: nn.Module, vectors: Tensor) -> Tensor:
    residual: Tensor = vectors - network(vectors)
    return residual


def _precision(network: nn.Module, store: FeatureStore, rows: Integers) -> Tensor:
    bands = store.frames.shape[1]
    residuals = [_residual(network, frame_vectors(store.log_mel(int(row)))).view(-1, bands) for row in rows]
    covariance = torch.cov(torch.cat(residuals).double().T)
    precision: Tensor = torch.linalg.pinv(covariance, hermitian=True)
    return precision


def _gamma_threshold(scores: Floats) -> float:
    if np.ptp(scores) < 1e-12:
        return float(scores[0])
    from scipy import stats  # only who fits waits for this import

    shape, location, scale = stats.gamma.fit(scores)
    return float(stats.gamma.ppf(THRESHOLD_PERCENTILE, shape, location, scale))
