"""``masd data check``: one look that says all of a data set, for people and for programs."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from html_page import Page

from masd.cli.main import main

RATE = 16_000


def write(path: Path, seed: int, gain: float = 0.1, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, gain * np.random.default_rng(seed).standard_normal(round(seconds * RATE)), RATE)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A machine in good order, and beside it what people have."""
    for number in range(6):
        domain = "target" if number > 4 else "source"
        write(tmp_path / f"fan/train/section_00_{domain}_train_normal_{number:04}_vel_{number % 2}.wav", number)
    for number, condition in enumerate(("normal", "anomaly")):
        write(tmp_path / f"fan/test/section_00_source_test_{condition}_{number:04}.wav", 20 + number)
    for number in range(5):
        write(tmp_path / f"press/train/{number}.w64", 30 + number)
    write(tmp_path / "press/train/again.flac", 31, gain=0.05)
    write(tmp_path / "press/train/off.wav", 0, gain=0.0)
    (tmp_path / "press/train/phone.m4a").write_bytes(b"no recording")
    write(tmp_path / "press/test/NG/1.caf", 40)
    write(tmp_path / "press/test/squeaky/2.wav", 41)
    write(tmp_path / "spoilt/train/abnormal/1.wav", 50)
    write(tmp_path / "my pump 1/train/1.wav", 60)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/readme.txt").write_text("no machine")
    return tmp_path


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, object]]]:
    code = main(["data", "check", "--json", *arguments])
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return code, {found["machine_type"]: found for found in objects}


def codes(found: dict[str, object]) -> set[str]:
    findings = found["findings"]
    assert isinstance(findings, list)
    return {finding["code"] for finding in findings}


def test_json_has_an_object_per_machine(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = check(capsys, str(data))
    assert code == 1
    assert {name: one["trainable"] for name, one in found.items()} == {
        "fan": True,
        "press": True,
        "spoilt": False,
        "my pump 1": False,
    }
    fan = found["fan"]
    assert fan["findings"] == []
    assert fan["counts"] == [
        {"split": "train", "domain": "source", "condition": "normal", "kind": "noisy", "clips": 5},
        {"split": "train", "domain": "target", "condition": "normal", "kind": "noisy", "clips": 1},
        {"split": "test", "domain": "source", "condition": "anomaly", "kind": "noisy", "clips": 1},
        {"split": "test", "domain": "source", "condition": "normal", "kind": "noisy", "clips": 1},
    ]
    assert fan["duration_s"] == {"min": 1.0, "median": 1.0, "max": 1.0}
    assert fan["sample_rates"] == {"16000": 8} and fan["channels"] == {"1": 8} and fan["codecs"] == {"PCM_16": 8}
    assert fan["attributes"] == {"vel=0": 3, "vel=1": 3}
    assert fan["independent_recordings"] == 6 and fan["copies"] == {}


def test_what_is_wrong_is_a_field_for_programs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = check(capsys, str(data))
    press = found["press"]
    assert {"left_out", "unknown_words_test", "silent", "copies"} <= codes(press)
    assert press["silent"] == ["off.wav"]
    assert press["copies"] == {"again.flac": "1.w64"}
    assert press["suffixes"] == {".w64": 5, ".flac": 1, ".wav": 2, ".caf": 1}
    assert codes(found["spoilt"]) == codes(found["my pump 1"]) == {"unusable"}


def test_a_machines_own_folder_can_be_given(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(capsys, str(data / "fan"))[0] == 0
    code, found = check(capsys, str(data / "press"))
    assert code == 0 and list(found) == ["press"], "warnings keep nobody from training"


def test_too_few_and_too_many_unreadable_are_problems(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted((data / "fan/train").glob("*source*"))[:3]:
        path.write_bytes(b"no recording")
    code, found = check(capsys, str(data / "fan"))
    assert code == 1
    assert {"unreadable", "too_many_unreadable", "too_few"} <= codes(found["fan"])
    assert len(found["fan"]["unreadable"]) == 3


def test_a_folder_without_recordings_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert main(["data", "check", str(folder)]) == 1
        assert str(folder) in capsys.readouterr().err


def test_recordings_in_a_folder_of_another_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "fan/Train/1.wav", 1)
    code, found = check(capsys, str(tmp_path / "fan"))
    assert code == 1 and "Train/ (1)" in str(found["fan"]["findings"])


def test_lines_and_a_page_for_people(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "out" / "check.html"
    assert main(["data", "check", str(data), "--out", str(page)]) == 1
    said = capsys.readouterr().out
    assert "fan: ready for training\n  5 train source normal, 1 train target normal" in said
    assert "spoilt: cannot be used for training\n  problem: " in said
    text = page.read_text(encoding="utf-8")
    assert (
        "again.flac" in text.replace("<wbr>", "")
        and "cannot be used for training" in text
        and "data:image/svg+xml" in text
    )
    assert "http" not in text.replace("http-equiv", "")
    assert "fan" in Page(page).text


def test_names_on_the_page_are_text(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"fan/train/<b>{number}.wav", number)
    (tmp_path / "fan/train/<script>.xyz").write_bytes(b"")
    assert main(["data", "check", str(tmp_path / "fan"), "--out", str(tmp_path / "page.html")]) == 0
    assert "<script>" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_bucket_is_checked_as_a_folder(data: Path, s3_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    from masd.storage.opening import open_store

    store = open_store(s3_url)
    for path in sorted(path for name in ("fan", "my pump 1") for path in (data / name).rglob("*") if path.is_file()):
        store.upload(path, path.relative_to(data).as_posix())
    code, found = check(capsys, s3_url)
    assert code == 1 and {name: one["trainable"] for name, one in found.items()} == {"fan": True, "my pump 1": False}
    assert check(capsys, f"{s3_url}/fan")[0] == 0
