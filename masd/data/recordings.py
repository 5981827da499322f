"""Which clips of a data set are copies of others, and which come from one recording."""

import re
from collections.abc import Hashable, Sequence
from pathlib import PurePath

import numpy as np
import pandas as pd

from masd.arrays import Array, Integers, Mask
from masd.config import DataSettings
from masd.data.clips import NO_ATTRIBUTE
from masd.data.copies import Overlap, connected, copies, find_overlaps
from masd.data.names import split_attributes
from masd.data.prints import Prints
from masd.data.similarity import similar
from masd.errors import MasdError

LOSSY_SUFFIXES = frozenset({".mp2", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma"})
NAMED = 3
"""Copies that a message names."""

PATTERN, SIMILARITY = "pattern:", "similarity"


def add_recordings(
    clips: pd.DataFrame, prints: Prints, settings: DataSettings, spectra: Sequence[Array] = ()
) -> pd.DataFrame:
    """The clip table with three columns more; ``prints`` are those of its rows, and so are ``spectra``
    (:func:`~masd.data.similarity.half_spectra`), which only ``data.group_by=similarity`` needs.

    ``copy_of`` names the training or supplemental clip that a training or supplemental clip is a copy of, and that
    counts instead of it. ``recording`` numbers the recordings that training clips come from: those of
    ``data.group_by``, joined where clips share sound. ``in_training`` names a training clip that a test clip shares
    sound with. The names are empty where there is none. Test clips change nothing about the others.

    :raises MasdError: ``data.group_by`` fits no clip.
    """
    overlaps = find_overlaps(prints)
    is_test = (clips["split"] == "test").to_numpy()
    names = clips["name"].to_numpy()
    within = [o for o in overlaps if not is_test[o.first] and not is_test[o.second]]
    order = [row for row in _preferred(clips) if not is_test[row]]
    copy_of = np.full(len(clips), "", dtype=object)
    for row, original in copies(prints, within, order).items():
        copy_of[row] = names[original]
    in_training = np.full(len(clips), "", dtype=object)
    for overlap in overlaps:
        if is_test[overlap.first] != is_test[overlap.second]:
            test, other = sorted((overlap.first, overlap.second), key=lambda row: not is_test[row])
            in_training[test] = names[other]
    clips = clips.assign(copy_of=copy_of, in_training=in_training)
    return clips.assign(recording=_recordings(clips, within, settings, spectra))


def copies_note(clips: pd.DataFrame) -> str | None:
    """One line on the copies among the training clips; None where there are none."""
    found = clips[clips["copy_of"] != ""]
    if found.empty:
        return None
    return (
        f"{len(found)} training clip{'s are copies' if len(found) > 1 else ' is a copy'} of others and "
        f"count{'' if len(found) > 1 else 's'} once: {_pairs(found['name'], found['copy_of'])}"
    )


def heard_in_training_note(clips: pd.DataFrame) -> str | None:
    """One line on the test clips whose sound is among the training clips; None where there are none."""
    found = clips[clips["in_training"] != ""]
    if found.empty:
        return None
    return (
        f"{len(found)} test clip{'s share' if len(found) > 1 else ' shares'} sound with training clips, so the result "
        f"looks better than it is: {_pairs(found['name'], found['in_training'])}"
    )


def _pairs(names: "pd.Series[str]", others: "pd.Series[str]") -> str:
    shown = ", ".join(f"{name} = {other}" for name, other in list(zip(names, others, strict=True))[:NAMED])
    return shown + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _preferred(clips: pd.DataFrame) -> list[int]:
    """Rows as copies are kept: noisy ones first, then lossless, of higher rate, of the target, longer, by name."""
    keys = [
        (
            kind != "noisy",
            PurePath(path).suffix.lower() in LOSSY_SUFFIXES,
            -int(rate),
            domain != "target",
            -float(duration),
            name,
        )
        for kind, path, rate, domain, duration, name in zip(
            *(clips[c] for c in ("kind", "path", "sample_rate_in", "domain", "duration_s", "name")), strict=True
        )
    ]
    return sorted(range(len(keys)), key=keys.__getitem__)


def _recordings(
    clips: pd.DataFrame, overlaps: Sequence[Overlap], settings: DataSettings, spectra: Sequence[Array]
) -> Integers:
    keys = group_keys(clips, settings.group_by, spectra)
    first_of: dict[Hashable, int] = {}
    pairs = [(overlap.first, overlap.second) for overlap in overlaps]
    for row, key in enumerate(keys):
        if key is not None:
            pairs.append((first_of.setdefault(key, row), row))
    return connected(len(clips), pairs)


def group_keys(
    clips: pd.DataFrame, group_by: str | tuple[str, ...], spectra: Sequence[Array] = ()
) -> list[Hashable | None]:
    """What clips of one recording have in common, by row; None for a clip that is a recording of its own, or a copy.

    :raises MasdError: ``group_by`` names an attribute, or is a pattern, that no training clip has.
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
            f"{', '.join(known) or 'none'}"
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
"""Attributes are taken to tell recordings apart where there are at least so many combinations of their values, of at
most so many clips each in the median: a condition that is recorded often is no recording."""


def _plausible(texts: Sequence[str], training: Mask) -> list[Hashable | None]:
    keys: list[Hashable | None] = [None if text in (NO_ATTRIBUTE, "") else text for text in texts]
    counts = pd.Series(
        [key for key, used in zip(keys, training, strict=True) if used and key is not None]
    ).value_counts()
    plausible = len(counts) >= FEWEST_COMBINATIONS and counts.max() > 1 and counts.median() <= MOST_CLIPS
    return keys if plausible else [None] * len(keys)
