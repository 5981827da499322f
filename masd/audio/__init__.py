"""Decode, filter, log-mel frames and windows: everything between a recording and the network's input."""

from masd.audio.decode import AudioError, Recording, decode
from masd.audio.log_mel import LogMel
from masd.audio.windows import cut_windows, pad_by_repetition, window_starts

__all__ = ["AudioError", "LogMel", "Recording", "cut_windows", "decode", "pad_by_repetition", "window_starts"]
