"""Overlapping analysis windows over log-mel frames (paper, sections 2.4 and 3.1)."""

import numpy as np

from masd.arrays import Array, Integers


def window_starts(n_frames: int, frames: int, hop: int) -> Integers:
    """First frame of each window: every ``hop`` frames, the last one right-aligned so that no frame is left out.

    ``n_frames`` must be at least ``frames``: shorter clips go through :func:`pad_by_repetition` first.
    """
    if n_frames < frames:
        raise ValueError(f"{n_frames} frames are fewer than one window of {frames}")
    last = n_frames - frames
    starts = np.arange(0, last + 1, hop, dtype=np.int64)
    return starts if starts[-1] == last else np.append(starts, last)


def pad_by_repetition(log_mel: Array, frames: int) -> Array:
    """``[T, F]`` -> at least ``frames`` frames, by repeating the clip from its beginning."""
    short_by = frames - len(log_mel)
    return np.pad(log_mel, ((0, short_by), (0, 0)), mode="wrap") if short_by > 0 else log_mel


def window_spans(n_frames: int, frames: int, hop: int) -> Integers:
    """The frames of a clip that each of its windows covers, ``[W, 2]``: the first, and the first that is not covered.

    Frames that :func:`pad_by_repetition` adds are not the clip's.
    """
    starts = window_starts(max(n_frames, frames), frames, hop)
    return np.stack([starts, np.minimum(starts + frames, n_frames)], axis=1)


def frame_contexts(log_mel: Array, count: int) -> Array:
    """``[T, F]`` -> every run of ``count`` consecutive frames, ``[T - count + 1, count, F]`` (a view); a shorter clip
    is repeated from its beginning.
    """
    padded = pad_by_repetition(log_mel, count)
    return np.lib.stride_tricks.sliding_window_view(padded, count, axis=0).transpose(0, 2, 1)


def cut_windows(log_mel: Array, frames: int, hop: int) -> Array:
    """``[T, F]`` -> windows ``[W, F, frames]`` (a copy), mel bands first as the paper's ``X_i`` in ``R^(F x T)``."""
    padded = pad_by_repetition(log_mel, frames)
    starts = window_starts(len(padded), frames, hop)
    bands = np.ascontiguousarray(padded.T)  # rows of a window are then pieces of rows, copied as wholes
    return np.stack([bands[:, start : start + frames] for start in starts])
