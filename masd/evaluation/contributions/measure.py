"""What each member of the default detector contributes on one machine, without any label: how well it tells normal
clips from the same clips with a synthetic fault.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from masd.arrays import Array
from masd.data.store import FeatureStore
from masd.detection.features.extractor import CLIPS_AT_ONCE, FeatureExtractor
from masd.detection.features.views import ViewName, Views
from masd.detection.folds import domain_folds
from masd.detection.fused.detector import WEIGHTS, FusedDetector, MemberName, Members, fit_fused, joined, weighted
from masd.detection.fused.two_microphones import TwoMicrophones
from masd.detection.scorer import Scorer
from masd.evaluation.contributions.synthetic_faults import faulty
from masd.progress import Progress

MOST_CLIPS = 40
"""Clips that are held out and changed; with the next number it bounds the time, whatever a machine has."""

MOST_FITTED = 200

FEWEST_CLIPS = 10

DRAW_SEED = 0
"""Of every draw: the same clips, the same report."""


@dataclass(frozen=True)
class Contribution:
    """Of one member: its ``weight`` in the score, the AUC of the member ``alone``, and of the score ``without`` it."""

    weight: float
    alone: float
    without: float


@dataclass(frozen=True)
class Contributions:
    """Shares of pairs of a held-out normal clip and a clip with a synthetic fault in which the latter has the higher
    score: ``auc`` of the whole score, and :class:`Contribution` of each member. ``clips`` were held out.
    """

    clips: int
    auc: float
    members: dict[MemberName, Contribution]

    def to_dict(self) -> dict[str, Any]:
        """For ``metrics.json``."""
        return asdict(self)


def measure_contributions(
    scorer: Scorer, store: FeatureStore, progress: Progress | None = None
) -> Contributions | None:
    """From a store's normal training clips: detectors are fitted again on those that are not held out.

    Whole recordings are held out. None for a model whose system has no members, and with too few clips. A model with a
    reference channel has the members of its near detector.
    """
    served = scorer.detectors.systems[scorer.system]
    if isinstance(served, TwoMicrophones):
        served = served.near
    rows = store.normal_rows()
    if not isinstance(served, FusedDetector) or len(rows) < FEWEST_CLIPS:
        return None
    rng, settings = np.random.default_rng(DRAW_SEED), scorer.settings
    is_target = store.clips["domain"].to_numpy()[rows] == "target"
    if is_target.all():
        is_target = np.zeros_like(is_target)  # one domain only, whatever it is called
    recordings, folds = store.clips["recording"].to_numpy()[rows], settings.detection.held_out_folds
    sounds = _Sounds(scorer.extract, list(served.neighbours))
    normal: list[Members] = []
    changed: list[Members] = []
    left = MOST_CLIPS
    for fold in domain_folds(recordings, is_target, folds, rng):
        tested = rng.permutation(fold)[:left]
        rest = rng.permutation(np.setdiff1d(np.arange(len(rows)), fold))
        used = np.concatenate([rest[~is_target[rest]][:MOST_FITTED], rest[is_target[rest]]])
        if len(tested) == 0 or len(used) < FEWEST_CLIPS // 2:
            continue
        known = [store.log_mel(int(row)) for row in rows[used]]
        detector, _ = fit_fused(known, sounds.views(known), is_target[used], folds, settings.seed, recordings[used])
        held_out = [store.log_mel(int(row)) for row in rows[tested]]
        normal.append(sounds.ratios(detector, held_out))
        changed += [sounds.ratios(detector, list(faulty(log_mel, rng))) for log_mel in held_out]
        left -= len(tested)
        if progress:
            progress(MOST_CLIPS - left, min(MOST_CLIPS, len(rows)), "clips")
    store.release()
    return compare(_together(normal), _together(changed)) if normal else None


@dataclass(frozen=True)
class _Sounds:
    """The views ``names`` of clips, a few clips at a time, so that memory stays flat."""

    extract: FeatureExtractor
    names: Sequence[ViewName]

    def views(self, log_mels: Sequence[Array]) -> Views:
        """Of ``n`` clips ``[T, F]``: ``[n, D]`` each."""
        parts = [joined([clip.views for clip in self.extract(some)]) for some in _batches(log_mels)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.names}

    def ratios(self, detector: FusedDetector, log_mels: Sequence[Array]) -> Members:
        """Of ``n`` clips ``[T, F]``: ``[n, 2]`` each."""
        return detector.member_ratios(log_mels, self.views(log_mels))


def compare(normal: Members, changed: Members) -> Contributions:
    """From the members' log ratios ``[n, 2]`` of normal clips and ``[m, 2]`` of changed ones."""

    def auc(*members: MemberName) -> float:
        return _auc({name: normal[name] for name in members}, {name: changed[name] for name in members})

    total = sum(WEIGHTS[name] for name in normal)
    return Contributions(
        clips=len(next(iter(normal.values()))),
        auc=auc(*normal),
        members={
            name: Contribution(WEIGHTS[name] / total, auc(name), auc(*(other for other in normal if other != name)))
            for name in normal
        },
    )


def _auc(normal: Members, changed: Members) -> float:
    scores = [weighted(ratios).min(axis=1) for ratios in (normal, changed)]
    return float(roc_auc_score(np.repeat([0, 1], [len(part) for part in scores]), np.concatenate(scores)))


def _together(parts: Sequence[Members]) -> Members:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batches(log_mels: Sequence[Array]) -> Iterator[Sequence[Array]]:
    return (log_mels[start : start + CLIPS_AT_ONCE] for start in range(0, len(log_mels), CLIPS_AT_ONCE))
