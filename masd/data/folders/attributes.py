"""``attributes_00.csv``: the operating conditions of the recordings of a machine."""

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from masd.data.clips import TEST_FOLDERS, Clip
from masd.data.findings import Finding, counted, have, some
from masd.data.folders.listing import is_audio
from masd.data.folders.names import join_attributes
from masd.errors import MasdError

_TABLE = re.compile(r"attributes?([-_. ].*)?\.csv", re.IGNORECASE)
_FILE_COLUMNS = frozenset({"file_name", "filename", "file name", "file"})
_CONDITION_COLUMN = re.compile(r"d(\d+)p")


@dataclass(frozen=True)
class Row:
    """``parts`` are the parts of the recording's path in the table, normalised by :func:`_folded`."""

    path: str
    parts: tuple[str, ...]
    attributes: str


@dataclass(frozen=True)
class AttributeTables:
    """Rows of all tables of a machine, by the stem of their recording."""

    rows: dict[str, list[tuple[Path, Row]]] = field(default_factory=dict)
    tables: tuple[Path, ...] = ()

    def of(self, path: Path) -> str | None:
        """Canonical attributes of a recording ``train/.../a.wav``; None if no row matches.

        If several rows have its stem, for recordings in different folders, the most similar path counts.
        """
        found = self._meant(path)
        return found.attributes if found else None

    def findings(self, clips: Sequence[Clip], folder: Path) -> list[Finding]:
        """Findings on tables with rows that match no recording."""
        recordings = [clip.path.relative_to(folder) for clip in clips if clip.split != "test"]
        meant = {self._meant(path) for path in recordings}
        there = {_folded(clip.path.relative_to(folder))[-1] for clip in clips}
        found = []
        for table in self.tables:
            rows = [row for same in self.rows.values() for source, row in same if source == table]
            lost = [row.path for row in rows if row not in meant and row.parts[-1] not in there]
            name = table.relative_to(folder).as_posix()
            if rows and meant.isdisjoint(rows):
                text = f"{name}: none of its {counted(len(rows), 'row')} names a recording in train/ or supplemental/"
                text += f" ({some(lost or [rows[0].path])}), so no attribute is taken from it"
                found.append(Finding("warning", "attributes_unmatched", text))
            elif lost:
                text = f"{name}: {len(lost)} of {len(rows)} rows name a recording that does not exist ({some(lost)})"
                found.append(Finding("note", "attributes_partly_matched", text))
        without = [path.as_posix() for path in recordings if path.parts[0] == "train" and self.of(path) is None]
        if len(without) < len([path for path in recordings if path.parts[0] == "train"]) and without:
            text = f"{have(len(without), 'training clip')} no row in any attribute table: {some(without)}"
            found.append(Finding("note", "attributes_missing", text, tuple(without)))
        return found

    def _meant(self, path: Path) -> Row | None:
        parts = _folded(path)
        rows = self.rows.get(parts[-1], [])
        if not rows:
            return None
        return max(enumerate(rows), key=lambda item: (_same_end(item[1][1].parts, parts), item[0]))[1][1]


def read_attributes(folder: Path, files: Sequence[Path]) -> AttributeTables:
    """The tables ``attributes*.csv`` among the ``files`` of a machine's folder, beside or in ``train/``.

    A row's ``file_name`` is matched by its stem, because some sets write it with a path and ``.wav``, others without.
    Upper and lower case and the number of digits of a section do not matter. Rows whose path is in a test folder are
    skipped: a test clip may have the name of a training clip.

    :raises MasdError: a table has no column ``file_name``, or cannot be read; names the table.
    """
    rows: dict[str, list[tuple[Path, Row]]] = defaultdict(list)
    tables = [
        folder / path
        for path in files
        if _TABLE.fullmatch(path.name) and (len(path.parts) == 1 or path.parts[:-1] in (("train",), ("supplemental",)))
    ]
    for table in tables:
        for row in _rows(table):
            rows[row.parts[-1]].append((table, row))
    return AttributeTables(dict(rows), tuple(tables))


def _rows(table: Path) -> list[Row]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MasdError(f"{table}: cannot be read as CSV in UTF-8 ({error}); save it so") from error
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = max(",;\t", key=lambda mark: lines[0].count(mark)) if lines else ","
    try:
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        cells = [[cell.strip() for cell in line] for line in reader]
    except csv.Error as error:
        raise MasdError(f"{table}: cannot be read as CSV ({error}); save it again") from error
    header = [name.lower() for name in cells[0]] if cells else []
    place = next((number for number, name in enumerate(header) if name in _FILE_COLUMNS), None)
    if place is None:
        raise MasdError(f"{table}: has no column 'file_name'; expected the columns file_name,d1p,d1v,d2p,d2v,...")
    if not any(_CONDITION_COLUMN.fullmatch(name) for name in header):
        raise MasdError(f"{table}: has no column 'd1p'; expected the columns file_name,d1p,d1v,d2p,d2v,...")
    found = []
    for line in cells[1:]:
        row = dict(zip(header, line, strict=False))
        path = PurePosixPath(row.get(header[place], "").replace("\\", "/"))
        if path.name and not {part.lower() for part in path.parts[-3:-1]} & set(
            TEST_FOLDERS
        ):  # test/a.wav, test/normal/a.wav
            found.append(Row(str(path), _folded(path), join_attributes(_pairs(row))))
    return found


def _folded(path: Path | PurePosixPath) -> tuple[str, ...]:
    """Parts of a path in a normal form, without suffix: ``Section_000_a.WAV`` becomes ``section_00_a``."""
    stem = path.stem if is_audio(Path(path)) else path.name  # a stem may hold a dot of its own
    folded = re.sub(r"^section_(\d{1,3})(?=_|$)", lambda found: f"section_{int(found[1]):02d}", stem.casefold())
    return (*(part.casefold() for part in path.parts[:-1]), folded)


def _same_end(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    same = 0
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if left != right:
            break
        same += 1
    return same


def _pairs(row: dict[str, str]) -> dict[str, str]:
    pairs = {}
    for column, key in row.items():
        if (number := _CONDITION_COLUMN.fullmatch(column)) and key and key.lower() != "none":
            value = row.get(f"d{number[1]}v")
            if value and value.lower() != "none":
                pairs[key] = value
    return pairs
