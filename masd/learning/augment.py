"""mixup and SpecAugment (paper, section 3.1), vectorised over the batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from masd.audio._torchaudio import import_torchaudio
from masd.config import TrainingSettings


def spec_augment(x: Tensor, settings: TrainingSettings) -> Tensor:
    """``[B, 1, F, T]`` -> the same with one band mask and one frame mask in each chosen window.

    Masked cells become 0, the training mean. Draws from torch's global generator.
    """
    mask = import_torchaudio().functional.mask_along_axis_iid
    masked = mask(x, settings.specaugment_bands + 1, mask_value=0.0, axis=2)
    masked = mask(masked, settings.specaugment_frames + 1, mask_value=0.0, axis=3)
    chosen = torch.rand(len(x), 1, 1, 1) < settings.specaugment_probability
    return torch.where(chosen.to(x.device), masked, x)


def mixup(x: Tensor, y: Tensor, n_classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mix every window with another of the batch, lambda ~ U(0, 1) each (Zhang et al. 2017).

    ``x`` ``[B, 1, F, T]``, ``y`` ``[B]`` -> mixed windows, soft labels ``[B, n_classes]``, and the partner and
    lambda that apply the same mixture to something else of the batch.
    """
    partner = torch.randperm(len(x)).to(x.device)
    weight = torch.rand(len(x)).to(x.device)
    one_hot = F.one_hot(y, n_classes).to(x.dtype)
    soft = weight[:, None] * one_hot + (1 - weight[:, None]) * one_hot[partner]
    return mix(x, partner, weight), soft, partner, weight


def mix(x: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """``lambda x_i + (1 - lambda) x_partner(i)`` of windows ``[B, 1, F, T]``."""
    weight = weight.view(-1, 1, 1, 1)
    return weight * x + (1 - weight) * x[partner]
