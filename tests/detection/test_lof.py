"""The local outlier factor against scikit-learn's, and against its definition."""

import numpy as np
import pytest
from sklearn.neighbors import LocalOutlierFactor

from masd.detection.paper.lof import LofDetector


def vectors(count: int, seed: int = 0, dimensions: int = 17) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


def sklearn_scores(bank: np.ndarray, queries: np.ndarray, neighbours: int) -> np.ndarray:
    estimator = LocalOutlierFactor(n_neighbors=neighbours, novelty=True, algorithm="kd_tree")
    return -estimator.fit(bank.astype(np.float64)).score_samples(queries.astype(np.float64))


@pytest.mark.parametrize("dimensions", [2, 17, 129])
@pytest.mark.parametrize("neighbours", [1, 5, 20])
def test_equals_scikit_learns_novelty_scores(dimensions: int, neighbours: int) -> None:
    bank, queries = vectors(80, dimensions=dimensions), vectors(20, seed=1, dimensions=dimensions)
    queries = np.concatenate([queries, 5 * queries[:4], bank[:4]])
    detector = LofDetector.fit(bank, neighbours=neighbours)
    np.testing.assert_allclose(detector.score(queries), sklearn_scores(bank, queries, neighbours), rtol=1e-9)


@pytest.mark.parametrize("dimensions", [3, 129])
@pytest.mark.parametrize("copies", [2, 5, 30])
def test_equals_scikit_learns_with_duplicates(copies: int, dimensions: int) -> None:
    """30 copies are more than the 20 neighbours: their density is all but infinite, here as there."""
    bank = vectors(60, dimensions=dimensions)
    bank[:copies] = bank[0]
    queries = np.concatenate(
        [vectors(10, seed=1, dimensions=dimensions), bank[:2], bank[-3:], bank[:2] + np.float32(0.01)]
    )
    detector = LofDetector.fit(bank, neighbours=20)
    np.testing.assert_allclose(detector.score(queries), sklearn_scores(bank, queries, 20), rtol=1e-9)


def test_by_hand_on_a_line() -> None:
    """Bank 0, 1, 2, 3 with one neighbour; query 5: its neighbour 3 is 2 away and reaches its own neighbour in 1."""
    bank = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    score = LofDetector.fit(bank, neighbours=1).score(np.array([[5.0], [3.5]], np.float32))
    np.testing.assert_allclose(score, [2.0, 1.0], rtol=1e-9)  # density 1/1 over 1/2; and reach max(0.5, 1) = 1


def test_about_one_inside_and_larger_outside() -> None:
    bank = vectors(300, dimensions=3)
    detector = LofDetector.fit(bank, neighbours=20)
    assert np.median(detector.score(vectors(100, seed=1, dimensions=3))) == pytest.approx(1.0, abs=0.1)
    assert detector.score(np.full((1, 3), 20.0, np.float32))[0] > 5


@pytest.mark.parametrize("count", [2, 3, 20])
def test_no_more_neighbours_than_there_are(count: int) -> None:
    bank, queries = vectors(count), vectors(5, seed=1)
    detector = LofDetector.fit(bank, neighbours=20)
    assert detector.neighbours == count - 1
    np.testing.assert_allclose(detector.score(queries), sklearn_scores(bank, queries, count - 1), rtol=1e-9)


def test_one_vector_has_no_density() -> None:
    with pytest.raises(ValueError, match="at least two"):
        LofDetector.fit(vectors(1), neighbours=20)


def test_a_vector_is_scored_alike_alone_and_in_a_batch() -> None:
    detector, queries = LofDetector.fit(vectors(50), neighbours=20), vectors(10, seed=1)
    alone = np.concatenate([detector.score(query[None]) for query in queries])
    np.testing.assert_array_equal(detector.score(queries), alone)


def test_tensors_round_trip() -> None:
    detector, queries = LofDetector.fit(vectors(50), neighbours=20), vectors(10, seed=1)
    restored = LofDetector.from_tensors(detector.tensors())
    np.testing.assert_array_equal(restored.score(queries), detector.score(queries))
