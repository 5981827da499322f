"""What is known of a clip before it is decoded."""

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

    ``domain`` is "none" where the data set knows no domains (DCASE 2020, plain folders, blind test clips): such
    clips are treated as source. ``attributes`` is a canonical text such as ``motor=M1,rpm=1400``, or ``noAttribute``;
    it is empty for test clips, whose attributes nothing may look at. ``kind`` tells an ordinary recording in the
    plant's noise from a supplemental clean or noise-only one. ``name`` is what result files and reports call it: the
    file's name, or the path below the split's folder where file names repeat.
    """

    path: Path
    split: Split
    name: str = ""
    section: str = "00"
    domain: Domain = "none"
    condition: Condition = "normal"
    kind: Kind = "noisy"
    attributes: str = NO_ATTRIBUTE
