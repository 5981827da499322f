"""Columns of the clip table on copies and recordings."""

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from masd.arrays import Array, Integers
from masd.audio.sound_properties import is_lossy
from masd.config import DataSettings
from masd.data.recordings.copies import Overlap, connected, copies, find_overlaps
from masd.data.recordings.groups import group_keys
from masd.data.recordings.prints import Prints

NAMED = 3
"""The most copies that a message names."""


def add_recordings(
    clips: pd.DataFrame, prints: Prints, settings: DataSettings, spectra: Sequence[Array] = ()
) -> pd.DataFrame:
    """The clip table with three more columns. ``prints`` belong to its rows, as do ``spectra``
    (:func:`~masd.data.recordings.similarity.half_spectra`), which only ``data.group_by=similarity`` needs.

    ``copy_of`` names the clip that counts instead of a training or supplemental clip, because this is a copy of it.
    ``recording`` numbers the recordings of the training clips: those of ``data.group_by``, joined if their clips share
    sound. ``in_training`` names a training clip that shares sound with a test clip. Empty names mean none. Test clips
    do not influence the other columns.

    :raises MasdError: ``data.group_by`` matches no clip.
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
    """One line on the copies among the training clips; None without copies."""
    found = clips[clips["copy_of"] != ""]
    if found.empty:
        return None
    return (
        f"{len(found)} training "
        f"clip{'s are copies of others and are' if len(found) > 1 else ' is a copy of another and is'} "
        f"left out: {_pairs(found['name'], found['copy_of'])}"
    )


def shared_sound_note(clips: pd.DataFrame) -> str | None:
    """One line on the test clips that share sound with training clips; None without such clips."""
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
    """Rows in the order in which copies are kept: noisy, lossless, higher rate, target domain, longer, then by name."""
    keys = [
        (
            kind != "noisy",
            is_lossy(codec),
            -int(rate),
            domain != "target",
            -float(duration),
            name,
        )
        for kind, codec, rate, domain, duration, name in zip(
            *(clips[c] for c in ("kind", "codec", "sample_rate_in", "domain", "duration_s", "name")), strict=True
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
