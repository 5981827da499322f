"""The key that clips of one recording share, by ``data.group_by``: attributes, a pattern of names, or similarity."""

import re
from collections.abc import Hashable, Sequence

import pandas as pd

from masd.arrays import Array, Mask
from masd.data.clips import NO_ATTRIBUTE
from masd.data.folders.names import split_attributes
from masd.data.recordings.similarity import similar
from masd.errors import MasdError

PATTERN, SIMILARITY = "pattern:", "similarity"


def group_keys(
    clips: pd.DataFrame, group_by: str | tuple[str, ...], spectra: Sequence[Array] = ()
) -> list[Hashable | None]:
    """The key of the recording of each row; None for a clip that is its own recording, or a copy.

    :raises MasdError: no training clip has the attribute or matches the pattern of ``group_by``.
    """
    training = ((clips["split"] == "train") & (clips["kind"] == "noisy") & (clips["copy_of"] == "")).to_numpy()
    if group_by == "none":
        keys: list[Hashable | None] = [None] * len(clips)
    elif group_by == SIMILARITY:
        keys = similar(spectra, list(clips["domain"]), training)
    elif isinstance(group_by, str) and group_by.startswith(PATTERN):
        keys = _by_pattern(clips["name"], group_by.removeprefix(PATTERN))
    elif group_by == "auto":
        keys = _plausible(list(clips["attributes"]), training)
    else:
        keys = _by_attributes(list(clips["attributes"]), (group_by,) if isinstance(group_by, str) else group_by)
    keys = [key if is_training else None for key, is_training in zip(keys, training, strict=True)]
    if group_by not in ("none", "auto", SIMILARITY) and not any(key is not None for key in keys):
        known = sorted({name for text in clips["attributes"][training] for name in split_attributes(text)})
        raise MasdError(
            f"data.group_by={group_by!r} matches none of the {training.sum()} training clips; their attributes are: "
            f"{', '.join(known) or 'none'}; correct the pattern or the attribute's name"
        )
    return keys


def _by_pattern(names: "pd.Series[str]", pattern: str) -> list[Hashable | None]:
    found = [re.search(pattern, name) for name in names]
    return [match[1] if match else None for match in found]


def _by_attributes(texts: Sequence[str], wanted: tuple[str, ...]) -> list[Hashable | None]:
    keys: list[Hashable | None] = []
    for text in texts:
        own = split_attributes(text)
        keys.append(tuple(own[name] for name in wanted) if all(name in own for name in wanted) else None)
    return keys


FEWEST_COMBINATIONS, MOST_CLIPS = 5, 6
"""Attributes identify recordings if there are at least so many combinations of their values, with at most so many clips
each in the median: a condition with many clips is not one recording."""


def _plausible(texts: Sequence[str], training: Mask) -> list[Hashable | None]:
    keys: list[Hashable | None] = [None if text in (NO_ATTRIBUTE, "") else text for text in texts]
    counts = pd.Series(
        [key for key, used in zip(keys, training, strict=True) if used and key is not None]
    ).value_counts()
    plausible = len(counts) >= FEWEST_COMBINATIONS and counts.max() > 1 and counts.median() <= MOST_CLIPS
    return keys if plausible else [None] * len(keys)
