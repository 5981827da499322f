"""Write and read ``reference.parquet`` of a bundle, the reference of the drift check.

It has one row per normal training clip and the columns of the inference log: properties of the clip, and the values of
a model that was not trained on it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from masd.arrays import Floats, Mask
from masd.audio.signals import Signals
from masd.config import SystemName
from masd.detection.features.clip import ClipFeatures
from masd.detection.result import ClipScore
from masd.drift.statistics import MODEL_COLUMNS, rounded
from masd.errors import MasdError, one_line


def make_reference(
    about: pd.DataFrame,
    clips: Sequence[ClipFeatures],
    scores: Floats,
    distances: Floats | None,
    unseen: Mask,
    *,
    machine_type: str,
    system: SystemName,
    threshold: float,
) -> pd.DataFrame:
    """The table, one row per clip.

    :param about: rows of the log-mel store's clip table, one per clip.
    :param scores: held-out scores ``[n]`` of ``system``, whose threshold is ``threshold``.
    :param distances: held-out distances ``[n]`` of the embeddings; None without a network.
    :param unseen: ``[n]``, which source clips the network was not trained on. If there are some, the others get no
        model values, because the network remembers them: their values are not comparable with those of new clips.
    """
    rows = []
    known = [None] * len(clips) if distances is None else distances.tolist()
    for (_, clip), features, score, distance in zip(about.iterrows(), clips, scores, known, strict=True):
        result = ClipScore(
            machine_type=machine_type,
            model_version="",
            system=system,
            score=float(score),
            threshold=threshold,
            domain="target" if clip["domain"] == "target" else "source",
            duration_s=float(clip["duration_s"]),
            segments=(),
            reconstruction_error=features.mean_error,
            systems={},
            signals=Signals.of_row({str(name): value for name, value in clip.items()}),
            embedding_distance=distance,
        )
        rows.append(result.to_record())
    reference = pd.DataFrame(rows)
    if distances is None:
        reference = reference.drop(columns=["reconstruction_error", "embedding_distance"])
    if unseen.any():
        is_target = about["domain"].to_numpy() == "target"
        reference.loc[~unseen & ~is_target, [name for name in MODEL_COLUMNS if name in reference]] = np.nan
    return reference


def read_reference(file: Path) -> pd.DataFrame:
    """The compared columns of ``reference.parquet``, with model values of both domains in their share of the clips.

    Source clips have model values only if the network was not trained on them, target clips always. So some target
    clips are left out: otherwise their share would be larger than in any real log.

    :raises MasdError: not a table, or one with none of the columns.
    """
    try:
        clips = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise MasdError(
            f"{file}: cannot be read: {one_line(error, 160)}; fetch the bundle again, or train it again"
        ) from error
    reference = rounded(clips)
    if reference.empty or "domain" not in clips:
        raise MasdError(f"{file} is not a drift reference: train the bundle again with this version of masd")
    own = [name for name in MODEL_COLUMNS if name in reference]
    target = (clips["domain"] == "target").to_numpy()
    if own and not target.all():
        share = float(reference.loc[~target, own].notna().all(axis=1).mean())
        rows = np.flatnonzero(target)
        kept = np.linspace(0, len(rows) - 1, round(share * len(rows))).astype(int)
        reference.loc[np.setdiff1d(rows, rows[kept]), own] = np.nan
    return reference
