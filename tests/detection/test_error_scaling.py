"""Clip features and the joined d + 1 vectors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SMALL_NORMALISATION

from masd.detection.features.clip import ClipFeatures
from masd.detection.features.extractor import MAX_WINDOWS, FeatureExtractor
from masd.detection.features.views import Views
from masd.detection.paper.error_scaling import ErrorScaling, rows_of
from masd.learning.network import ConvolutionalAutoEncoder


def log_mel(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(-40, 5, (frames, 16)).astype(np.float32)


REST: tuple[np.ndarray, np.ndarray, Views, Views] = (np.zeros((1, 4), np.float32), np.zeros((1, 2), np.int64), {}, {})
"""What a :class:`ClipFeatures` has besides: frames, spans and views."""


def unit(*rows: tuple[float, ...]) -> np.ndarray:
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_features_window_by_window(small_network: ConvolutionalAutoEncoder, small_extractor: FeatureExtractor) -> None:
    """Windows 0-7, 4-11, 8-15 and 10-17 (right-aligned), each through the network on its own."""
    frames = log_mel(18)
    (clip,) = small_extractor([frames])
    assert clip.embeddings.shape == (4, 6) and clip.errors.shape == (4,)
    for number, start in enumerate((0, 4, 8, 10)):
        window = (frames[start : start + 8] - SMALL_NORMALISATION.mean) / SMALL_NORMALISATION.scale
        with torch.no_grad():
            x_hat, z = small_network(torch.from_numpy(window.T.copy())[None, None])
        z = z[0].numpy()
        np.testing.assert_allclose(clip.embeddings[number], z / np.sqrt((z**2).sum()), rtol=1e-4, atol=1e-6)
        error = np.sqrt(((window.T - x_hat[0, 0].numpy()) ** 2).sum())
        assert clip.errors[number] == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("frames", [2, 3, 7, 8])  # a recording has two at least, however short it is
def test_a_short_clip_is_one_window_repeated_from_its_beginning(small_extractor: FeatureExtractor, frames: int) -> None:
    short = log_mel(frames)
    (clip,), (repeated,) = small_extractor([short]), small_extractor([np.concatenate([short] * 8)[:8]])
    assert len(clip.errors) == 1
    np.testing.assert_array_equal(clip.embeddings, repeated.embeddings)


def test_clips_of_any_length_share_passes_and_keep_their_own_windows(small_extractor: FeatureExtractor) -> None:
    lengths = [5, 8, 4 * MAX_WINDOWS + 40, 9, 33]  # the third alone needs more than one pass
    clips = [log_mel(n, seed) for seed, n in enumerate(lengths)]
    for together, alone in zip(small_extractor(clips), [small_extractor([clip])[0] for clip in clips], strict=True):
        np.testing.assert_allclose(together.embeddings, alone.embeddings, atol=1e-5)
        np.testing.assert_allclose(together.errors, alone.errors, rtol=1e-5)


def test_the_residual_of_a_picture_is_that_of_the_window(small_extractor: FeatureExtractor) -> None:
    one_window = log_mel(8)
    residual = small_extractor.residual(one_window)
    assert residual.shape == one_window.shape
    assert np.sqrt((residual.astype(np.float64) ** 2).sum()) == pytest.approx(
        small_extractor([one_window])[0].errors[0], rel=1e-5
    )


@pytest.mark.parametrize("frames", [3, 8, 18, 40])
def test_the_residual_has_a_value_for_every_cell(small_extractor: FeatureExtractor, frames: int) -> None:
    residual = small_extractor.residual(log_mel(frames))
    assert residual.shape == (frames, 16)
    assert np.isfinite(residual).all() and (residual >= 0).all()


def test_overlapping_residuals_are_averaged(small_extractor: FeatureExtractor) -> None:
    frames = log_mel(12)  # windows 0-7 and 4-11
    whole, first, second = (
        small_extractor.residual(frames),
        small_extractor.residual(frames[:8]),
        small_extractor.residual(frames[4:]),
    )
    np.testing.assert_allclose(whole[:4], first[:4], atol=1e-5)
    np.testing.assert_allclose(whole[4:8], (first[4:] + second[:4]) / 2, atol=1e-5)
    np.testing.assert_allclose(whole[8:], second[4:], atol=1e-5)


def test_feature_aggregation_is_the_mean_direction_and_the_mean_error() -> None:
    clip = ClipFeatures(unit((1, 0), (0, 1)), np.array([1.0, 4.0], np.float32), *REST)
    embedding, error = clip.mean()
    np.testing.assert_allclose(embedding, [np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-6)
    assert error == 2.5


def test_opposite_embeddings_have_no_mean_direction_but_a_finite_mean() -> None:
    embedding, _ = ClipFeatures(unit((1, 0), (-1, 0)), np.zeros(2, np.float32), *REST).mean()
    np.testing.assert_array_equal(embedding, [0, 0])


def test_rows_of_both_levels() -> None:
    clips = [
        ClipFeatures(unit((1, 0), (0, 1)), np.array([1.0, 3.0], np.float32), *REST),
        ClipFeatures(unit((0, 1)), np.array([5.0], np.float32), *REST),
    ]
    embeddings, errors, groups = rows_of(clips, "score")
    assert errors.tolist() == [1.0, 3.0, 5.0] and groups.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(embeddings, unit((1, 0), (0, 1), (0, 1)))
    embeddings, errors, groups = rows_of(clips, "feature")
    assert errors.tolist() == [2.0, 5.0] and groups.tolist() == [0, 1]
    np.testing.assert_allclose(embeddings, unit((1, 1), (0, 1)), rtol=1e-6)


def test_one_deviation_of_error_weighs_the_median_distance_to_the_nearest_other_clip() -> None:
    embeddings = np.array([[0.0, 0.0], [0.0, 0.1], [0.0, 1.0], [0.0, 4.0]], np.float32)
    groups = np.array([0, 0, 1, 2])
    errors = np.array([1.0, 2.0, 3.0, 6.0], np.float32)  # mean 3, variance 3.5
    # nearest row of another clip: 1.0, 0.9, 0.9, 3.0 (never the other row of the same clip, 0.1 away)
    scaling = ErrorScaling.fit(embeddings, errors, groups, weight=2.0)
    joined = scaling.join(embeddings, errors)
    expected = 2.0 * 0.95 * (errors - 3.0) / np.sqrt(3.5)
    np.testing.assert_allclose(joined[:, -1], expected, rtol=1e-6)
    np.testing.assert_array_equal(joined[:, :-1], embeddings)
    assert joined.dtype == np.float32


def test_new_errors_are_scaled_by_training_statistics() -> None:
    scaling = ErrorScaling(mean=10.0, factor=0.5)
    assert scaling.join(unit((1, 0)), np.array([14.0], np.float32)).tolist() == [[1.0, 0.0, 2.0]]


def test_weight_zero_silences_the_error() -> None:
    rng = np.random.default_rng(0)
    embeddings, errors = unit(*rng.normal(size=(6, 3))), rng.normal(size=6).astype(np.float32)
    scaling = ErrorScaling.fit(embeddings, errors, np.arange(6), weight=0.0)
    assert not scaling.join(embeddings, errors)[:, -1].any()


@pytest.mark.parametrize(
    ("embeddings", "errors"),
    [
        pytest.param(unit(*np.eye(4)), np.full(4, 7.0, np.float32), id="constant errors"),
        pytest.param(unit(*[(1, 0, 0)] * 4), np.arange(4, dtype=np.float32), id="identical embeddings"),
        pytest.param(unit((1, 0)), np.ones(1, np.float32), id="a single clip"),
    ],
)
def test_degenerate_training_sets_give_finite_vectors(embeddings: np.ndarray, errors: np.ndarray) -> None:
    scaling = ErrorScaling.fit(embeddings, errors, np.arange(len(errors)), weight=1.0)
    assert np.isfinite(scaling.join(embeddings, errors)).all()


def test_the_median_distance_of_many_rows_is_estimated_from_some() -> None:
    rng = np.random.default_rng(1)
    embeddings = unit(*rng.normal(size=(2500, 2)))
    errors = rng.normal(size=2500).astype(np.float32)
    scaling = ErrorScaling.fit(embeddings, errors, np.arange(2500), weight=1.0)
    order = np.sort(np.arctan2(embeddings[:, 1], embeddings[:, 0]).astype(np.float64))
    gaps = np.diff(order, append=order[0] + 2 * np.pi)
    median = np.median(np.minimum(gaps, np.roll(gaps, 1)))  # on a circle a small angle is the distance
    assert scaling.factor * errors.std() == pytest.approx(median, rel=0.1)


def test_a_store_is_read_clip_by_clip(small_extractor: FeatureExtractor) -> None:
    class Store:
        """Only what the extractor asks for."""

        folder = Path()

        def log_mel(self, row: int) -> np.ndarray:
            return log_mel(9 + row, seed=row)

        def far_log_mel(self, row: int) -> None:
            pass

        def release(self) -> None:
            pass

    rows = np.array([7, 0, 33, 5] * 6)  # more than are read at once
    clips = small_extractor.rows(Store(), rows)
    for row, clip in zip(rows, clips, strict=True):
        np.testing.assert_allclose(clip.errors, small_extractor([log_mel(9 + row, seed=row)])[0].errors, rtol=1e-5)
