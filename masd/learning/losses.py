"""The three losses of the paper, equations (1) to (4)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def reconstruction_errors(x: Tensor, x_hat: Tensor) -> Tensor:
    """``||X_i - X_hat_i||_2`` of each window: ``[B, ...]``, ``[B, ...]`` -> ``[B]`` (eq. (1) before its mean).

    The norm is not squared, as the paper writes it: a mean squared error would shrink its gradient about 90-fold at
    128 x 64 inputs, and alpha and beta in eq. (5) would mean something else.
    """
    norms: Tensor = torch.linalg.vector_norm((x - x_hat).flatten(1), dim=1)
    return norms


def reconstruction_loss(x: Tensor, x_hat: Tensor) -> Tensor:
    """``L_recon``, eq. (1): the mean of :func:`reconstruction_errors`."""
    return reconstruction_errors(x, x_hat).mean()


def classification_loss(logits: Tensor, y: Tensor) -> Tensor:
    """``L_class``, eq. (2): cross-entropy of logits ``o`` ``[B, C]`` against ``y``, soft labels ``[B, C]`` or indexes
    ``[B]``.
    """
    return F.cross_entropy(logits, y)


def contrastive_loss(z: Tensor, labels: Tensor, is_noise: Tensor, temperature: float) -> Tensor:
    """``L_contr``, eqs. (3) and (4), with the paper's extension to noise-only clips.

    ``z`` ``[N, d]`` embeddings (any length: eq. (4) is the cosine), ``labels`` ``[N]`` attribute classes, ``is_noise``
    ``[N]``. Clean clips carry the label of the noisy clips with the same attributes, so they are positives of each
    other. Noise-only clips are neither anchors nor positives: they are in the denominator only. Anchors without a
    positive are skipped; without any anchor the loss is 0.
    """
    directions = F.normalize(z.float(), dim=1)
    with torch.autocast(
        z.device.type, enabled=False
    ):  # a similarity rounded to bfloat16 is too coarse to divide by tau
        similarity = directions @ directions.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_probability = similarity - torch.logsumexp(similarity.masked_fill(itself, -torch.inf), dim=1, keepdim=True)
    machine = ~is_noise
    positive = (labels[:, None] == labels[None, :]) & machine[:, None] & machine[None, :] & ~itself
    positives = positive.sum(dim=1)
    anchors = positives > 0
    # masked sums instead of indexing by `anchors`: no data-dependent shapes, so nothing waits for the device
    per_anchor = log_probability.masked_fill(~positive, 0.0).sum(dim=1) / positives.clamp(min=1)
    return -(per_anchor * anchors).sum() / anchors.sum().clamp(min=1)
