"""No recording is on both sides of a held-out split."""

import numpy as np
import pytest

from masd.detection.folds import domain_folds, recording_folds


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("folds", [2, 5, 20])
def test_recordings_are_whole_and_every_row_is_in_one_fold(folds: int) -> None:
    recordings = np.random.default_rng(1).integers(0, 12, 60) * 7
    parts = recording_folds(recordings, folds, rng())
    assert sorted(np.concatenate(parts).tolist()) == list(range(60))
    assert len(parts) == min(folds, len(np.unique(recordings)))
    for number, part in enumerate(parts):
        assert len(part)
        others = np.concatenate([other for at, other in enumerate(parts) if at != number])
        assert not np.isin(recordings[part], recordings[others]).any()


def test_clips_of_one_recording_are_split_all_the_same() -> None:
    assert sorted(map(len, recording_folds(np.full(10, 3), 5, rng()))) == [2, 2, 2, 2, 2]


def test_folds_have_both_domains_as_far_as_they_go() -> None:
    recordings, is_target = np.arange(20) // 2, np.arange(20) >= 14
    parts = domain_folds(recordings, is_target, 5, rng())
    assert sorted(np.concatenate(parts).tolist()) == list(range(20))
    assert [int(is_target[part].sum()) for part in parts] == [2, 2, 2, 0, 0]
    for part in parts:
        assert not np.isin(recordings[part], recordings[np.setdiff1d(np.arange(20), part)]).any()


def test_a_recording_with_both_domains_stays_whole() -> None:
    recordings, is_target = np.array([0, 1, 2, 0, 3, 4]), np.array([False, False, False, True, True, True])
    for part in domain_folds(recordings, is_target, 3, rng()):
        assert (0 in part) == (3 in part)


def test_a_domain_of_one_recording_is_split_by_clips() -> None:
    recordings, is_target = np.array([*range(10), *[10] * 5]), np.arange(15) >= 10
    assert [int(is_target[part].sum()) for part in domain_folds(recordings, is_target, 5, rng())] == [1] * 5
