"""Whitened nearest neighbours: against scikit-learn's covariance and a brute Mahalanobis distance, and their limits."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf

from masd.detection.fused.whitened import WhitenedNeighbours

Vectors = np.ndarray


def correlated(count: int, dimensions: int, seed: int) -> Vectors:
    """Vectors with correlated coordinates of different sizes and offsets."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(100).normal(size=(dimensions, dimensions))
    sizes = np.geomspace(0.5, 5.0, dimensions)
    return (np.arange(dimensions) + rng.normal(size=(count, dimensions)) @ mixing * sizes).astype(np.float32)


def domains(source: int, target: int) -> np.ndarray:
    return np.repeat([False, True], [source, target])


@pytest.mark.parametrize(("source", "target", "dimensions"), [(60, 12, 5), (12, 4, 30)], ids=["many", "few clips"])
def test_distances_are_mahalanobis_distances_under_the_shrunk_covariance(
    source: int, target: int, dimensions: int
) -> None:
    is_target = domains(source, target)
    vectors = correlated(source + target, dimensions, 0)
    queries = correlated(8, dimensions, 1)
    found = WhitenedNeighbours.fit(vectors, is_target).distances(queries)
    assert found.shape == (8, 2)
    points = vectors.astype(np.float64)
    mean, deviation = points.mean(axis=0), points.std(axis=0)
    precision = LedoitWolf().fit((points - mean) / deviation).precision_
    for row, query in enumerate(queries.astype(np.float64)):
        for column, bank in enumerate((points[~is_target], points[is_target])):
            offsets = [(query - vector) / deviation for vector in bank]
            nearest = min(float(np.sqrt(offset @ precision @ offset)) for offset in offsets)
            assert found[row, column] == pytest.approx(nearest, rel=1e-4)


def test_distances_are_exact_however_near_and_far(rng: np.random.Generator) -> None:
    """Also those that a product of long vectors rounds away."""
    fitted = WhitenedNeighbours.fit(correlated(200, 40, 0), domains(150, 50))
    offsets = np.geomspace(1e-5, 1e3, 9).astype(np.float32)[:, None] * rng.normal(size=(9, 40)).astype(np.float32)
    queries = np.concatenate([correlated(9, 40, 0) + offsets, correlated(20, 40, 1)])
    whitened = ((queries - fitted.centre) / fitted.spread) @ fitted.whitening
    expected = [cdist(whitened, bank).min(axis=1) for bank in (fitted.source, fitted.target)]
    np.testing.assert_allclose(fitted.distances(queries), np.stack(expected, axis=1), rtol=1e-5, atol=1e-5)


def test_units_and_offsets_of_coordinates_do_not_matter() -> None:
    vectors, queries, is_target = correlated(30, 6, 0), correlated(5, 6, 1), domains(24, 6)
    factors, offsets = np.geomspace(5.0, 0.2, 6).astype(np.float32), np.arange(6, dtype=np.float32)
    usual = WhitenedNeighbours.fit(vectors, is_target).distances(queries)
    changed = WhitenedNeighbours.fit(vectors * factors + offsets, is_target).distances(queries * factors + offsets)
    np.testing.assert_allclose(changed, usual, rtol=1e-3)


def test_what_varies_among_normal_clips_counts_little(rng: np.random.Generator) -> None:
    """Two coordinates that rise and fall together: apart from each other is far, both together is near."""
    both = rng.normal(size=(200, 1))
    vectors = np.hstack([both, both + 0.05 * rng.normal(size=(200, 1))]).astype(np.float32)
    fitted = WhitenedNeighbours.fit(vectors, domains(200, 0))
    together, apart = fitted.distances(np.array([[4.0, 4.0], [1.0, -1.0]], np.float32))[:, 0]
    assert apart > 3 * together


def test_the_way_from_one_domain_to_the_other_counts_little(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(60, 3)).astype(np.float32)
    vectors[40:, 0] += 20.0
    fitted = WhitenedNeighbours.fit(vectors, domains(40, 20))
    between, aside = fitted.distances(np.array([[10.0, 0.0, 0.0], [0.0, 10.0, 0.0]], np.float32)).min(axis=1)
    assert aside > 4 * between


def test_a_training_vector_is_at_distance_zero_of_its_own_domain() -> None:
    vectors, is_target = correlated(20, 4, 0), domains(15, 5)
    distances = WhitenedNeighbours.fit(vectors, is_target).distances(vectors)
    own = distances[np.arange(20), is_target.astype(int)]
    other = distances[np.arange(20), 1 - is_target.astype(int)]
    np.testing.assert_allclose(own, 0.0, atol=1e-5)
    assert (other > 1e-2).all()


def test_without_target_clips_the_target_is_infinitely_far() -> None:
    fitted = WhitenedNeighbours.fit(correlated(20, 4, 0), domains(20, 0))
    distances = fitted.distances(correlated(3, 4, 1))
    assert np.isfinite(distances[:, 0]).all() and (distances[:, 1] == np.inf).all()


def test_one_target_clip_is_the_nearest_of_its_domain() -> None:
    vectors = correlated(20, 4, 0)
    distances = WhitenedNeighbours.fit(vectors, domains(19, 1)).distances(vectors)
    assert distances[-1, 1] == pytest.approx(0.0, abs=1e-5)
    assert (distances[:-1, 1] > 1e-2).all()


def test_a_coordinate_that_never_moved_does_not_decide_alone() -> None:
    """It counts as if it varied by a hundredth of what the others do: noticed, but not without bounds."""
    vectors = correlated(40, 4, 0)
    vectors[:, 2] = 7.0
    fitted = WhitenedNeighbours.fit(vectors, domains(40, 0))
    queries = np.repeat(vectors[:1], 3, axis=0)
    usual = np.sqrt(np.mean(vectors.std(axis=0, dtype=np.float64) ** 2))
    queries[1, 2] += 0.01 * usual
    queries[2, 2] += usual
    unmoved, little, much = fitted.distances(queries)[:, 0]
    assert unmoved == pytest.approx(0.0, abs=1e-5)
    assert 0.1 < little < 10
    assert np.isfinite(much) and much > 10 * little


@pytest.mark.parametrize(
    "vectors",
    [
        pytest.param(np.ones((6, 4), np.float32), id="identical"),
        pytest.param(np.zeros((6, 4), np.float32), id="all zero"),
        pytest.param(np.eye(1, 4, dtype=np.float32).repeat(2, axis=0), id="two, identical"),
        pytest.param(np.repeat(np.arange(6, dtype=np.float32)[:, None], 4, axis=1), id="all coordinates alike"),
        pytest.param(np.eye(2, 400, dtype=np.float32), id="two of four hundred coordinates"),
    ],
)
def test_degenerate_training_sets_give_finite_distances(vectors: Vectors) -> None:
    fitted = WhitenedNeighbours.fit(vectors, domains(len(vectors), 0))
    away = vectors[:1] + np.resize(np.array([3.0, -3.0], np.float32), vectors.shape[1])
    near, far = fitted.distances(np.concatenate([vectors[:1], away]))[:, 0]
    assert near == pytest.approx(0.0, abs=1e-4)
    assert np.isfinite(far) and far > 1.0


def test_tensors_round_trip_through_a_file(tmp_path: Path) -> None:
    fitted = WhitenedNeighbours.fit(correlated(20, 4, 0), domains(20, 0))
    save_file(fitted.tensors(), tmp_path / "neighbours.safetensors")
    restored = WhitenedNeighbours.from_tensors(load_file(tmp_path / "neighbours.safetensors"))
    for name, tensor in fitted.tensors().items():
        np.testing.assert_array_equal(restored.tensors()[name], tensor)
    queries = correlated(5, 4, 1)
    np.testing.assert_array_equal(restored.distances(queries), fitted.distances(queries))


@pytest.mark.parametrize("lost", ["centre", "spread", "whitening", "source", "target"])
def test_a_missing_tensor_is_an_error(lost: str) -> None:
    tensors = WhitenedNeighbours.fit(correlated(20, 4, 0), domains(15, 5)).tensors()
    del tensors[lost]
    with pytest.raises(KeyError, match=lost):
        WhitenedNeighbours.from_tensors(tensors)
