"""Held-out splits: clips of one recording are always on the same side."""

import numpy as np

from masd.arrays import Integers, Mask


def recording_folds(recordings: Integers, folds: int, rng: np.random.Generator) -> list[Integers]:
    """Rows ``[n]`` of each of at most ``folds`` folds, given the recording of every row ``[n]``.

    If all rows belong to one recording, each row counts as a recording, because there is no better split.
    """
    distinct = np.unique(recordings)
    if len(distinct) < 2:
        recordings = distinct = np.arange(len(recordings))
    parts = np.array_split(rng.permutation(distinct), min(folds, max(len(distinct), 1)))
    return [np.flatnonzero(np.isin(recordings, part)) for part in parts]


def domain_folds(recordings: Integers, is_target: Mask, folds: int, rng: np.random.Generator) -> list[Integers]:
    """The same with clips of both domains in each fold, as far as they go; a fold may be empty.

    A recording with clips of both domains goes with the domain of its first clip. So do the clips of a domain that is
    one recording, which are split as if they were recordings of their own.
    """
    _, first, recordings = np.unique(recordings, return_index=True, return_inverse=True)
    goes_with = is_target[first]
    rows: list[list[Integers]] = []
    for domain in (False, True):
        own = np.flatnonzero(goes_with[recordings] == domain)
        parts = recording_folds(recordings[own], folds, rng) if len(own) else []
        rows.append([own[part] for part in parts] + [np.empty(0, np.int64)] * (folds - len(parts)))
    return [np.concatenate(both) for both in zip(*rows, strict=True)]
