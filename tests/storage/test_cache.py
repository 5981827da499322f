"""The cache is bounded, and what killed processes left in it goes."""

import os
import tempfile
from pathlib import Path

import pytest

from masd.storage.cache import temporary_folder, trim, used


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    for number in range(6):
        entry = tmp_path / f"{number}"
        entry.mkdir()
        (entry / "content").write_bytes(b"x" * 100)
        os.utime(entry, (number, number))
    used(tmp_path / "0")
    left = tmp_path / ".half"
    left.mkdir()
    os.utime(left, (1, 1))
    trim(tmp_path, most_bytes=300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "4", "5"]
    for name in ("4", "5"):
        used(tmp_path / name)
    trim(tmp_path, most_bytes=0)  # all are in use
    assert len(list(tmp_path.iterdir())) == 3
    trim(tmp_path / "absent")


def test_a_file_that_a_data_set_shares_stays(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    objects.mkdir()
    for name in ("shared", "alone"):
        (objects / name).write_bytes(b"x" * 100)
        os.utime(objects / name, (1, 1))
    os.link(objects / "shared", tmp_path / "in a data set")
    trim(objects, most_bytes=0)
    assert [path.name for path in objects.iterdir()] == ["shared"]


def test_temporary_folders_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, age in (("masd-register-old", 0), ("masd-check-old", 0), ("masd-register-new", None), ("other", 0)):
        (tmp_path / name).mkdir()
        if age is not None:
            os.utime(tmp_path / name, (age, age))
    with temporary_folder("register") as folder:
        assert folder.is_dir() and folder.name.startswith("masd-register-")
        assert not (tmp_path / "masd-register-old").exists()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["masd-check-old", "masd-register-new", "other"]
