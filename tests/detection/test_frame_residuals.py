"""Frame residuals: against the definition, what they do not depend on, and recordings that hardly have frames."""

import numpy as np
import pytest

from masd.detection.fused.frame_residuals import FrameResiduals, contexts_of, fit_frame_residuals

BANDS = 12


def clips(count: int, frames: int = 40, seed: int = 0, level: float = -40.0) -> list[np.ndarray]:
    """Of frames that vary on four slow patterns, and a little everywhere."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(1000).normal(size=(4, BANDS))
    slow = np.cumsum(rng.normal(0, 0.3, (count, frames, 4)), axis=1)
    return list((slow @ patterns + rng.normal(size=(count, frames, BANDS)) + level).astype(np.float32))


def whole(log_mels: list[np.ndarray], is_target: np.ndarray | None = None) -> FrameResiduals:
    flags = np.zeros(len(log_mels), bool) if is_target is None else is_target
    return fit_frame_residuals(log_mels, flags, [np.arange(len(log_mels))])[0]


def by_definition(model: FrameResiduals, log_mel: np.ndarray) -> np.ndarray:
    """Run by run and frame by frame, in double precision."""
    mean, axes = model.mean.astype(np.float64), model.axes.astype(np.float64)
    out = np.zeros((len(log_mel) - 4, len(model.centres)))
    for start in range(len(out)):
        run = log_mel[start : start + 5] - mean
        residual = run - axes @ np.einsum("kfa,kf->a", axes, run)
        for domain, (centre, precision) in enumerate(zip(model.centres, model.precisions, strict=True)):
            out[start, domain] = np.mean([(frame - centre) @ precision @ (frame - centre) for frame in residual])
    return out


def test_squares_are_those_of_the_definition() -> None:
    model = whole(clips(12) + clips(4, seed=1, level=-30.0), np.arange(16) >= 12)
    for log_mel in clips(3, seed=2) + clips(2, frames=5, seed=3) + [clips(1, seed=4)[0] + 20]:
        found, expected = model.squared_distances(log_mel), by_definition(model, log_mel)
        np.testing.assert_allclose(found, expected, rtol=1e-3)  # of single runs, in single precision
        np.testing.assert_allclose(model.distances([found]), model.distances([expected]), rtol=1e-4)


def test_axes_are_orthonormal_and_keep_what_varies_most() -> None:
    model = whole(clips(12))
    flat = model.axes.reshape(5 * BANDS, -1)
    np.testing.assert_allclose(flat.T @ flat, np.eye(16), atol=1e-5)
    frames = np.concatenate(clips(12)) - model.mean
    runs = np.stack([frames[start : start + 5].ravel() for start in range(len(frames) - 4)])
    assert np.square(runs @ flat).sum() > 0.8 * np.square(runs).sum()


def test_normal_frames_are_at_about_the_root_of_the_number_of_bands() -> None:
    model = whole(clips(40, 100))
    distances = model.distances(model.squared_distances(clip) for clip in clips(20, 100, seed=1))
    np.testing.assert_allclose(distances[:, 0], np.sqrt(BANDS), rtol=0.15)  # a little less, as variances are shrunk
    assert np.isinf(distances[:, 1]).all()


@pytest.mark.parametrize("gain", [0.5, 4.0])
def test_units_do_not_matter(gain: float) -> None:
    """Of all clips alike: decibels, or anything proportional to them."""
    usual, other = whole(clips(12)), whole([gain * clip for clip in clips(12)])
    for clip in clips(3, seed=1):
        np.testing.assert_allclose(other.squared_distances(gain * clip), usual.squared_distances(clip), rtol=1e-3)


def test_held_out_distances_are_of_a_model_that_knows_the_axes_but_not_the_clip() -> None:
    log_mels, is_target = clips(12) + clips(6, seed=1, level=-30.0), np.arange(18) >= 12
    folds = [np.array([row for row in range(18) if row % 3 == number]) for number in range(3)]
    model, held_out = fit_frame_residuals(log_mels, is_target, folds)
    for fold in folds:
        rest = np.setdiff1d(np.arange(18), fold)
        centres, precisions = [], []
        for domain in (False, True):
            residual = np.concatenate([residuals(model, log_mels[row]) for row in rest if is_target[row] == domain])
            covariance = np.cov(residual.T, bias=True)
            level = np.trace(covariance) / BANDS
            centres.append(residual.mean(axis=0))
            precisions.append(np.linalg.inv(0.97 * covariance + 0.03 * level * np.eye(BANDS)))
        expected = FrameResiduals(model.mean, model.axes, np.stack(centres), np.stack(precisions))
        for row in fold:
            squares = np.sort(by_definition(expected, log_mels[row]), axis=0)
            root = np.sqrt(squares[: int(0.9 * len(squares))].mean(axis=0))
            np.testing.assert_allclose(held_out[row], root, rtol=1e-4)


def test_a_tenth_of_the_clip_may_be_anything() -> None:
    """A door that slams in the room of a normal machine."""
    model, (clip,) = whole(clips(12)), clips(1, frames=44, seed=1)
    squared = model.squared_distances(clip)
    loud = squared.copy()
    loud[[3, 20, 21, 22]] = 1e6
    assert model.distances([loud])[0, 0] == pytest.approx(np.sqrt(np.delete(squared, [3, 20, 21, 22]).mean()))
    loud[30] = 1e6
    assert model.distances([loud])[0, 0] > 100


def test_a_model_of_an_older_bundle_counts_all_contexts() -> None:
    model = whole(clips(12))
    tensors = model.tensors()
    assert FrameResiduals.from_tensors(tensors).kept == model.kept == 0.9
    older = FrameResiduals.from_tensors({name: array for name, array in tensors.items() if name != "kept"})
    squared = model.squared_distances(clips(1, seed=1)[0])
    assert older.distances([squared])[0, 0] == np.sqrt(squared.mean(dtype=np.float64))


def residuals(model: FrameResiduals, log_mel: np.ndarray) -> np.ndarray:
    """Of shape ``[5 (T - 4), F]``."""
    axes = model.axes.astype(np.float64)
    runs = [log_mel[start : start + 5] - model.mean.astype(np.float64) for start in range(len(log_mel) - 4)]
    return np.concatenate([run - axes @ np.einsum("kfa,kf->a", axes, run) for run in runs])


def test_a_domain_whose_only_clip_is_held_out_is_infinitely_far() -> None:
    log_mels, is_target = clips(6) + clips(1, seed=1), np.arange(7) == 6
    _, held_out = fit_frame_residuals(log_mels, is_target, [np.array([0, 1, 6]), np.arange(2, 6)])
    assert np.isinf(held_out[[0, 1, 6], 1]).all() and np.isfinite(held_out[:, 0]).all()
    assert np.isfinite(held_out[2:6, 1]).all()


def test_a_clip_of_fewer_than_five_frames_is_repeated() -> None:
    model, (clip,) = whole(clips(12)), clips(1, frames=3, seed=1)
    np.testing.assert_allclose(model.squared_distances(clip), model.squared_distances(np.concatenate([clip, clip])[:5]))
    short = whole([frames[:2] for frames in clips(12)])
    assert np.isfinite(short.squared_distances(clip)).all()


@pytest.mark.parametrize("same", [0.0, -100.0])
def test_recordings_without_any_variation(same: float) -> None:
    model = whole([np.full((20, BANDS), same, np.float32)] * 4)
    quiet, loud = model.squared_distances(np.full((9, BANDS), same, np.float32)), model.squared_distances(clips(1)[0])
    assert (quiet < 1e-3).all() and np.isfinite(loud).all() and (loud > 1e3).all()


def test_contexts_of_a_window() -> None:
    squared_distances = np.arange(16, dtype=np.float32)[:, None]  # of a clip of 20 frames
    assert contexts_of(np.array([0, 8]), squared_distances).ravel().tolist() == [0, 1, 2, 3]
    assert contexts_of(np.array([12, 20]), squared_distances).ravel().tolist() == [12, 13, 14, 15]
    assert contexts_of(np.array([18, 20]), squared_distances).ravel().tolist() == [15]
    assert contexts_of(np.array([0, 3]), squared_distances[:1]).ravel().tolist() == [0]


def test_tensors_round_trip() -> None:
    model = whole(clips(12))
    again = FrameResiduals.from_tensors(model.tensors())
    (clip,) = clips(1, seed=1)
    np.testing.assert_array_equal(again.squared_distances(clip), model.squared_distances(clip))
