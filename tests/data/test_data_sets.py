"""Recordings from a bucket: the same files, downloaded once, and again only what has changed."""

import threading
from pathlib import Path

import pytest
from tiny import TINY_OVERRIDES

from masd.cli.main import main
from masd.config import Settings
from masd.data import data_sets
from masd.data.data_sets import local_data, local_machine, training_bytes
from masd.data.folders.machine import read_machine
from masd.data.store import FeatureStore
from masd.errors import MasdError
from masd.lifecycle import steps
from masd.storage.opening import open_store
from masd.storage.protocol import StoreError
from masd.storage.s3 import S3Store


@pytest.fixture
def bucket(s3_url: str, tiny_data: Path) -> str:
    store = open_store(s3_url)
    for path in sorted(path for path in tiny_data.rglob("*") if path.is_file()):
        store.upload(path, path.relative_to(tiny_data).as_posix())
    return s3_url


@pytest.fixture
def downloaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys in the order of their downloads."""
    keys: list[str] = []
    download = S3Store.download

    def noted(self: S3Store, key: str, path: Path) -> None:
        keys.append(key)
        download(self, key, path)

    monkeypatch.setattr(S3Store, "download", noted)
    return keys


def _files(folder: Path) -> dict[str, bytes]:
    """Recordings and attributes; what else lies beside them stays in the bucket."""
    found = (path for path in folder.rglob("*") if path.suffix in (".wav", ".csv"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_folder_is_used_where_it_is(tiny_data: Path) -> None:
    assert local_data(tiny_data, ["fan"]) == local_data(tiny_data.as_uri(), ["fan"]) == tiny_data
    assert local_machine(tiny_data / "fan") == (tiny_data / "fan").resolve()
    assert list(training_bytes(tiny_data)) == ["bearing", "fan"]


def test_the_bucket_gives_the_same_files_and_downloads_what_changed(
    bucket: str, tiny_data: Path, downloaded: list[str]
) -> None:
    data = local_data(bucket, ["fan"])
    assert _files(data) == {f"fan/{name}": content for name, content in _files(tiny_data / "fan").items()}
    assert (
        sorted(downloaded) == sorted(_files(data)) == sorted(p.relative_to(data).as_posix() for p in data.rglob("*.*"))
    )
    downloaded.clear()
    assert local_data(bucket, ["fan"]) == data
    assert local_machine(f"{bucket}/fan") == data / "fan"
    assert downloaded == [], "all of it is there"

    changed = sorted(path.name for path in (data / "fan" / "train").glob("*.wav"))[0]
    store = open_store(bucket)
    store.write(f"fan/train/{changed}", b"another recording")
    later = local_data(bucket, ["fan"])
    assert downloaded == [f"fan/train/{changed}"]
    assert (later / "fan" / "train" / changed).read_bytes() == b"another recording"
    assert _files(data) == {f"fan/{name}": content for name, content in _files(tiny_data / "fan").items()}
    assert training_bytes(bucket).keys() == {"fan", "bearing"}


def test_what_breaks_off_is_never_seen_and_goes_on(
    bucket: str, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    download, count = S3Store.download, 0

    def breaks(self: S3Store, key: str, path: Path) -> None:
        nonlocal count
        count += 1
        if count == 10:
            path.write_bytes(b"half")
            raise StoreError("the line is down")
        download(self, key, path)

    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "download", breaks)
        with pytest.raises(StoreError, match="the line is down"):
            local_data(bucket, ["fan"])
    assert not (tmp_path / "cache" / "data").exists() or not list((tmp_path / "cache" / "data").iterdir())
    done = len(list((tmp_path / "cache" / "objects").iterdir()))
    assert done >= 9
    assert b"half" not in {path.read_bytes() for path in (tmp_path / "cache" / "objects").iterdir()}
    assert len(_files(local_data(bucket, ["fan"]))) == len(_files(tiny_data / "fan"))


def test_a_recording_that_is_replaced_meanwhile_is_not_taken(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(S3Store, "download", lambda self, key, path: path.write_bytes(b"of another size"))
    with pytest.raises(StoreError, match="was replaced while it was downloaded"):
        local_data(bucket, ["fan"])
    assert not list((tmp_path / "cache" / "objects").iterdir())


def test_several_at_once_share_the_cache(bucket: str, tiny_data: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(local_data(bucket, ["fan"]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1
    assert len(_files(found[0])) == len(_files(tiny_data / "fan"))
    assert [path for path in found[0].parent.iterdir() if path.name.startswith(".")] == []


def test_features_of_a_bucket_are_those_of_the_folder(
    bucket: str, tiny_features: Path, tiny_settings: Settings, tmp_path: Path
) -> None:
    steps.featurize(bucket, ["fan"], tiny_settings, tmp_path / "features")
    fingerprints = {FeatureStore.open(folder / "fan").fingerprint for folder in (tiny_features, tmp_path / "features")}
    assert len(fingerprints) == 1


def test_keys_that_lead_elsewhere_are_refused(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(s3_url)
    store.write("fan/train/a.wav", b"1")
    (item,) = store.list()
    evil = type(item)("fan/../../evil.wav", item.size, item.modified, item.etag)
    monkeypatch.setattr(S3Store, "list", lambda self, prefix="": iter([evil]))
    with pytest.raises(StoreError, match="is not a key"):
        local_data(s3_url, ["fan"])


def test_what_is_not_there_is_said_in_one_line(s3_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(MasdError, match="fan: contains no recordings"):
        local_data(s3_url, ["fan"])
    for command in (
        ["train", f"{s3_url}/fan", "--out", str(tmp_path / "b")],
        ["train", s3_url, "--out", str(tmp_path / "b"), "--set", "training.scope=fleet"],
        ["benchmark", s3_url, "--out", str(tmp_path / "b")],
        ["pipeline", "run", "--data", s3_url, "--out", str(tmp_path / "b")],
    ):
        assert main(command) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"masd: {s3_url}") and "contains no" in line
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_train_and_evaluate_from_a_bucket(bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = [part for override in TINY_OVERRIDES for part in ("--set", override)]
    assert main(["train", f"{bucket}/fan", "--out", str(tmp_path / "bundle"), *tiny]) == 0
    assert main(["evaluate", str(tmp_path / "bundle"), f"{bucket}/fan", "--out", str(tmp_path / "results")]) == 0
    assert (tmp_path / "results" / "report.html").is_file()
    assert read_machine(data_sets.local_machine(f"{bucket}/fan")).machine_type == "fan"
