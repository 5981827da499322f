"""Find recordings that are in a data set more than once, completely or in part, by their sound.

Names are not used: a copy may have another format, rate, gain, polarity or length. Distinctive moments of a clip, its
anchors (:mod:`masd.data.recordings.waveform_print`), are searched in all other clips; if one is found, the whole
waveforms are compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from masd.arrays import Array, Integers
from masd.data.recordings.prints import Prints

Complex = npt.NDArray[np.complex64]

ALIKE = 0.6
"""Least correlation at an anchor, near it and over the whole overlap. Different recordings of one machine reach 0.5."""

NEAR_S = 0.064
"""Seconds on either side of an anchor that are compared before whole clips are."""

LEAST_OVERLAP_S = 0.4
MOST_LAGS = 16
"""The most overlaps of a pair of clips: a clip that contains another three times has three."""

ROWS, COLUMNS = 1024, 4096
"""Rows and columns of the table of all anchors against all that are computed at a time."""

PAIRS_AT_ONCE = 4096
"""Pairs of anchors whose surroundings are in memory together."""

MOST_MATCHES = 1 << 18
"""The most matches in one such table: strictly periodic sounds match everywhere, and some matches are enough."""

WHOLE = 0.9
"""Share of a clip's sound that must be in another for it to count as its copy."""


@dataclass(frozen=True)
class Overlap:
    """``second`` at time t is ``first`` at time t + ``lag_s``. ``first_share`` and ``second_share`` are the parts of
    the sound of each clip in the overlap.
    """

    first: int
    second: int
    lag_s: float
    correlation: float
    first_share: float
    second_share: float


def find_overlaps(prints: Prints) -> list[Overlap]:
    """All pairs of clips, ``first < second``, that share :data:`LEAST_OVERLAP_S` of sound or more.

    Clips without any sound count as equal.
    """
    silent = [number for number, length in enumerate(prints.lengths) if length == 0]
    found = [Overlap(silent[0], other, 0.0, 1.0, 1.0, 1.0) for other in silent[1:]]
    for (first, second), lags in _candidates(prints):
        one, other = prints.samples(first), prints.samples(second)
        found += [
            Overlap(first, second, lag / prints.rate, *compared)
            for lag in lags
            if (compared := _compare(one, other, lag, prints.rate)) is not None
        ]
    return found


def covered_share(prints: Prints, overlaps: Sequence[Overlap], clip: int, other: int) -> float:
    """Share of the sound of ``clip`` that is in ``other``, in any of their ``overlaps``."""
    if prints.lengths[clip] == 0:
        return float(prints.lengths[other] == 0)
    power = np.square(np.abs(prints.samples(clip)))
    covered = np.zeros(len(power), np.bool_)
    for overlap in overlaps:
        if {overlap.first, overlap.second} == {clip, other}:
            lag = round((overlap.lag_s if overlap.first == clip else -overlap.lag_s) * prints.rate)
            covered[max(lag, 0) : max(prints.lengths[other] + lag, 0)] = True
    return float(power[covered].sum() / max(power.sum(), 1e-9))


def copies(prints: Prints, overlaps: Sequence[Overlap], order: Sequence[int]) -> dict[int, int]:
    """Clip -> the clip of which it is a copy, if at least :data:`WHOLE` of its sound is in that one.

    If clips are copies of each other, the others count as copies of the first in ``order``.
    """
    others: dict[int, list[Overlap]] = {}
    for overlap in overlaps:
        for clip in (overlap.first, overlap.second):
            others.setdefault(clip, []).append(overlap)
    kept: set[int] = set()
    found: dict[int, int] = {}
    for clip in order:
        near = others.get(clip, [])
        candidates = sorted({o.first + o.second - clip for o in near} & kept, key=order.index)
        original = next((other for other in candidates if covered_share(prints, near, clip, other) >= WHOLE), None)
        if original is None:
            kept.add(clip)
        else:
            found[clip] = original
    return found


def connected(count: int, pairs: Sequence[tuple[int, int]]) -> Integers:
    """The group ``[count]`` of each of ``count`` things, numbered by its smallest member; both things of a pair are in
    one group.
    """
    group = list(range(count))

    def root(one: int) -> int:
        while group[one] != one:
            group[one] = group[group[one]]
            one = group[one]
        return one

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        group[high] = low
    return np.array([root(one) for one in range(count)], np.int64)


def _candidates(prints: Prints) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """Pairs of clips with the lags, in samples, at which an anchor of each and its surroundings are alike."""
    if len(prints) < 2:
        return
    clip, place, vectors = prints.anchors()
    first, second = (np.concatenate(side) for side in zip(_NO_MATCHES, *_matches(vectors, clip), strict=True))
    alike = _correlation_near(prints, clip, place, first, second)
    good = alike >= ALIKE
    first, second, alike = first[good], second[good], alike[good]
    lag = place[first] - place[second]
    order = np.lexsort((-alike, clip[second], clip[first]))
    pairs: dict[tuple[int, int], list[int]] = {}
    for a, b, at in zip(clip[first[order]], clip[second[order]], lag[order].tolist(), strict=True):
        lags = pairs.setdefault((int(a), int(b)), [])
        if len(lags) < MOST_LAGS and all(abs(at - other) > 2 for other in lags):
            lags.append(at)
    yield from pairs.items()


_NO_MATCHES = (np.empty(0, np.int64), np.empty(0, np.int64))


def _matches(vectors: npt.NDArray[np.float16], clip: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Pairs of anchors of different clips with similar vectors, that of the earlier clip first."""
    for start in range(0, len(vectors), ROWS):
        rows = vectors[start : start + ROWS].astype(np.float32)
        for begin in range(start, len(vectors), COLUMNS):
            columns = vectors[begin : begin + COLUMNS].astype(np.float32)
            products = (rows @ columns.T).ravel()
            found = np.flatnonzero(products >= ALIKE)
            first, second = np.divmod(found, len(columns))
            different = clip[start + first] < clip[begin + second]
            first, second, found = first[different], second[different], found[different]
            if len(found) > MOST_MATCHES:
                best = np.argpartition(-products[found], MOST_MATCHES)[:MOST_MATCHES]
                first, second = first[best], second[best]
            yield start + first, begin + second


def _correlation_near(prints: Prints, clip: Integers, place: Integers, first: Integers, second: Integers) -> Array:
    """Magnitude of the correlation of two clips' waveforms around their anchors ``first`` and ``second`` ``[m]``."""
    half = int(NEAR_S * prints.rate)
    out = np.zeros(len(first), np.float32)
    for start in range(0, len(first), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        one, other = (prints.around(clip[side[part]], place[side[part]], half) for side in (first, second))
        both = np.abs(np.einsum("mt,mt->m", one.conj(), other))
        power = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        out[part] = both / np.maximum(power, 1e-9)
    return out


def _compare(one: Complex, other: Complex, lag: int, rate: float) -> tuple[float, float, float] | None:
    """Correlation over the overlap, and the share of each clip in it; None if they are not alike there."""
    start, end = max(0, lag), min(len(one), len(other) + lag)
    if end - start < LEAST_OVERLAP_S * rate:
        return None
    best, shares = 0.0, (0.0, 0.0)
    for shift in (lag - 1, lag, lag + 1):  # the maximum lies between two samples
        low, high = max(0, shift), min(len(one), len(other) + shift)
        a, b = one[low:high], other[low - shift : high - shift]
        powers = float(np.vdot(a, a).real), float(np.vdot(b, b).real)
        correlation = float(abs(np.vdot(a, b))) / max(float(np.sqrt(powers[0] * powers[1])), 1e-9)
        if correlation > best:
            best = correlation
            shares = powers[0] / float(np.vdot(one, one).real), powers[1] / float(np.vdot(other, other).real)
    sounding = min(shares[0] * len(one), shares[1] * len(other))  # what is silent cannot be compared
    return (best, *shares) if best >= ALIKE and sounding >= LEAST_OVERLAP_S * rate / 2 else None
