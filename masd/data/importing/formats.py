"""The table of formats: the reader of each suffix, and the package it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from masd.data.importing.channel import Channel
from masd.data.importing.matlab import read_matlab
from masd.data.importing.sound import read_sound
from masd.data.importing.table import read_table
from masd.data.importing.tdms import read_tdms
from masd.data.importing.uff58 import read_uff58


@dataclass(frozen=True)
class Format:
    """``package`` is a package of the extra ``masd[import]``, or empty if masd always installs it."""

    name: str
    read: Callable[[Path], list[Channel]]
    package: str = ""


_TABLE = Format("a table of numbers", read_table)
_SOUND = Format("a sound file", read_sound)

FORMATS: dict[str, Format] = {
    ".tdms": Format("TDMS", read_tdms, "npTDMS"),
    ".uff": Format("UFF58", read_uff58, "pyuff"),
    ".unv": Format("UFF58", read_uff58, "pyuff"),
    ".mat": Format("MATLAB", read_matlab),
    **dict.fromkeys((".csv", ".tsv", ".txt"), _TABLE),
    **dict.fromkeys((".wav", ".flac", ".w64", ".rf64", ".caf", ".aif", ".aiff", ".au", ".ogg", ".mp3"), _SOUND),
}
