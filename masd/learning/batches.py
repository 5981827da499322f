"""Balanced batches of windows (paper, section 3.1: a sampler that controls the proportion of each sample type)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from masd.arrays import Integers
from masd.config import TrainingSettings, WindowSettings
from masd.data.store import FeatureStore
from masd.learning.classes import NOISE
from masd.learning.normalisation import Normalisation

DRAWS_BETWEEN_RELEASES = 16
"""Number of batches whose windows stay memory-mapped: about 100 MB, for stores of any size."""


@dataclass(frozen=True)
class Batch:
    """``x`` ``[B, 1, F, T]`` standardised, ``y`` ``[B]`` classes (-1 for noise), ``is_noise`` ``[B]``."""

    x: Tensor
    y: Tensor
    is_noise: Tensor


class BalancedSampler:
    """Draws windows at random positions from the training and supplemental clips of one or several machines.

    Each batch holds ``batch_source`` source, ``batch_target`` target and ``batch_supplemental`` supplemental windows;
    where a kind is missing its places go to the source. Windows come in pairs of one class, so no anchor of the
    contrastive loss lacks a positive. On a GPU all standardised frames are in its memory, and windows are cut there; on
    the CPU they stay memory-mapped.
    """

    def __init__(
        self,
        stores: Sequence[FeatureStore],
        normalisations: Sequence[Normalisation],
        labels: Sequence[Integers],
        settings: TrainingSettings,
        windows: WindowSettings,
        rng: np.random.Generator,
        set_aside: Sequence[Integers] | None = None,
        resident: torch.device | None = None,
    ) -> None:
        """``labels`` ``[clips]`` of each store; rows in ``set_aside`` are never drawn; ``resident`` is the device that
        shall hold the frames.
        """
        self._stores, self._normalisations = stores, normalisations
        self._settings, self._frames, self._rng = settings, windows.frames, rng
        rows = [
            np.flatnonzero(((store.clips["split"] != "test") & (store.clips["copy_of"] == "")).to_numpy())
            for store in stores
        ]
        if set_aside is not None:
            rows = [np.setdiff1d(own, aside) for own, aside in zip(rows, set_aside, strict=True)]
        self._store = np.concatenate([np.full(len(r), number) for number, r in enumerate(rows)])
        self._label = np.concatenate([label[r] for label, r in zip(labels, rows, strict=True)])
        self._offset = self._column(rows, "offset").astype(np.int64)
        self._length = self._column(rows, "n_frames").astype(np.int64)
        noisy = self._column(rows, "kind") == "noisy"
        target = self._column(rows, "domain") == "target"
        self._is_noise = self._label == NOISE
        self._source, self._target = np.flatnonzero(noisy & ~target), np.flatnonzero(noisy & target)
        self._supplemental = np.flatnonzero(~noisy)
        if len(self._source) == 0:
            self._source, self._target = self._target, self._source  # only target clips: they are all there is
        peers = self._label * 2 + ~noisy  # partners share class and kind, so that pairs leave the proportions alone
        self._order = np.argsort(peers, kind="stable")  # clips that may be partners stand together here
        self._first_peer = np.searchsorted(peers[self._order], peers, side="left")
        self._n_peers = np.searchsorted(peers[self._order], peers, side="right") - self._first_peer
        self._drawn = 0
        self._resident: Tensor | None = None
        if resident is not None:
            parts = [torch.from_numpy(n(s.frames[:])).to(resident) for n, s in zip(normalisations, stores, strict=True)]
            self._resident = torch.cat(parts)
            first = np.cumsum([0, *(len(part) for part in parts)])[:-1]
            self._first = first[self._store]

    def _column(self, rows: Sequence[Integers], name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([store.clips[name].to_numpy()[r] for store, r in zip(self._stores, rows, strict=True)])

    def draw(self, *, with_noise: bool) -> Batch:
        """One batch; ``with_noise=False`` leaves noise-only clips out, for steps whose loss has no use for them."""
        settings = self._settings
        supplemental = self._supplemental
        if not with_noise:
            supplemental = supplemental[~self._is_noise[supplemental]]
        n_target = settings.batch_target if len(self._target) else 0
        n_supplemental = settings.batch_supplemental if len(supplemental) else 0
        total = settings.batch_source + settings.batch_target + settings.batch_supplemental
        picked = np.concatenate(
            [
                self._pairs(self._source, total - n_target - n_supplemental),
                self._pairs(self._target, n_target),
                self._pairs(supplemental, n_supplemental),
            ]
        )
        return Batch(
            x=self._cut(picked).unsqueeze(1),
            y=torch.from_numpy(self._label[picked]),
            is_noise=torch.from_numpy(self._is_noise[picked]),
        )

    def _pairs(self, group: Integers, count: int) -> Integers:
        """``count`` clips: half drawn from the group, and for each another one of its class and kind (or two)."""
        if count == 0:
            return np.empty(0, dtype=np.int64)
        first = group[self._rng.integers(len(group), size=max(count // 2, 1))]
        paired = np.resize(first, count)[len(first) :]
        position = self._first_peer[paired] + self._rng.integers(self._n_peers[paired])
        return np.concatenate([first, self._order[position]])

    def _cut(self, picked: Integers) -> Tensor:
        """A window at a random position of each clip: ``[B, F, T]``; a short clip is repeated from its beginning."""
        length = self._length[picked]
        start = self._rng.integers(np.maximum(length - self._frames, 0) + 1)
        index = self._offset[picked][:, None] + (start[:, None] + np.arange(self._frames)) % length[:, None]
        if self._resident is not None:
            rows = torch.from_numpy(self._first[picked][:, None] + index).to(self._resident.device)
            return self._resident[rows].transpose(1, 2)
        self._drawn += 1
        out = np.empty((len(picked), self._stores[0].frames.shape[1], self._frames), dtype=np.float32)
        for number in np.unique(self._store[picked]):
            here = self._store[picked] == number
            windows = self._normalisations[number](self._stores[number].frames[index[here]])
            out[here] = windows.transpose(0, 2, 1)
            if self._drawn % DRAWS_BETWEEN_RELEASES == 0:
                self._stores[number].release()
        return torch.from_numpy(out)
