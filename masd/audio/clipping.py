"""Clipping: repeated extreme samples, and full scale where the format has one."""

import numpy as np

from masd.arrays import Array, Floats, Mask

RUN = 3
"""So many equal samples in a row, at the largest or smallest value of a channel, count as clipped."""

STEPS = 2.0
"""The crest of a slow wave is flat too, after rounding to whole steps, but next to it the wave falls by only a step or
two. Next to clipped samples it falls by more.
"""

FULL_SCALE = 0.999
"""Magnitude from which a sample of an integer format counts as clipped (the largest of 16 bits is 0.99997)."""

_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}


class Clipping:
    """Counts the clipped samples of one channel, block by block.

    A file of floats may be in pascals or volts, so full scale is unknown there: only at least :data:`RUN` equal samples
    in a row, at the largest or at the smallest value of all, count. In integer formats every sample at full scale
    counts too.
    """

    def __init__(self, subtype: str) -> None:
        bits = _BITS.get(subtype)
        step = 0.0 if bits is None else 2.0 ** (1 - bits)
        self._full_scale = None if bits is None else min(FULL_SCALE, 1.0 - step)
        self._at_full_scale = 0
        self._sides = (_Side(1.0, STEPS * step), _Side(-1.0, STEPS * step))

    def add(self, block: Array) -> None:
        """The channel's next samples ``[n]``, at least one."""
        largest, smallest = float(block.max()), float(block.min())
        if self._full_scale is not None and max(largest, -smallest) >= self._full_scale:
            self._at_full_scale += int((np.abs(block) >= self._full_scale).sum())
        self._sides[0].add(block, largest)
        self._sides[1].add(block, -smallest)

    def count(self, mean: float, spread: float) -> int:
        """Clipped samples of all blocks so far, given their mean and standard deviation.

        An extreme nearer to the mean than the standard deviation is where the channel rests between its impulses.
        """
        clipped = 0
        for side, middle in zip(self._sides, (mean, -mean), strict=True):
            below_full_scale = self._full_scale is None or side.extreme < self._full_scale
            if below_full_scale and side.extreme - middle > 0.99 * spread > 0.0:
                clipped += side.count()
        return clipped + self._at_full_scale * (spread > 0.0)


class _Side:
    """Runs of the largest value of the samples times ``sign``; a run may go on in the next block."""

    def __init__(self, sign: float, least_fall: float) -> None:
        self.extreme = -np.inf
        self._sign = sign
        self._least_fall = least_fall
        self._counted = 0
        self._open = 0  # samples of the run in which the last block ended
        self._steep = False  # whether the wave rose to the open run steeply
        self._last = np.nan  # the sample before this block

    def add(self, block: Array, largest: float) -> None:
        """``largest`` of ``sign`` times the block."""
        if largest > self.extreme:
            self.extreme, self._counted, self._open, self._steep = largest, 0, 0, False
        if largest == self.extreme:
            self._runs(block)
        elif self._open:
            self._close(self._open, self._steep or bool(self._falls(self._sign * float(block[0]))))
            self._open = 0
        self._last = self._sign * float(block[-1])

    def count(self) -> int:
        return self._counted + (self._open if self._open >= RUN and self._steep else 0)

    def _runs(self, block: Array) -> None:
        places = np.flatnonzero(block == np.float32(self._sign * self.extreme))
        gaps = np.flatnonzero(np.diff(places) > 1)
        starts, ends = places[[0, *(gaps + 1)]], places[[*gaps, -1]] + 1
        if self._open and starts[0] > 0:
            self._close(self._open, self._steep or bool(self._falls(self._sign * float(block[0]))))
            self._open = 0
        before = self._sign * block[np.maximum(starts - 1, 0)].astype(np.float64)
        after = self._sign * block[np.minimum(ends, len(block) - 1)].astype(np.float64)
        lengths, rose, fell = ends - starts, self._falls(before), self._falls(after)
        if starts[0] == 0:
            rose[0] = self._steep if self._open else self._falls(self._last)
            lengths[0] += self._open
        whole = len(ends) if ends[-1] < len(block) else len(ends) - 1
        counted = (lengths >= RUN) & (rose | fell)
        self._counted += int(lengths[:whole][counted[:whole]].sum())
        self._open, self._steep = (int(lengths[-1]), bool(rose[-1])) if whole < len(ends) else (0, False)

    def _close(self, length: int, steep: bool) -> None:
        self._counted += length if length >= RUN and steep else 0

    def _falls(self, neighbour: float | Floats) -> Mask:
        return np.asarray(self.extreme - neighbour > self._least_fall)  # NaN, before the first sample, falls nowhere
