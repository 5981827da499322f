"""A clip before it is decoded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "test", "supplemental"]
Domain = Literal["source", "target", "none"]
Condition = Literal["normal", "anomaly", "unknown"]
Kind = Literal["noisy", "clean", "noise"]

NO_ATTRIBUTE = "noAttribute"

TEST_FOLDERS = ("test", "source_test", "target_test")  # 2021 split the test clips by domain
SPLIT_FOLDERS = ("train", *TEST_FOLDERS, "supplemental")


@dataclass(frozen=True)
class Clip:
    """One row of the clip table.

    ``domain`` is "none" if the data set has no domains (DCASE 2020, plain folders, blind test clips): such clips are
    treated as source. ``attributes`` is a canonical text such as ``motor=M1,rpm=1400``, or ``noAttribute``;
    it is empty for test clips, whose attributes must not be used. ``kind`` is "noisy" for an ordinary recording in the
    plant's noise, else the kind of a supplemental clip. ``name`` is its name in result files and reports: the file's
    name, or the path below the split's folder if file names repeat.
    """

    path: Path
    split: Split
    name: str = ""
    section: str = "00"
    domain: Domain = "none"
    condition: Condition = "normal"
    kind: Kind = "noisy"
    attributes: str = NO_ATTRIBUTE
