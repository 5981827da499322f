"""Decode, filter, log-mel frames and windows: everything between a recording and the network's input.

:class:`masd.audio.log_mel.LogMel` is not imported here: it needs torch, which takes long to import and is not needed
    for decoding.
"""

from masd.audio.content import Encoded
from masd.audio.decode import AudioError, LongRecording, Recording, decode, decode_or_stream
from masd.audio.sound_properties import Loudness, SoundProperties
from masd.audio.windows import cut_windows, frame_contexts, pad_by_repetition, window_spans, window_starts

__all__ = [
    "AudioError",
    "Encoded",
    "LongRecording",
    "Loudness",
    "Recording",
    "SoundProperties",
    "cut_windows",
    "decode",
    "decode_or_stream",
    "frame_contexts",
    "pad_by_repetition",
    "window_spans",
    "window_starts",
]
