"""Writing beside and renaming: under the final name stands the old content or the new, never half of either."""

from pathlib import Path

import pytest

from masd.files import replacing_file, replacing_folder, sha256, write_text


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class PowerCut(BaseException):
    """Not an Exception: like an interrupt, nothing in between may swallow it."""


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    with replacing_file(path) as staged:
        staged.write_text("content")
        assert not path.exists()
        assert staged.parent == path.parent  # the same disk, so that the rename is one step
    assert path.read_text() == "content"
    assert listing(path.parent) == ["a.json"]
    assert path.stat().st_mode & 0o777 == 0o644  # others may read it, although temporary files are private


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with replacing_file(path) as staged:
        staged.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert listing(tmp_path) == ["a.json"]


@pytest.mark.parametrize("failure", [ValueError, PowerCut])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_failed_write_leaves_what_was_there(failure: type[BaseException], old: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if old is not None:
        path.write_text(old)
    with pytest.raises(failure), replacing_file(path) as staged:
        staged.write_text("half")
        raise failure
    assert listing(tmp_path) == ([] if old is None else ["a.json"])
    assert old is None or path.read_text() == old


def test_text_is_written_as_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Öl\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\x96l\n"


def test_text_that_cannot_be_encoded_leaves_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "half \ud800")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert listing(tmp_path) == ["a.txt"]


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_appears_whole_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model"
    with replacing_folder(path) as staged:
        (staged / "deep").mkdir()
        (staged / "deep" / "b").write_text("2")
        (staged / "a").write_text("1")
        assert not path.exists()
    assert listing(path) == ["a", "deep", "deep/b"]
    assert listing(path.parent) == ["model", "model/a", "model/deep", "model/deep/b"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("old")
    with replacing_folder(path) as staged:
        (staged / "new").write_text("new")
        assert listing(path) == ["old"]
    assert listing(tmp_path) == ["model", "model/new"]


@pytest.mark.parametrize("failure", [ValueError, PowerCut])
@pytest.mark.parametrize("exists", [False, True])
def test_a_failed_folder_leaves_what_was_there(failure: type[BaseException], exists: bool, tmp_path: Path) -> None:
    path = tmp_path / "model"
    if exists:
        path.mkdir()
        (path / "old").write_text("old")
    with pytest.raises(failure), replacing_folder(path) as staged:
        (staged / "half").write_text("half")
        raise failure
    assert listing(tmp_path) == (["model", "model/old"] if exists else [])


@pytest.mark.parametrize("broken_rename", [1, 2])
@pytest.mark.parametrize("failure", [OSError, PowerCut])
def test_a_rename_that_fails_leaves_the_old_folder_in_its_place(
    failure: type[BaseException], broken_rename: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rename moves the old folder aside, the second puts the new one there."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("old")
    renames = 0
    rename = Path.rename

    def fail_once(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == broken_rename:
            raise failure("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(failure, match="disk full"), replacing_folder(path) as staged:
        (staged / "new").write_text("new")
    assert listing(tmp_path) == ["model", "model/old"]


def test_two_writers_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with replacing_folder(path) as first:
        with replacing_folder(path) as second:
            (second / "second").write_text("2")
        (first / "first").write_text("1")
    assert listing(tmp_path) == ["model", "model/first"]


def test_other_users_can_read_what_a_library_wrote_for_its_own_alone(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "model") as staged:
        (staged / "weights").touch(mode=0o600)
    assert (tmp_path / "model" / "weights").stat().st_mode & 0o777 == 0o644
