"""mixup and SpecAugment."""

import numpy as np
import pytest
import torch

from masd.config import TrainingSettings
from masd.learning.augment import mix, mixup, spec_augment

ONES = torch.ones(600, 1, 128, 64)


def masks(settings: TrainingSettings, x: torch.Tensor = ONES) -> tuple[np.ndarray, np.ndarray]:
    """Masked bands ``[B, F]`` and masked frames ``[B, T]`` of windows of ones; fails on any other pattern."""
    torch.manual_seed(0)
    zero = (spec_augment(x, settings) == 0)[:, 0].numpy()
    bands, frames = np.asarray(zero.all(axis=2)), np.asarray(zero.all(axis=1))
    np.testing.assert_array_equal(zero, bands[:, :, None] | frames[:, None, :])
    return bands, frames


def test_at_most_one_band_mask_and_one_frame_mask_within_the_limits() -> None:
    bands, frames = masks(TrainingSettings(specaugment_probability=1.0))
    assert bands.sum(axis=1).max() == 16  # the limits are reached and kept
    assert frames.sum(axis=1).max() == 8
    for mask in (bands, frames):
        begins = np.diff(mask.astype(int), axis=1, prepend=0) == 1
        assert begins.sum(axis=1).max() == 1


def test_masks_differ_between_windows_and_reach_everywhere() -> None:
    bands, frames = masks(TrainingSettings(specaugment_probability=1.0))
    assert len(np.unique(bands, axis=0)) > 300
    assert bands[:, :-1].any(axis=0).all() and frames[:, :-1].any(axis=0).all()  # torchaudio spares the very last


def test_the_share_of_masked_windows_is_the_probability() -> None:
    bands, frames = masks(TrainingSettings(specaugment_probability=0.5))
    touched = (bands.any(axis=1) | frames.any(axis=1)).mean()
    expected = 0.5 * (1 - 1 / 17 / 9)  # a mask may also be drawn empty: 17 and 9 widths from 0
    assert touched == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 600))


def test_off_means_untouched() -> None:
    x = torch.randn(32, 1, 128, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(spec_augment(x, TrainingSettings(specaugment_probability=0.0)), x)
    sizes_off = TrainingSettings(specaugment_probability=1.0, specaugment_bands=0, specaugment_frames=0)
    assert torch.equal(spec_augment(x, sizes_off), x)


def test_one_mask_alone() -> None:
    bands, frames = masks(TrainingSettings(specaugment_probability=1.0, specaugment_frames=0))
    assert bands.any() and not frames.any()


def test_the_input_itself_stays_whole() -> None:
    """It is the target of the reconstruction."""
    x = torch.ones(64, 1, 128, 64)
    spec_augment(x, TrainingSettings(specaugment_probability=1.0))
    assert (x == 1).all()


@pytest.fixture
def mixture() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Window i holds a 1 in cell i only, so that a mixture shows its shares; returns labels and what mixup returns."""
    torch.manual_seed(0)
    x = torch.eye(64).reshape(64, 1, 8, 8)
    y = torch.arange(64) % 5
    return y, *mixup(x, y, 5)


def test_soft_labels_are_the_shares_that_the_mixture_shows(mixture: tuple[torch.Tensor, ...]) -> None:
    y, mixed, soft, _, _ = mixture
    shares = mixed.reshape(64, 64)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(soft, shares @ torch.eye(5)[y])
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(64))
    assert ((shares > 0).sum(dim=1) <= 2).all()


def test_lambda_is_uniform_and_drawn_for_each_window(mixture: tuple[torch.Tensor, ...]) -> None:
    _, _, _, partner, weight = mixture
    assert len(weight.unique()) == 64
    assert weight.min() >= 0.0 and weight.max() <= 1.0
    assert weight.min() < 0.1 and weight.max() > 0.9
    assert partner.sort().values.tolist() == list(range(64))


def test_partner_and_lambda_apply_the_same_mixture_to_something_else(mixture: tuple[torch.Tensor, ...]) -> None:
    _, mixed, _, partner, weight = mixture
    other = torch.randn(64, 1, 4, 3, generator=torch.Generator().manual_seed(1))
    shares = mixed.reshape(64, 64)
    torch.testing.assert_close(mix(other, partner, weight), torch.einsum("ij,jcft->icft", shares, other))


def test_mixup_draws_from_torchs_generator() -> None:
    """Which is what a checkpoint saves."""
    x, y = torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(2)), torch.zeros(16, dtype=torch.int64)
    torch.manual_seed(7)
    first = mixup(x, y, 1)[0]
    torch.manual_seed(7)
    assert torch.equal(first, mixup(x, y, 1)[0])
    assert not torch.equal(first, mixup(x, y, 1)[0])
