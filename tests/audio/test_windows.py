"""Windows over frames: where they start, that nothing is left out, and how short clips are filled."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masd.audio import cut_windows, pad_by_repetition, window_starts


def numbered(n_frames: int, n_mels: int = 3) -> np.ndarray:
    """Frames ``[T, F]`` whose values name their frame and band: ``100 * t + f``."""
    return (100.0 * np.arange(n_frames)[:, None] + np.arange(n_mels)).astype(np.float32)


def test_a_ten_second_clip_gives_nine_half_overlapping_windows_the_last_one_right_aligned() -> None:
    assert window_starts(313, 64, 32).tolist() == [0, 32, 64, 96, 128, 160, 192, 224, 249]


def test_a_window_that_ends_exactly_at_the_end_is_not_repeated() -> None:
    assert window_starts(128, 64, 32).tolist() == [0, 32, 64]
    assert window_starts(64, 64, 32).tolist() == [0]
    assert window_starts(65, 64, 32).tolist() == [0, 1]


def test_fewer_frames_than_a_window_is_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="63"):
        window_starts(63, 64, 32)


@st.composite
def _layouts(draw: st.DrawFn) -> tuple[int, int, int]:
    frames = draw(st.integers(1, 80))
    return frames + draw(st.integers(0, 400)), frames, draw(st.integers(1, frames))


@given(_layouts())
@settings(max_examples=100, deadline=None)
def test_windows_cover_every_frame_exactly_to_the_end(layout: tuple[int, int, int]) -> None:
    n_frames, frames, hop = layout
    starts = window_starts(n_frames, frames, hop)
    covered = np.zeros(n_frames, dtype=int)
    for start in starts:
        assert start + frames <= n_frames
        covered[start : start + frames] += 1
    assert (covered >= 1).all()
    assert (starts[0], starts[-1]) == (0, n_frames - frames)
    assert (np.diff(starts)[:-1] == hop).all()  # only the last step may be shorter
    assert all(0 < step <= hop for step in np.diff(starts))
    assert len(starts) == 1 + -(-(n_frames - frames) // hop)


@given(st.integers(1, 40), st.integers(1, 16), st.integers(1, 16))
@settings(max_examples=60, deadline=None)
def test_cut_windows_are_slices_of_the_repeated_clip(n_frames: int, frames: int, hop: int) -> None:
    hop = min(hop, frames)
    clip = numbered(n_frames)
    repeated = [clip[t % n_frames] for t in range(max(n_frames, frames))]
    windows = cut_windows(clip, frames, hop)
    starts = window_starts(len(repeated), frames, hop)
    assert windows.shape == (len(starts), 3, frames)
    for window, start in zip(windows, starts, strict=True):
        for t in range(frames):
            assert window[:, t].tolist() == repeated[start + t].tolist()


def test_a_clip_one_frame_short_gets_its_first_frame_again() -> None:
    clip = numbered(63)
    padded = pad_by_repetition(clip, 64)
    assert padded.shape == (64, 3)
    np.testing.assert_array_equal(padded[:63], clip)
    np.testing.assert_array_equal(padded[63], clip[0])
    assert cut_windows(clip, 64, 32).shape == (1, 3, 64)


def test_a_single_frame_fills_a_window() -> None:
    windows = cut_windows(numbered(1), 64, 32)
    assert windows.shape == (1, 3, 64)
    np.testing.assert_array_equal(windows[0], np.tile([[0.0], [1.0], [2.0]], 64))


def test_a_long_enough_clip_is_not_padded() -> None:
    clip = numbered(64)
    np.testing.assert_array_equal(pad_by_repetition(clip, 64), clip)


def test_windows_are_a_copy_with_bands_first() -> None:
    clip = numbered(8)
    windows = cut_windows(clip, 4, 2)
    assert windows.dtype == np.float32
    assert windows.flags["C_CONTIGUOUS"]
    assert windows[1, 2, 0] == 202.0  # second window starts at frame 2: band 2 of that frame
    windows[:] = -1.0
    np.testing.assert_array_equal(clip, numbered(8))
