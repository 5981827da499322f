"""``masd dataset``: a data set by name, through all that goes wrong between a server and a disk."""

import io
import random
import shutil
import stat
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from zenodo_server import Zenodo, serving

from masd.cli.main import main
from masd.data.download import transfer, zenodo
from masd.data.download.catalogue import CONTENTS, RECORDS, machine_of, replaced
from masd.data.download.fetch import fetch
from masd.data.folders.machine import list_machines, read_machine
from masd.errors import MasdError

NAME = "dcase2025-dev"
CLIP_BYTES = 3_000
CHUNK_BYTES = 1_000  # so that small archives come in many chunks


def clip(name: str) -> bytes:
    """Stands for a recording; nothing here decodes one. Noise, so that it does not get small in a zip."""
    return random.Random(name).randbytes(CLIP_BYTES)


def zipped(*entries: str | zipfile.ZipInfo) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in entries:
            file.writestr(entry, clip(entry if isinstance(entry, str) else entry.filename))
    return buffer.getvalue()


def machine_zip(machine: str) -> bytes:
    return zipped(
        f"{machine}/train/section_00_source_train_normal_0000_noAttribute.wav",
        f"{machine}/train/section_00_target_train_normal_0001_noAttribute.wav",
        f"{machine}/test/section_00_source_test_anomaly_0000.wav",
        f"__MACOSX/{machine}/train/._section_00_source_train_normal_0000_noAttribute.wav",
        f"{machine}/.DS_Store",
        "readme.txt",
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zenodo]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(zenodo, "WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(transfer, "CHUNK_BYTES", CHUNK_BYTES)
    files = {"dev_fan.zip": machine_zip("fan"), "dev_valve.zip": machine_zip("valve"), "readme.md": b"text"}
    with serving(files) as running:
        monkeypatch.setenv("MASD_ZENODO_URL", running.url)
        yield running


def get(out: Path, *machines: str, name: str = NAME) -> list[str]:
    return [folder.name for folder in fetch(name, out, machines, progress=lambda done, total, text: None)]


def refusal(out: Path, *machines: str, name: str = NAME) -> str:
    with pytest.raises(MasdError) as caught:
        get(out, *machines, name=name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


FAN = [
    "fan/test/section_00_source_test_anomaly_0000.wav",
    "fan/train/section_00_source_train_normal_0000_noAttribute.wav",
    "fan/train/section_00_target_train_normal_0001_noAttribute.wav",
]


# --- names -----------------------------------------------------------------------------------------------------------


def test_the_catalogue_has_every_set_of_every_year() -> None:
    assert sorted(RECORDS) == sorted(f"dcase{year}-{part}" for year in range(2020, 2027) for part in CONTENTS)
    assert len(set(RECORDS.values())) == len(RECORDS)


@pytest.mark.parametrize(
    ("file", "machine"),
    [
        ("dev_data_ToyCar.zip", "ToyCar"),
        ("eval_data_train_fan.zip", "fan"),
        ("eval_data_test_fan.zip", "fan"),
        ("eval_data_fan_train.zip", "fan"),
        ("dev_bearing.zip", "bearing"),
        ("eval_data_3DPrinter_train_r2.zip", "3DPrinter"),
        ("dev_fan_part2.zip", "fan"),
        ("dev_data.zip", "dev_data"),
        ("dev_ToyCar_r2.zip", "ToyCar"),
        ("dev_gearboxEmu.zip", "gearboxEmu"),
        ("eval_data_BlowerDustCollector_train.zip", "BlowerDustCollector"),
    ],
)
def test_the_machine_in_an_archives_name(file: str, machine: str) -> None:
    assert machine_of(file) == machine


def test_list_names_every_set_and_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(RECORDS)
    assert lines[-1].split()[0] == "dcase2026-eval"
    assert lines[-1].endswith("https://zenodo.org/records/20437238")


def test_an_unknown_name_lists_the_known_ones_and_leaves_nothing(tmp_path: Path) -> None:
    said = refusal(tmp_path / "data", name="dcase2019-dev")
    assert "dcase2019-dev" in said
    assert all(name in said for name in RECORDS)
    assert not (tmp_path / "data").exists()


def test_an_unknown_machine_lists_the_ones_there_are(server: Zenodo, tmp_path: Path) -> None:
    said = refusal(tmp_path / "data", "fan", "toaster")
    assert "no machine toaster" in said
    assert "it has fan, valve" in said
    assert not (tmp_path / "data").exists()


# --- fetching --------------------------------------------------------------------------------------------------------


def test_two_machines_from_the_command_line(server: Zenodo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    assert main(["dataset", "fetch", NAME, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(out / "fan"), str(out / "valve")]
    assert "MB dev_fan.zip" in said.err
    assert list_machines(out) == ["fan", "valve"]
    data = read_machine(out / "valve")
    assert [(c.split, c.domain, c.condition) for c in data.clips] == [
        ("train", "source", "normal"),
        ("train", "target", "normal"),
        ("test", "source", "anomaly"),
    ]
    assert (out / FAN[0]).read_bytes() == clip(FAN[0])
    assert listing(out) == sorted(
        [
            *FAN,
            *(file.replace("fan", "valve") for file in FAN),
            ".downloads/dcase2025-dev/dev_fan.zip.done",
            ".downloads/dcase2025-dev/dev_valve.zip.done",
        ]
    )


def test_some_machines_only(server: Zenodo, tmp_path: Path) -> None:
    assert get(tmp_path, "valve") == ["valve"]
    assert [name for name, _ in server.asked] == ["dev_valve.zip"]


def test_a_second_run_fetches_only_what_is_missing(server: Zenodo, tmp_path: Path) -> None:
    get(tmp_path, "fan")
    assert get(tmp_path) == ["fan", "valve"]
    assert [name for name, _ in server.asked] == ["dev_fan.zip", "dev_valve.zip"]
    shutil.rmtree(tmp_path / "fan")
    get(tmp_path)
    assert [name for name, _ in server.asked] == ["dev_fan.zip", "dev_valve.zip", "dev_fan.zip"]


def test_an_archive_that_changed_is_fetched_again(server: Zenodo, tmp_path: Path) -> None:
    get(tmp_path, "fan")
    server.files["dev_fan.zip"] = zipped(*FAN, "fan/attributes_00.csv")
    get(tmp_path, "fan")
    assert "fan/attributes_00.csv" in listing(tmp_path)


def test_an_additional_set_fills_up_the_machines(server: Zenodo, tmp_path: Path) -> None:
    get(tmp_path)
    more = "fan/train/section_03_source_train_normal_0000_noAttribute.wav"
    server.files = {"eval_data_fan_train.zip": zipped(FAN[1], more)}  # one of the files is there already
    assert get(tmp_path, name="dcase2025-add") == ["fan"]
    assert [file for file in listing(tmp_path) if file.startswith("fan")] == sorted([*FAN, more])


MACHINES_2026 = {
    "dcase2026-dev": ["ToyCar", "ToyCarEmu", "bearingEmu", "fan", "gearboxEmu", "sliderEmu", "valveEmu"],
    "dcase2026-add": ["ToyDrone", "ToothBrush", "SewingMachine", "BlowerDustCollector", "Sander"],
}


@pytest.mark.parametrize("name", MACHINES_2026)
def test_2026_comes_as_the_other_years_do(name: str, server: Zenodo, tmp_path: Path) -> None:
    kind = {"dcase2026-dev": "dev_{}.zip", "dcase2026-add": "eval_data_{}_train.zip"}[name]
    server.files = {kind.format(machine): machine_zip(machine) for machine in MACHINES_2026[name]}
    assert get(tmp_path, name=name) == sorted(MACHINES_2026[name])
    assert len(read_machine(tmp_path / MACHINES_2026[name][0]).clips) == 3


def test_an_archive_that_was_replaced_is_not_fetched(server: Zenodo, tmp_path: Path) -> None:
    server.files = {"dev_ToyCar.zip": b"withdrawn", "dev_ToyCar_r2.zip": machine_zip("ToyCar")}
    assert get(tmp_path, name="dcase2026-dev") == ["ToyCar"]
    assert [name for name, _ in server.asked] == ["dev_ToyCar_r2.zip"]


def test_later_revisions_replace_earlier_ones() -> None:
    files = ["a.zip", "a_r2.zip", "a_r10.zip", "b_r2.zip", "c_part2.zip", "c.zip"]
    assert replaced(files) == {"a.zip", "a_r2.zip"}


# --- a bad line ------------------------------------------------------------------------------------------------------


def test_an_interrupted_transfer_goes_on_where_it_stopped(server: Zenodo, tmp_path: Path) -> None:
    server.cut_after = [2_500]
    get(tmp_path, "fan")
    size = len(server.files["dev_fan.zip"])
    assert server.asked == [("dev_fan.zip", ""), ("dev_fan.zip", "bytes=2500-")]
    assert server.sent == size + len(server.record(str(RECORDS[NAME])))  # no byte twice
    assert listing(tmp_path / "fan")


def test_a_later_run_goes_on_where_the_first_gave_up(server: Zenodo, tmp_path: Path) -> None:
    server.cut_after = [2_000, 1_000, 500]
    said = refusal(tmp_path, "fan")
    assert "run the same command again" in said
    assert listing(tmp_path) == [".downloads/dcase2025-dev/dev_fan.zip.part"]
    server.asked.clear()
    get(tmp_path, "fan")
    assert server.asked == [("dev_fan.zip", "bytes=3500-")]


def test_a_server_without_ranges_starts_again(server: Zenodo, tmp_path: Path) -> None:
    server.ranges = False
    server.cut_after = [2_500]
    get(tmp_path, "fan")
    assert server.asked[1] == ("dev_fan.zip", "bytes=2500-")
    assert (tmp_path / FAN[0]).read_bytes() == clip(FAN[0])


def test_a_range_that_the_server_does_not_have_starts_again(server: Zenodo, tmp_path: Path) -> None:
    """The record says one byte more than there is: the part is as long as the file, and asking for the rest is 416."""
    part = tmp_path / ".downloads" / NAME / "dev_fan.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(server.files["dev_fan.zip"])
    size = part.stat().st_size
    server.lengths["dev_fan.zip"] = size + 1
    said = refusal(tmp_path, "fan")
    assert f"has {size} bytes" in said
    assert [asked for _, asked in server.asked] == [f"bytes={size}-", ""]
    assert listing(tmp_path) == []
    del server.lengths["dev_fan.zip"]
    get(tmp_path, "fan")


def test_a_part_longer_than_the_file_is_no_part_of_it(server: Zenodo, tmp_path: Path) -> None:
    part = tmp_path / ".downloads" / NAME / "dev_fan.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(server.files["dev_fan.zip"] + b"x")
    get(tmp_path, "fan")
    assert server.asked == [("dev_fan.zip", "")]


def test_a_busy_server_is_asked_again(server: Zenodo, tmp_path: Path) -> None:
    server.busy = [503, 429]
    assert get(tmp_path, "fan") == ["fan"]
    server.busy = [500, 502, 503]
    assert "503" in refusal(tmp_path, "valve")


def test_a_refusal_is_not_asked_again(server: Zenodo, tmp_path: Path) -> None:
    server.busy = [404, 404]
    assert "404" in refusal(tmp_path)
    assert server.busy == [404]


def test_no_server_is_one_clear_line(tmp_path: Path, server: Zenodo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASD_ZENODO_URL", "http://127.0.0.1:9")  # the discard port: nobody listens
    assert "127.0.0.1:9" in refusal(tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_damaged_bytes_are_thrown_away_and_the_next_run_works(server: Zenodo, tmp_path: Path) -> None:
    server.damaged = {"dev_fan.zip"}
    said = refusal(tmp_path)
    assert "dev_fan.zip" in said
    assert "MD5" in said
    assert listing(tmp_path) == []
    server.damaged.clear()
    assert get(tmp_path) == ["fan", "valve"]


# --- whom to ask -----------------------------------------------------------------------------------------------------


def test_a_redirect_on_the_same_host_is_followed(server: Zenodo, tmp_path: Path) -> None:
    server.redirects["dev_fan.zip"] = "/elsewhere/dev_fan.zip"
    assert get(tmp_path, "fan") == ["fan"]


@pytest.mark.parametrize("where", ["http://localhost:{port}/elsewhere/dev_fan.zip", "http://[/", "file:///etc/hosts"])
def test_another_host_is_not_asked(where: str, server: Zenodo, tmp_path: Path) -> None:
    where = where.format(port=server.url.rpartition(":")[2])
    server.redirects["dev_fan.zip"] = where
    refusal(tmp_path, "fan")
    server.redirects.clear()
    server.links["dev_fan.zip"] = where
    assert where in refusal(tmp_path, "fan")
    assert server.asked == []
    assert listing(tmp_path) == []


def test_https_does_not_become_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASD_ZENODO_URL", "https://127.0.0.1:9")
    with pytest.raises(MasdError, match="refused"):
        zenodo.Server().open("http://127.0.0.1:9/api/records/1")


@pytest.mark.parametrize("address", ["zenodo.org", "file:///mirror", "http://["])
def test_an_address_that_is_none_names_the_variable(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASD_ZENODO_URL", address)
    assert "MASD_ZENODO_URL" in refusal(tmp_path)


def test_a_file_name_that_is_a_path_is_refused(server: Zenodo, tmp_path: Path) -> None:
    server.files["../dev_pump.zip"] = b"x"
    assert "../dev_pump.zip" in refusal(tmp_path / "data")
    assert not (tmp_path / "data").exists()


# --- archives that are not what they should be -----------------------------------------------------------------------


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("../evil.wav", "a path outside the folder"),
        ("fan/train/../../../evil.wav", "a path outside the folder"),
        ("/evil.wav", "not relative"),
        ("C:/evil.wav", "not relative"),
        ("fan\\train\\evil.wav", "not relative"),
        (link("fan/train/evil.wav"), "a link"),
    ],
    ids=str,
)
def test_unsafe_archives_are_refused_whole(
    entry: str | zipfile.ZipInfo, why: str, server: Zenodo, tmp_path: Path
) -> None:
    server.files["dev_fan.zip"] = zipped(*FAN, entry)
    out = tmp_path / "deep" / "data"
    said = refusal(out)
    assert why in said
    assert "evil.wav" in said
    assert listing(tmp_path) == ["deep/data/.downloads/dcase2025-dev/dev_fan.zip"]


def test_an_archive_that_is_none_leaves_no_machine(server: Zenodo, tmp_path: Path) -> None:
    server.files["dev_fan.zip"] = b"PK, but no more"
    assert "dev_fan.zip" in refusal(tmp_path)
    assert not (tmp_path / "fan").exists()


def test_an_archive_that_ends_in_the_middle_leaves_no_machine(server: Zenodo, tmp_path: Path) -> None:
    """The directory is in order, the last clip's bytes are not."""
    good = machine_zip("fan")
    place = good.index(b"section_00_source_test_anomaly_0000.wav") + 500
    server.files["dev_fan.zip"] = good[:place] + bytes(100) + good[place + 100 :]
    assert "dev_fan.zip" in refusal(tmp_path)
    assert listing(tmp_path) == [".downloads/dcase2025-dev/dev_fan.zip"]


def test_an_archive_of_loose_files_is_refused(server: Zenodo, tmp_path: Path) -> None:
    server.files["dev_fan.zip"] = zipped("section_00_source_train_normal_0000_noAttribute.wav")
    assert "no machine folder" in refusal(tmp_path)


# --- the disk --------------------------------------------------------------------------------------------------------

Usage = namedtuple("Usage", "total used free")


def test_too_little_space_is_said_before_anything_is_fetched(
    server: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(server.files["dev_fan.zip"])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 3 * size - 1))
    said = refusal(tmp_path / "data", "fan")
    assert str(tmp_path / "data") in said
    assert f"about {3 * size:,} bytes are needed" in said
    assert f"but only {3 * size - 1:,} are free" in said
    assert server.asked == []
    assert not (tmp_path / "data").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 3 * size))
    assert get(tmp_path / "data", "fan") == ["fan"]


def test_an_archive_that_unpacks_to_more_than_there_is_room_for(
    server: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(FAN[1], bytes(2_000_000))
    server.files["dev_fan.zip"] = bomb.getvalue()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 1_000_000))
    assert "unpacks to 2,000,000 bytes, but only 1,000,000 are free" in refusal(tmp_path, "fan")
    assert not (tmp_path / "fan").exists()


def test_identical_files_may_be_there_already(server: Zenodo, tmp_path: Path) -> None:
    (tmp_path / "fan" / "train").mkdir(parents=True)
    (tmp_path / FAN[1]).write_bytes(clip(FAN[1]))
    get(tmp_path, "fan")
    assert listing(tmp_path / "fan") == [file.removeprefix("fan/") for file in FAN]


@pytest.mark.parametrize("file", [FAN[1], "fan/train/mine.wav"])
def test_other_recordings_are_neither_replaced_nor_mixed(file: str, server: Zenodo, tmp_path: Path) -> None:
    (tmp_path / "fan" / "train").mkdir(parents=True)
    (tmp_path / file).write_bytes(b"of the user")
    assert file in refusal(tmp_path, "fan")
    assert listing(tmp_path / "fan") == [file.removeprefix("fan/")]
    assert (tmp_path / file).read_bytes() == b"of the user"


def test_two_years_do_not_share_a_folder(server: Zenodo, tmp_path: Path) -> None:
    get(tmp_path, "fan")
    assert "already contains dcase2025-dev" in refusal(tmp_path, name="dcase2024-dev")


@pytest.mark.parametrize("after", ["rename", "replace"])
def test_a_run_that_dies_while_moving_is_made_whole_by_the_next(
    after: str, server: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a folder was renamed, or the first of its files: the marker is not written, so all of it is done again."""
    if after == "replace":
        (tmp_path / "fan" / "train").mkdir(parents=True)
    move = getattr(Path, after)

    def die(self: Path, target: Path) -> Path:
        moved: Path = move(self, target)
        if target.is_relative_to(tmp_path / "fan"):
            raise KeyboardInterrupt
        return moved

    with monkeypatch.context() as patch:
        patch.setattr(Path, after, die)
        with pytest.raises(KeyboardInterrupt):
            get(tmp_path, "fan")
    assert get(tmp_path, "fan") == ["fan"]
    assert listing(tmp_path) == [".downloads/dcase2025-dev/dev_fan.zip.done", *FAN]
    assert [name for name, _ in server.asked] == ["dev_fan.zip"]
