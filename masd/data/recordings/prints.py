"""The waveform prints of a data set's clips, most of them on disk: for a thousand clips of ten seconds, 80 MB."""

import mmap
import tempfile
import weakref

import numpy as np
import numpy.typing as npt

from masd.arrays import Integers
from masd.data.recordings.waveform_print import WaveformPrint

MARGIN = 2048
"""Zeros written around each clip, so that the surroundings of an anchor never include another clip."""


class Prints:
    """Prints of clips in the order in which they are added.

    Anchors and their surroundings are kept in memory, as half-precision numbers. The waveforms are in an unnamed
    temporary file, and are read when they are needed.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self.lengths: list[int] = []
        self._anchors: list[Integers] = []
        self._vectors: list[npt.NDArray[np.float16]] = []
        self._starts: list[int] = []
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 -- closed, and so removed, with this object:
        weakref.finalize(self, self._file.close)
        self._file.write(bytes(2 * MARGIN))
        self._end = MARGIN

    def __len__(self) -> int:
        return len(self.lengths)

    def add(self, one: WaveformPrint) -> None:
        self.rate = one.rate
        self.lengths.append(len(one.samples))
        self._anchors.append(one.anchors)
        self._vectors.append(one.vectors.astype(np.float16))
        self._starts.append(self._end)
        self._file.write(one.samples.tobytes() + bytes(2 * MARGIN))
        self._end += len(one.samples) + MARGIN

    def anchors(self) -> tuple[Integers, Integers, npt.NDArray[np.float16]]:
        """The clip ``[k]``, the position in it ``[k]`` and the vector ``[k, d]`` of each anchor of all clips."""
        clip = np.repeat(np.arange(len(self)), [len(places) for places in self._anchors])
        return clip, np.concatenate(self._anchors), np.concatenate(self._vectors)

    def samples(self, clip: int) -> npt.NDArray[np.complex64]:
        """The complex amplitude of a clip ``[n]``."""
        self._file.flush()
        wanted = np.empty((self.lengths[clip], 2), np.int8)
        self._file.seek(2 * self._starts[clip])
        self._file.readinto(wanted.data)
        self._file.seek(0, 2)
        return _complex(wanted)

    def around(self, clip: Integers, place: Integers, half: int) -> npt.NDArray[np.complex64]:
        """Samples within ``half`` of positions ``[m]`` in clips ``[m]``: ``[m, 2 half + 1]``, zero outside the clip."""
        self._file.flush()
        half = min(half, MARGIN)
        offsets = np.arange(-half, half + 1)
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            joined = np.frombuffer(mapped, np.int8).reshape(-1, 2)
            found = joined[(np.asarray(self._starts)[clip] + place)[:, None] + offsets]
            del joined  # or the map cannot be closed
        return _complex(found)


def _complex(parts: npt.NDArray[np.int8]) -> npt.NDArray[np.complex64]:
    return np.ascontiguousarray(parts, np.float32).view(np.complex64)[..., 0]
