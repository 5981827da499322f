"""``attributes_00.csv``: the operating conditions of recordings, beside a machine's folders."""

import csv
from pathlib import Path, PurePosixPath

from masd.data.clips import AUDIO_SUFFIXES, TEST_FOLDERS
from masd.data.names import join_attributes
from masd.errors import MasdError


def read_attributes(folder: Path) -> dict[str, str]:
    """Canonical attributes by file-name stem, from every ``attributes_*.csv`` of a machine's folder.

    ``file_name`` is matched on its stem, because the sets write it with and without a path and ``.wav``. Rows whose
    path lies in a test folder are passed over: a test clip may share its name with a training clip.

    :raises MasdError: a table without ``file_name``, or one that cannot be read, by name.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.glob("attributes_*.csv")):
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                if "file_name" not in (reader.fieldnames or ()):
                    raise MasdError(f"{path}: has no column 'file_name'")
                for row in reader:
                    path_in_set = PurePosixPath((row["file_name"] or "").replace("\\", "/"))
                    if not set(path_in_set.parts[-3:-1]) & set(TEST_FOLDERS):  # test/a.wav, test/normal/a.wav
                        found[_stem(path_in_set)] = join_attributes(_pairs(row))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise MasdError(f"{path}: cannot be read as CSV ({error})") from error
    return found


def _stem(path: PurePosixPath) -> str:
    return path.stem if path.suffix.lower() in AUDIO_SUFFIXES else path.name  # a stem may hold a dot of its own


def _pairs(row: dict[str, str]) -> dict[str, str]:
    pairs = {}
    for column, key in row.items():
        if column and column.startswith("d") and column.endswith("p") and key and key.lower() != "none":
            value = row.get(f"{column[:-1]}v")
            if value and value.lower() != "none":
                pairs[key] = value
    return pairs
