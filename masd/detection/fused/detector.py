"""The default detector: distances of frames and of several views of a clip, in the unit of each domain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from masd.arrays import Array, Floats, Integers, Mask, Tensors, named, owned
from masd.config import DetectionSettings
from masd.detection.features.clip import ClipFeatures, FarFeatures
from masd.detection.features.views import VIEWS, ViewName, Views
from masd.detection.folds import domain_folds
from masd.detection.fused.frame_residuals import FrameResiduals, contexts_of, fit_frame_residuals
from masd.detection.fused.whitened import WhitenedNeighbours
from masd.detection.system import FittedSystem, SystemScores, TrainingClips

FRAMES: Literal["frames"] = "frames"
MemberName = Literal["frames"] | ViewName
Members = dict[MemberName, Floats]

WEIGHTS: dict[MemberName, float] = {
    FRAMES: 0.4,
    "band-mean": 0.2,
    "band-peak": 0.05,
    "band-change": 0.05,
    "modulation": 0.25,
    "latent": 0.05,
}
"""Weight of each member in the score: with these, the score is below the challenge's baseline on no machine of the
development fleets. Without a latent the others keep their proportions.
"""

LEAST_RATIO = 1e-6
"""The smallest distance: a copy of a training clip has distance 0, and its logarithm would be minus infinity."""


@dataclass(frozen=True)
class FusedDetector:
    """Score of a clip: ``min over domains of exp(weighted mean over members of log(distance / typical distance))``.

    Members are the frame residuals and a nearest neighbour for each view. ``typical`` ``[2]`` of a member is the
    geometric mean distance of a domain's training clips, each held out of the fit, to the nearest other clip (frames:
    to the other clips' frames) of their domain. So a score of 1 means "as far from the known normal clips as these are
    from each other" in either domain, however few clips the target has; 2 means twice as far.
    """

    frames: FrameResiduals
    neighbours: dict[ViewName, WhitenedNeighbours]
    typical: dict[MemberName, Floats]

    @classmethod
    def fit(cls, training: TrainingClips, settings: DetectionSettings, seed: int) -> FittedSystem:
        fitted, held_out = fit_clips(training.clips, training, settings, seed)
        scores, _ = minimum(weighted(held_out))
        return FittedSystem(fitted, scores, training.all_of_them)  # scores of clips that the network knows: corrected

    def score(self, clips: Sequence[ClipFeatures]) -> list[SystemScores]:
        """Window scores are left out where a clip comes without views of its windows, as those of a store do."""
        spans = [clip.spans for clip in clips]
        return scores_of(weighted(self.members_of(clips, spans)), spans)

    def score_views(self, log_mels: Sequence[Array], views: Views) -> tuple[Floats, Mask]:
        """Frames ``[T, F]`` in dB of ``n`` clips and their views ``[n, D]`` -> scores ``[n]``, and whether the target
        gave the minimum ``[n]``.
        """
        return minimum(weighted(self.member_ratios(log_mels, views)))

    def members_of(self, clips: Sequence[ClipFeatures] | Sequence[FarFeatures], spans: Sequence[Integers]) -> Members:
        """:meth:`member_ratios` of ``n`` clips, followed by those of all their windows ``spans`` ``[W, 2]`` where every
        clip comes with views of its windows.
        """
        log_mels, views = _sounds(clips)
        if not all(clip.window_views for clip in clips):
            return self.member_ratios(log_mels, views)
        return self.members_with_windows(log_mels, views, spans, joined([clip.window_views for clip in clips]))

    def member_ratios(self, log_mels: Sequence[Array], views: Views) -> Members:
        """The logarithm of ``distance / typical`` of each member, ``[n, 2]``: to the source and to the target."""
        return self._members(map(self.frames.squared_distances, log_mels), views)

    def members_with_windows(
        self, log_mels: Sequence[Array], views: Views, spans: Sequence[Integers], window_views: Views
    ) -> Members:
        """:meth:`member_ratios` of ``n`` clips, followed by those of all their windows.

        ``spans`` ``[W, 2]`` are the windows' frames, ``window_views`` ``[all windows, D]``. One pass for all: the
        megabytes they are compared with are read from memory once.
        """
        squared_distances = [self.frames.squared_distances(log_mel) for log_mel in log_mels]
        of_windows = [
            contexts_of(span, distances)
            for distances, own in zip(squared_distances, spans, strict=True)
            for span in own
        ]
        together: Views = {name: np.concatenate([views[name], window_views[name]]) for name in self.neighbours}
        return self._members(squared_distances + of_windows, together)

    def _members(self, squared_distances: Iterable[Array], views: Views) -> Members:
        distances: Members = {FRAMES: self.frames.distances(squared_distances)}
        distances |= {name: neighbours.distances(views[name]) for name, neighbours in self.neighbours.items()}
        return _log_ratios(distances, self.typical)

    def tensors(self, name: str) -> Tensors:
        out = named(FRAMES, self.frames.tensors()) | {f"{key}.typical": array for key, array in self.typical.items()}
        for view, neighbours in self.neighbours.items():
            out |= named(view, neighbours.tensors())
        return named(name, out)

    @classmethod
    def from_tensors(cls, name: str, tensors: Tensors) -> Self:
        own = owned(name, tensors)
        members = [member for member in WEIGHTS if member != "latent" or owned(member, own)]
        return cls(
            FrameResiduals.from_tensors(owned(FRAMES, own)),
            {view: WhitenedNeighbours.from_tensors(owned(view, own)) for view in members if view != FRAMES},
            {member: own[f"{member}.typical"].astype(np.float64) for member in members},
        )


def fit_clips(
    clips: Sequence[ClipFeatures] | Sequence[FarFeatures],
    training: TrainingClips,
    settings: DetectionSettings,
    seed: int,
) -> tuple[FusedDetector, Members]:
    """:func:`fit_fused` on one channel of the training clips."""
    log_mels, views = _sounds(clips)
    if not settings.latent:
        views.pop("latent", None)
    return fit_fused(
        log_mels, views, training.is_target, settings.held_out_folds, seed, training.recordings, training.unseen
    )


def fit_fused(
    log_mels: Sequence[Array],
    views: Views,
    is_target: Mask,
    folds: int,
    seed: int,
    recordings: Integers | None = None,
    unseen: Mask | None = None,
) -> tuple[FusedDetector, Members]:
    """Fit on the training clips' frames ``[T, F]`` and views ``[n, D]``; returns the detector and the held-out
    :meth:`FusedDetector.member_ratios` of each clip.

    Folds hold clips of both domains and whole ``recordings`` ``[n]`` (each clip its own where not given), and whitening
    is fitted without them too: with more coordinates than clips, distances of clips that shaped the covariance are far
    too small. Clips that are not ``unseen`` ``[n]`` by the network are brought to the latent distances of those that
    are.
    """
    recordings = np.arange(len(is_target)) if recordings is None else recordings
    parts = domain_folds(recordings, is_target, folds, np.random.default_rng(seed))
    frames, of_frames = fit_frame_residuals(log_mels, is_target, parts)
    held_out: dict[MemberName, Floats] = {FRAMES: of_frames}
    held_out |= {name: np.full((len(is_target), 2), np.inf) for name in views}
    for fold in parts:
        rest = np.setdiff1d(np.arange(len(is_target)), fold)
        if len(fold) == 0 or len(rest) < 2:
            continue
        for name, vectors in views.items():
            fitted = WhitenedNeighbours.fit(vectors[rest], is_target[rest])
            held_out[name][fold] = fitted.distances(vectors[fold])
    if unseen is not None and "latent" in held_out:
        held_out["latent"] = _as_if_unseen(held_out["latent"], is_target, unseen)
    typical = {name: _typical(distances, is_target) for name, distances in held_out.items()}
    neighbours = {name: WhitenedNeighbours.fit(vectors, is_target) for name, vectors in views.items()}
    return FusedDetector(frames, neighbours, typical), _log_ratios(held_out, typical)


def _as_if_unseen(distances: Floats, is_target: Mask, unseen: Mask) -> Floats:
    """The distances ``[n, 2]``, corrected for the network's memory of its training clips: multiplied by the ratio of
    the geometric means for source clips that it was not and was trained on.
    """
    logs = np.log(np.maximum(distances[:, 0], 1e-9))
    new, known = (logs[of & ~is_target & np.isfinite(logs)] for of in (unseen, ~unseen))
    if len(new) == 0 or len(known) == 0:
        return distances
    return np.where(unseen[:, None], distances, distances * np.exp(new.mean() - known.mean()))


def _typical(held_out: Floats, is_target: Mask) -> Floats:
    """Geometric means of the finite distances within each domain; a domain without any uses the value of the other."""
    means = []
    for column, domain in enumerate((~is_target, is_target)):
        own = held_out[domain, column]
        own = own[np.isfinite(own) & (own > 0)]
        means.append(float(np.exp(np.log(own).mean())) if len(own) else np.nan)
    known = np.nanmean(means) if np.isfinite(means).any() else 1.0
    return np.where(np.isfinite(means), means, known)


def joined(views: Sequence[Views]) -> Views:
    """Views of several clips, ``[clips, D]`` each, as those of one sequence."""
    return {name: np.concatenate([of_one[name] for of_one in views]) for name in VIEWS if name in views[0]}


def _sounds(clips: Sequence[ClipFeatures] | Sequence[FarFeatures]) -> tuple[list[Array], Views]:
    return [clip.log_mel for clip in clips], joined([clip.views for clip in clips])


def _log_ratios(distances: Members, typical: dict[MemberName, Floats]) -> Members:
    """The logarithm of ``distance / typical``."""
    return {name: np.log(np.maximum(distances[name] / typical[name], LEAST_RATIO)) for name in distances}


def weighted(members: Members) -> Floats:
    """The weighted mean over the members that are there, ``[n, 2]``: for the source and the target."""
    total = sum(WEIGHTS[name] for name in members)
    mean: Floats = np.sum([WEIGHTS[name] / total * values for name, values in members.items()], axis=0)
    return mean


def scores_of(ratios: Floats, spans: Sequence[Integers]) -> list[SystemScores]:
    """:func:`weighted` of :meth:`FusedDetector.members_of` -> the scores of each clip."""
    if len(ratios) > len(spans):
        return [
            SystemScores(score, of_windows, from_target)
            for score, from_target, of_windows in spread_over_windows(ratios, spans)
        ]
    return [SystemScores(float(s), np.empty(0), bool(t)) for s, t in zip(*minimum(ratios), strict=True)]


def spread_over_windows(ratios: Floats, spans: Sequence[Integers]) -> list[tuple[float, bool, Floats]]:
    """:func:`weighted` of ``n`` clips, followed by those of their windows ``spans`` ``[W, 2]`` each -> score of
    each clip, whether the target gave it, and how it spreads over the windows ``[W]``, larger where the sound is less
    like the known clips.

    The geometric mean of a clip's windows is its score: a window is shorter than the clips it is compared with, so its
    own distance says where, not how much.
    """
    scores, from_target = minimum(ratios[: len(spans)])
    parts = np.split(ratios[len(spans) :], np.cumsum([len(own) for own in spans])[:-1])
    return [
        (float(score), bool(target), _spread(own[:, int(target)], float(score)))
        for score, target, own in zip(scores, from_target, parts, strict=True)
    ]


def _spread(own: Floats, score: float) -> Floats:
    spread: Floats = score * np.exp(own - own.mean())
    return spread


def minimum(ratios: Floats) -> tuple[Floats, Mask]:
    """:func:`weighted` -> scores ``[n]``, and whether the target gave the minimum ``[n]``."""
    return np.exp(ratios.min(axis=1)), ratios[:, 1] < ratios[:, 0]
