"""The data sets that can be fetched by name, and the meaning of their archives' names."""

import re
from collections.abc import Sequence

from masd.errors import MasdError

RECORDS = {
    "dcase2020-dev": 3678171,
    "dcase2020-add": 3727685,
    "dcase2020-eval": 3841772,
    "dcase2021-dev": 4562016,
    "dcase2021-add": 4660992,
    "dcase2021-eval": 4884786,
    "dcase2022-dev": 6355122,
    "dcase2022-add": 6462969,
    "dcase2022-eval": 6586456,
    "dcase2023-dev": 7882613,
    "dcase2023-add": 7830345,
    "dcase2023-eval": 7860847,
    "dcase2024-dev": 10902294,
    "dcase2024-add": 11259435,
    "dcase2024-eval": 11363076,
    "dcase2025-dev": 15097779,
    "dcase2025-add": 15392814,
    "dcase2025-eval": 15519362,
    "dcase2026-dev": 19336329,
    "dcase2026-add": 20151556,
    "dcase2026-eval": 20437238,
}
"""Zenodo record ids, as the download scripts and read-me files of the challenge's own baselines give them
(github.com/nttcslab/dcase2023_task2_baseline_ae and its successors). A record id stands for one version of the files
and never changes."""

CONTENTS = {"dev": "training and test clips", "add": "more training clips", "eval": "test clips without labels"}

_REVISION = re.compile(r"(.*?)(?:_r(\d+))?")
_NOT_A_MACHINE = re.compile(r"dev|eval|data|train|test|r\d+|p\d+|part\d+")


def record_of(name: str) -> int:
    """:raises MasdError: there is no data set of this name; the message lists the names."""
    if name not in RECORDS:
        raise MasdError(f"{name}: there is no such data set; the names are {', '.join(RECORDS)}")
    return RECORDS[name]


def year_of(name: str) -> str:
    """``dcase2025-add`` -> ``dcase2025``."""
    return name.partition("-")[0]


def contents_of(name: str) -> str:
    """``dcase2025-add`` -> ``more training clips``."""
    return CONTENTS[name.partition("-")[2]]


def replaced(files: Sequence[str]) -> set[str]:
    """Archives with a later revision, such as ``dev_ToyCar.zip`` beside ``dev_ToyCar_r2.zip`` (2026)."""
    newest: dict[str, tuple[int, str]] = {}
    for file in files:
        stem, revision = _REVISION.fullmatch(file.rpartition(".")[0]).groups("1")  # type: ignore[union-attr]
        newest[stem] = max(newest.get(stem, (0, "")), (int(revision), file))
    return set(files) - {file for _, file in newest.values()}


def machine_of(file: str) -> str:
    """The machine type of an archive: its name without the words for split, part and revision.

    ``dev_data_fan.zip``, ``eval_data_train_fan.zip`` (2020), ``eval_data_fan_train.zip``, ``dev_fan.zip`` -> ``fan``;
    ``eval_data_3DPrinter_train_r2.zip`` -> ``3DPrinter``.
    """
    stem = file.rpartition(".")[0]
    return "_".join(word for word in stem.split("_") if not _NOT_A_MACHINE.fullmatch(word)) or stem
