"""One detector per domain and the minimum of the two (paper, section 2.4)."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from masd.arrays import Array, Floats, Integers, Mask, Tensors, named, owned
from masd.config import DetectionSettings
from masd.detection.folds import recording_folds
from masd.detection.paper.bank import Bank, DomainName
from masd.detection.paper.smote import oversample_target

MAX_LEAVE_ONE_OUT = 20
"""Up to this many clips a domain's held-out scores leave out one clip at a time, beyond it a fold at a time."""


@dataclass(frozen=True)
class DomainDetector:
    """A detector of one domain; its scores are ``(raw - offset) / scale`` (0 and 1 unless z-scored)."""

    detector: Bank
    offset: float = 0.0
    scale: float = 1.0

    def score(self, vectors: Array) -> Floats:
        return (self.detector.score(vectors) - self.offset) / self.scale


@dataclass(frozen=True)
class DomainMinimum:
    """The anomaly score of the paper, section 2.4: the smaller of the two domain models' scores."""

    source: DomainDetector
    target: DomainDetector | None

    def score(self, vectors: Array) -> tuple[Floats, Mask]:
        """``[n, d + 1]`` -> scores ``[n]``, and whether the target model gave the minimum ``[n]``."""
        source = self.source.score(vectors)
        if self.target is None:
            return source, np.zeros(len(source), dtype=np.bool_)
        target = self.target.score(vectors)
        return np.minimum(source, target), target < source

    def tensors(self) -> Tensors:
        out: Tensors = {}
        for name, domain in (("source", self.source), ("target", self.target)):
            if domain is not None:
                own = domain.detector.tensors() | {"offset_scale": np.array([domain.offset, domain.scale])}
                out |= named(name, own)
        return out

    @classmethod
    def from_tensors(cls, tensors: Tensors, bank: type[Bank]) -> Self:
        def domain(name: DomainName) -> DomainDetector | None:
            own = owned(name, tensors)
            if not own:
                return None
            offset, scale = own["offset_scale"].astype(np.float64)
            return DomainDetector(bank.from_tensors(own), float(offset), float(scale))

        source = domain("source")
        if source is None:
            raise KeyError("source")
        return cls(source, domain("target"))


def fit_domains(
    bank: type[Bank],
    vectors: Array,
    groups: Integers,
    clip_is_target: Mask,
    settings: DetectionSettings,
    seed: int,
    recordings: Integers | None = None,
) -> tuple[DomainMinimum, Floats]:
    """Fit both domains on ``vectors`` ``[n, d + 1]`` whose clips are ``groups`` ``[n]``; ``clip_is_target`` is
    ``[clips]``. Returns them with a held-out score ``[clips]`` of every training clip.

    The held-out score of a clip comes from detectors fitted without its recording (``recordings`` ``[clips]``, each
    clip its own where not given; and without synthetic vectors made from it): one recording at a time in small domains,
    ``held_out_folds`` folds otherwise. Of a clip that the network was trained on it is too low still;
    :mod:`masd.learning.calibration` keeps some from it.
    """
    rng = np.random.default_rng(seed)
    recordings = np.arange(len(clip_is_target)) if recordings is None else recordings
    row_is_target = clip_is_target[groups]
    source, target = (
        _bounded(vectors[~row_is_target], settings, rng),
        _bounded(vectors[row_is_target], settings, rng),
    )

    def fit_source(own: Array) -> Bank:
        return bank.of_domain(own, "source", settings, seed)

    def fit_target(own: Array) -> Bank:
        more = oversample_target(
            source, own, neighbours=settings.smote_neighbours, share=settings.smote_share, seed=seed
        )
        return bank.of_domain(more, "target", settings, seed)

    source_detector = fit_source(source)
    target_detector = fit_target(target) if len(target) >= bank.fewest else None
    own_scores = np.full(len(vectors), np.inf)
    for clips, refit, is_target in (
        (np.flatnonzero(~clip_is_target), fit_source, False),
        (np.flatnonzero(clip_is_target), fit_target, True),
    ):
        if is_target and target_detector is None:
            continue
        for fold in _folds(clips, recordings, settings.held_out_folds, rng):
            out = np.isin(groups, fold)
            rest = _bounded(vectors[(row_is_target == is_target) & ~out], settings, rng)
            if len(rest) >= bank.fewest:
                own_scores[out] = refit(rest).score(vectors[out])
    source_model = _normalised(DomainDetector(source_detector), own_scores[~row_is_target], settings)
    target_model = None
    if target_detector is not None:  # too few held-out scores of its own: it borrows the scale of the source
        like_source = replace(source_model, detector=target_detector)
        target_model = _normalised(like_source, own_scores[row_is_target], settings)
    pair = DomainMinimum(source_model, target_model)
    return pair, _held_out(pair, vectors, groups, row_is_target, own_scores, len(clip_is_target))


def _held_out(
    pair: DomainMinimum,
    vectors: Array,
    groups: Integers,
    row_is_target: Mask,
    own_scores: Floats,
    clips: int,
) -> Floats:
    """Held-out own-domain score against the other domain's full model, minimum, mean over the rows of each clip."""
    scores = np.empty(len(vectors))
    for own, other, rows in (
        (pair.source, pair.target, ~row_is_target),
        (pair.target, pair.source, row_is_target),
    ):
        held_out = np.full(int(rows.sum()), np.inf) if own is None else (own_scores[rows] - own.offset) / own.scale
        if other is not None and rows.any():
            held_out = np.minimum(held_out, other.score(vectors[rows]))
        scores[rows] = held_out
    per_clip: Floats = np.bincount(groups, weights=scores, minlength=clips) / np.bincount(groups, minlength=clips)
    return per_clip


def _normalised(model: DomainDetector, held_out: Floats, settings: DetectionSettings) -> DomainDetector:
    known = held_out[np.isfinite(held_out)]
    if settings.domain_scores != "zscore" or len(known) < 2:
        return model
    return replace(model, offset=float(known.mean()), scale=max(float(known.std(ddof=1)), 1e-9))


def _folds(clips: Integers, recordings: Integers, folds: int, rng: np.random.Generator) -> list[Integers]:
    count = len(clips) if len(clips) <= MAX_LEAVE_ONE_OUT else folds
    return [clips[part] for part in recording_folds(recordings[clips], count, rng)] if count else []


def _bounded(vectors: Array, settings: DetectionSettings, rng: np.random.Generator) -> Array:
    """At most ``max_vectors`` of them, drawn without replacement, so that a bank cannot outgrow the server."""
    if len(vectors) <= settings.max_vectors:
        return vectors
    return vectors[np.sort(rng.choice(len(vectors), settings.max_vectors, replace=False))]
