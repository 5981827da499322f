"""Find clips of one recording that share no sound: they are as similar as the two halves of one clip.

The place, the microphone and the operating point determine the mean spectrum of a recording. Within one clip it differs
a little between the first and the second half. Clips that differ no more than that count as parts of one recording.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.signal import stft
from scipy.spatial.distance import pdist, squareform

from masd.arrays import Array, Mask

N_FFT, BANDS = 1024, 64

SHARE, SLACK = 95.0, 1.5
"""Clips of a group differ by at most the first number times the second percentile of the differences within clips. On
real recordings of motors, whose names identify the recordings, this finds exactly these recordings."""


def half_spectra(samples: Array) -> Array:
    """``[n]`` -> mean spectrum of the first and the second half ``[2, 64]`` in dB, without the clip's level."""
    padded = np.pad(samples, (0, max(0, 2 * N_FFT - len(samples))), mode="wrap")
    _, _, spectrum = stft(padded, nperseg=N_FFT, noverlap=N_FFT // 2, boundary=None, padded=False)
    power = np.square(np.abs(spectrum[1:])).reshape(BANDS, -1, spectrum.shape[1]).mean(axis=1)
    level = 10.0 * np.log10(power + 1e-12)
    level -= level.mean()
    middle = level.shape[1] // 2
    return np.stack([level[:, :middle].mean(axis=1), level[:, middle:].mean(axis=1)]).astype(np.float32)


def similar(spectra: Sequence[Array], domains: Sequence[str], used: Mask) -> list[Hashable | None]:
    """A key for each clip, the same for those of ``used`` ``[n]`` in one domain that seem to be of one recording."""
    from sklearn.cluster import AgglomerativeClustering

    keys: list[Hashable | None] = [None] * len(spectra)
    for domain in sorted({domain for domain, one in zip(domains, used, strict=True) if one}):
        rows = [row for row, one in enumerate(used) if one and domains[row] == domain]
        if len(rows) < 2:
            continue
        halves = np.stack([spectra[row] for row in rows]).astype(np.float64)
        # the mean over a whole clip varies less than that over a half, by the root of two
        within = np.linalg.norm(halves[:, 0] - halves[:, 1], axis=1) / np.sqrt(2)
        groups = AgglomerativeClustering(
            None,
            metric="precomputed",
            linkage="average",
            distance_threshold=SLACK * max(float(np.percentile(within, SHARE)), 1e-9),
        ).fit_predict(squareform(pdist(halves.mean(axis=1))))
        for row, group in zip(rows, groups.tolist(), strict=True):
            keys[row] = (domain, group)
    return keys
