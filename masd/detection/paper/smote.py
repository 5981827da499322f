"""SMOTE on the target domain (paper, section 2.4; Chawla et al. 2002)."""

import logging

import numpy as np

from masd.arrays import Array

log = logging.getLogger(__name__)


def oversample_target(source: Array, target: Array, *, neighbours: int, share: float, seed: int) -> Array:
    """Target vectors ``[n, d + 1]`` with synthetic ones between neighbours appended, up to ``share`` of the source's
    number.

    The embedding part of synthetic vectors is brought back to unit length. With fewer than three target vectors nothing
    is made up.
    """
    wanted = round(share * len(source))
    if wanted <= len(target):
        return target
    if len(target) < 3:
        log.info("%d target vectors: too few for SMOTE, used as they are", len(target))
        return target
    both = np.concatenate([source, target])
    is_target = np.repeat([0, 1], [len(source), len(target)])
    from imblearn.over_sampling import SMOTE  # only who fits waits for this import

    sampler = SMOTE(sampling_strategy={1: wanted}, k_neighbors=min(neighbours, len(target) - 1), random_state=seed)
    resampled, labels = sampler.fit_resample(both, is_target)
    vectors: Array = np.asarray(resampled[labels == 1], dtype=np.float32)
    synthetic = vectors[len(target) :]
    synthetic[:, :-1] /= np.maximum(np.linalg.norm(synthetic[:, :-1], axis=1, keepdims=True), 1e-12)
    return np.concatenate([target, synthetic])
