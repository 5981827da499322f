"""The k-nearest-neighbour detector against brute force."""

import math

import numpy as np
import pytest

from masd.detection.paper.knn import KnnDetector


def vectors(count: int, seed: int = 0, dimensions: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt(sum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True)))


@pytest.mark.parametrize("neighbours", [1, 3, 100])
def test_plain_knn_is_the_mean_distance_to_the_nearest(neighbours: int) -> None:
    bank, queries = vectors(30), vectors(5, seed=1)
    detector = KnnDetector.fit(bank, centres=None, neighbours=neighbours, density_neighbours=None, seed=0)
    expected = [np.mean(sorted(distance(q, v) for v in bank)[:neighbours]) for q in queries]
    np.testing.assert_allclose(detector.score(queries), expected, rtol=1e-12)


def test_a_training_vector_is_nearest_to_itself() -> None:
    bank = vectors(30)
    detector = KnnDetector.fit(bank, centres=None, neighbours=1, density_neighbours=None, seed=0)
    np.testing.assert_array_equal(detector.score(bank), np.zeros(30))


def test_the_score_grows_with_the_distance() -> None:
    detector = KnnDetector.fit(vectors(30), centres=None, neighbours=1, density_neighbours=None, seed=0)
    direction = vectors(1, seed=3)
    scores = [float(detector.score(direction * np.float32(length))[0]) for length in (5, 10, 20, 40)]
    assert scores == sorted(scores) and scores[-1] > 4 * scores[0]


def blobs(per_blob: int, centres: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(5)
    points = [c + rng.normal(scale=0.01, size=(per_blob, centres.shape[1])) for c in centres]
    return np.concatenate(points).astype(np.float32)


def test_the_centres_are_those_of_the_clusters() -> None:
    corners = 10.0 * np.eye(4)
    bank = blobs(25, corners)
    detector = KnnDetector.fit(bank, centres=4, neighbours=1, density_neighbours=None, seed=0)
    found = detector.references[np.argsort(-detector.references @ np.arange(4, 0, -1))]
    np.testing.assert_allclose(found, bank.reshape(4, 25, 4).mean(axis=1), atol=1e-5)
    query = vectors(3, seed=2, dimensions=4)
    expected = [min(distance(q, c) for c in detector.references) for q in query]
    np.testing.assert_allclose(detector.score(query), expected, rtol=1e-12)


@pytest.mark.parametrize("count", [1, 5, 16])
def test_fewer_vectors_than_centres_are_kept_as_they_are(count: int) -> None:
    bank = vectors(count)
    detector = KnnDetector.fit(bank, centres=16, neighbours=1, density_neighbours=None, seed=0)
    np.testing.assert_array_equal(detector.references, bank)


def test_duplicates_do_not_make_empty_clusters() -> None:
    bank = np.repeat(vectors(3), 20, axis=0)
    detector = KnnDetector.fit(bank, centres=16, neighbours=1, density_neighbours=None, seed=0)
    assert len(detector.references) == 3
    np.testing.assert_allclose(detector.score(bank), 0.0, atol=1e-6)


def test_centres_are_reproducible_from_the_seed() -> None:
    bank = vectors(200)
    first, again = (KnnDetector.fit(bank, centres=16, neighbours=1, density_neighbours=None, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.references, again.references)


def test_local_density_of_training_vectors_leaves_themselves_out() -> None:
    bank, queries = vectors(20), vectors(4, seed=1)
    detector = KnnDetector.fit(bank, centres=None, neighbours=1, density_neighbours=3, seed=0)
    scale = []
    for i, reference in enumerate(bank):
        others = sorted(distance(reference, v) for j, v in enumerate(bank) if j != i)
        scale.append(np.mean(others[:3]))
    np.testing.assert_allclose(detector.local_scale, scale, rtol=1e-9)
    expected = [min(distance(q, v) / s for v, s in zip(bank, scale, strict=True)) for q in queries]
    np.testing.assert_allclose(detector.score(queries), expected, rtol=1e-9)


def test_local_density_of_centres_is_that_of_the_training_vectors_around_them() -> None:
    bank, queries = vectors(60), vectors(4, seed=1)
    detector = KnnDetector.fit(bank, centres=5, neighbours=2, density_neighbours=4, seed=0)
    scale = [np.mean(sorted(distance(c, v) for v in bank)[:4]) for c in detector.references]
    np.testing.assert_allclose(detector.local_scale, scale, rtol=1e-9)
    expected = [
        np.mean(sorted(distance(q, c) / s for c, s in zip(detector.references, scale, strict=True))[:2])
        for q in queries
    ]
    np.testing.assert_allclose(detector.score(queries), expected, rtol=1e-9)


def test_density_makes_scores_independent_of_the_scale_of_the_domain() -> None:
    bank, queries = vectors(20), vectors(4, seed=1)
    small, large = (
        KnnDetector.fit(bank * np.float32(f), centres=None, neighbours=1, density_neighbours=3, seed=0).score(
            queries * np.float32(f)
        )
        for f in (1.0, 64.0)
    )
    np.testing.assert_allclose(small, large, rtol=1e-6)


@pytest.mark.parametrize("bank", [vectors(1), np.repeat(vectors(1), 8, axis=0)], ids=["one vector", "all equal"])
def test_density_of_degenerate_banks_is_finite(bank: np.ndarray) -> None:
    detector = KnnDetector.fit(bank, centres=None, neighbours=1, density_neighbours=9, seed=0)
    assert np.isfinite(detector.score(vectors(3, seed=1))).all()


@pytest.mark.parametrize(("centres", "density"), [(None, None), (4, None), (None, 3), (4, 3)])
def test_tensors_round_trip(centres: int | None, density: int | None) -> None:
    detector = KnnDetector.fit(vectors(30), centres=centres, neighbours=2, density_neighbours=density, seed=0)
    restored = KnnDetector.from_tensors(detector.tensors())
    queries = vectors(6, seed=1)
    np.testing.assert_array_equal(restored.score(queries), detector.score(queries))
