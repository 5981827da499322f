"""The figure of one test clip: where and when it differs from normal clips."""

import io
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from masd.arrays import Array
from masd.detection.decision import flagged
from masd.detection.result import Segment
from masd.evaluation.figures.colours import INK, MARK_COLOUR, SERVED_COLOUR, WINDOW_COLOUR
from masd.evaluation.figures.style import STYLE, WIDTH, svg

UNUSUAL_LEVEL = 4.0
"""Cells are marked above this many standard deviations; of a normal clip these are far less than one cell in a hundred.
"""


PNG_DPI = 200

MAX_COLUMNS = 1200
"""Frames drawn at most: a longer clip is averaged down, its picture would not show more."""

_TICKS_HZ = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)


@dataclass(frozen=True, kw_only=True)
class DrawnClip:
    """What a picture of a clip needs.

    ``log_mel`` is ``[T, F]`` in dB, ``unusual`` ``[T, F]`` by how many spreads the reconstruction misses a cell more
    than it usually misses that band in normal training clips. ``start_s`` is where the clip begins in its recording;
    the segments' times are the recording's.
    """

    score: float
    threshold: float
    log_mel: Array
    unusual: Array
    segments: tuple[Segment, ...]
    hop_seconds: float
    sample_rate: int
    start_s: float = 0.0

    @property
    def flagged(self) -> bool:
        """Whether the threshold flags the clip."""
        return flagged(self.score, self.threshold)

    @property
    def worst(self) -> Segment | None:
        """The segment with the highest score."""
        return max(self.segments, key=lambda segment: segment.score, default=None)


@dataclass(frozen=True, kw_only=True)
class ExampleClip(DrawnClip):
    """A test clip worth showing: most anomalous, most normal, or closest to the threshold.

    ``audio_wav`` is a small WAV file to listen to.
    """

    name: str
    domain: str
    condition: str
    caption: str
    audio_wav: bytes | None


def clip_figure(clip: DrawnClip) -> str:
    """An SVG: the spectrogram, the unusual marked and the worst segment boxed, above the segments' scores."""
    with mpl.rc_context(STYLE):
        return svg(_figure(clip))


def clip_png(clip: DrawnClip) -> bytes:
    """The same picture as a PNG of at most some hundred kilobytes, for a service that answers with a picture."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        _figure(clip).savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _figure(clip: DrawnClip) -> Figure:
    figure = Figure(figsize=(WIDTH, 4.1 if clip.segments else 2.7), layout="constrained")
    if clip.segments:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        _spectrogram(top, clip)
        _timeline(bottom, clip)
        bottom.set_xlabel("time in s")
    else:
        top = figure.subplots()
        _spectrogram(top, clip)
        top.set_xlabel("time in s")
    return figure


def mel_band(hz: float, n_mels: int, sample_rate: int) -> float:
    """Position of a frequency on the axis of mel bands (band k is at k), on LogMel's Slaney scale."""
    return _slaney(hz) / _slaney(sample_rate / 2) * (n_mels + 1) - 1


def _slaney(hz: float) -> float:
    return 3 * hz / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))


def _averaged(frames: Array, step: int) -> Array:
    starts = np.arange(0, len(frames), step)
    counts = np.diff(np.append(starts, len(frames)))
    return (np.add.reduceat(frames, starts, axis=0) / counts[:, None]).astype(np.float32)


def _marks(unusual: Array, step: int) -> Array:
    """``[F, columns, 4]``: the mark's colour, from half to almost opaque at twice the level, elsewhere transparent."""
    highest = np.maximum.reduceat(unusual, np.arange(0, len(unusual), step), axis=0).T  # a moment shall not average out
    marks = np.empty((*highest.shape, 4), dtype=np.float32)
    marks[:] = to_rgba(MARK_COLOUR)
    marks[..., 3] = np.where(highest > UNUSUAL_LEVEL, np.clip(0.45 * highest / UNUSUAL_LEVEL, 0.0, 0.9), 0.0)
    return marks


def _spectrogram(axes: Axes, clip: DrawnClip) -> None:
    step = -(-len(clip.log_mel) // MAX_COLUMNS)
    hop = clip.hop_seconds * step
    picture = _averaged(clip.log_mel, step).T  # [F, columns]; grey, so that the marks are the only colour in it
    n_mels, columns = picture.shape
    low, high = np.percentile(picture, [10, 99.8])
    start, end = clip.start_s, clip.start_s + max((columns - 0.5) * hop, hop / 2)
    extent = (start - hop / 2, clip.start_s + (columns - 0.5) * hop, -0.5, n_mels - 0.5)
    axes.imshow(
        picture,
        origin="lower",
        aspect="auto",
        cmap="gray",
        vmin=float(low),
        vmax=float(max(high, low + 1.0)),
        interpolation="none",
        extent=extent,
    )
    axes.imshow(_marks(clip.unusual, step), origin="lower", aspect="auto", interpolation="none", extent=extent)
    if clip.worst is not None and len(clip.segments) > 1:
        width = clip.worst.end_s - clip.worst.start_s
        axes.add_patch(
            Rectangle((clip.worst.start_s, 0.5), width, n_mels - 2, fill=False, edgecolor=WINDOW_COLOUR, linewidth=2)
        )
    ticks = {hz: mel_band(hz, n_mels, clip.sample_rate) for hz in _TICKS_HZ}
    shown = {hz: band for hz, band in ticks.items() if hz >= 250 and band <= n_mels - 0.5}
    axes.set_yticks(list(shown.values()), [f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in shown])
    axes.set_xlim(start, end)
    axes.set_ylabel("frequency in Hz")


def _timeline(axes: Axes, clip: DrawnClip) -> None:
    centres = [(segment.start_s + segment.end_s) / 2 for segment in clip.segments]
    scores = [segment.score for segment in clip.segments]
    if clip.worst is not None and len(clip.segments) > 1:
        axes.axvspan(clip.worst.start_s, clip.worst.end_s, color=WINDOW_COLOUR, alpha=0.25, linewidth=0)
    axes.hlines(
        scores,
        [segment.start_s for segment in clip.segments],
        [segment.end_s for segment in clip.segments],
        color=SERVED_COLOUR,
        alpha=0.35,
        linewidth=1.6,
    )
    axes.plot(centres, scores, color=SERVED_COLOUR, linewidth=1.2, marker="o", markersize=3)
    axes.axhline(clip.threshold, color=INK, linestyle="--", linewidth=1.2)
    axes.axhline(clip.score, color=SERVED_COLOUR, linestyle=":", linewidth=1.2)
    low, high = min(*scores, clip.score, clip.threshold), max(*scores, clip.score, clip.threshold)
    room = max(0.12 * (high - low), 0.1 * abs(clip.threshold)) or 1.0  # close scores shall look close
    axes.set_ylim(low - room, high + room)
    axes.ticklabel_format(useOffset=False)
    axes.set_ylabel("score")
