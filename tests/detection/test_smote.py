"""SMOTE on the target domain."""

import logging

import numpy as np
import pytest

from masd.detection.paper.smote import oversample_target


def joined(count: int, seed: int, dimensions: int = 4) -> np.ndarray:
    """Vectors as detectors get them: a direction of unit length and an error."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, dimensions))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.concatenate([directions, rng.normal(size=(count, 1))], axis=1).astype(np.float32)


SOURCE = joined(100, seed=0)


def over(target: np.ndarray, source: np.ndarray = SOURCE, **options: float) -> np.ndarray:
    settings = {"neighbours": 2, "share": 0.2, "seed": 0} | options
    return oversample_target(source, target, **settings)


@pytest.mark.parametrize(("share", "expected"), [(0.2, 20), (0.5, 50), (1.0, 100), (0.155, 16)])
def test_the_target_grows_to_its_share_of_the_source(share: float, expected: int) -> None:
    target = joined(10, seed=1)
    result = over(target, share=share)
    assert result.shape == (expected, 5)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[:10], target)  # real vectors first, untouched


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1])
def test_enough_target_vectors_stay_as_they_are(share: float) -> None:
    target = joined(10, seed=1)
    np.testing.assert_array_equal(over(target, share=share), target)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_nothing_is_made_of_fewer_than_three(count: int, caplog: pytest.LogCaptureFixture) -> None:
    target = joined(count, seed=1)
    with caplog.at_level(logging.INFO):
        np.testing.assert_array_equal(over(target), target)
    assert "too few for SMOTE" in caplog.text


@pytest.mark.parametrize("neighbours", [1, 2, 20])
def test_synthetic_vectors_lie_between_a_vector_and_one_of_its_neighbours(neighbours: int) -> None:
    """Undoing the return to unit length: some point of the line through the vector must lie on such a segment."""
    target = joined(10, seed=1)
    synthetic = over(target, neighbours=neighbours, share=0.6)[10:].astype(np.float64)
    pairs = []
    for i, a in enumerate(target):
        nearest = np.argsort(np.linalg.norm(target - a, axis=1))[1 : 1 + neighbours]
        pairs += [(a, target[j]) for j in nearest if j != i]
    for vector in synthetic:
        assert min(off_segment(vector, a, b) for a, b in pairs) < 1e-5


def off_segment(vector: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """How far ``vector`` is from the normalised point ``a + t (b - a)``, with ``t`` told by the error coordinate."""
    t = (vector[-1] - a[-1]) / (b[-1] - a[-1])
    if not -1e-6 <= t <= 1 + 1e-6:
        return np.inf
    between = (a + t * (b - a))[:-1]
    return float(np.linalg.norm(vector[:-1] - between / np.linalg.norm(between)))


def test_synthetic_directions_have_unit_length_again() -> None:
    synthetic = over(joined(10, seed=1), share=0.6)[10:]
    np.testing.assert_allclose(np.linalg.norm(synthetic[:, :-1], axis=1), 1.0, rtol=1e-6)


def test_errors_stay_between_those_of_the_target() -> None:
    target = joined(10, seed=1)
    synthetic = over(target, share=0.6)[10:]
    assert synthetic[:, -1].min() >= target[:, -1].min() and synthetic[:, -1].max() <= target[:, -1].max()


def test_synthetic_vectors_never_use_the_source() -> None:
    target = joined(10, seed=1)
    other = over(target, source=joined(100, seed=9))
    np.testing.assert_array_equal(other, over(target))


def test_reproducible_from_the_seed() -> None:
    target = joined(10, seed=1)
    np.testing.assert_array_equal(over(target, seed=3), over(target, seed=3))
    assert not np.array_equal(over(target, seed=3), over(target, seed=4))


def test_identical_target_vectors_give_identical_ones() -> None:
    target = np.repeat(joined(1, seed=1), 5, axis=0)
    np.testing.assert_allclose(over(target), np.repeat(target[:1], 20, axis=0), atol=1e-6)
