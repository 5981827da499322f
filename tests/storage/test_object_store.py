"""The object store: what holds for a folder and for a bucket on a real server alike."""

import os
import threading
from pathlib import Path

import pytest
from s3_gateway import S3Gateway

from masd.storage import s3
from masd.storage.folder import FolderStore
from masd.storage.opening import absolute_url, open_store
from masd.storage.protocol import Children, MissingObjectError, ObjectStore, StoreError


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3_url"))


def test_objects_are_what_was_last_written(store: ObjectStore, tmp_path: Path) -> None:
    assert list(store.list()) == []
    store.write("a/b.json", b"1")
    store.write("a/b.json", b"22")
    store.write("a/c/d ä+.txt", b"")
    store.write("ab", b"3")
    assert store.read("a/b.json") == b"22"
    assert store.read("a/c/d ä+.txt") == b""
    assert [(item.key, item.size) for item in store.list()] == [("a/b.json", 2), ("a/c/d ä+.txt", 0), ("ab", 1)]
    assert [item.key for item in store.list("a/")] == ["a/b.json", "a/c/d ä+.txt"]
    assert [item.key for item in store.list("a/b")] == ["a/b.json"]
    assert list(store.list("nothing/")) == []
    top, below = store.children(), store.children("a/")
    assert ([item.key for item in top.objects], top.folders) == (["ab"], ["a"])
    assert ([item.key for item in below.objects], below.folders) == (["a/b.json"], ["c"])
    assert store.children("nothing/") == store.children("ab/") == Children([], [])
    store.delete("a/b.json")
    store.delete("a/b.json")
    assert [item.key for item in store.list("a")] == ["a/c/d ä+.txt", "ab"]
    store.download("ab", tmp_path / "down" / "ab")
    assert (tmp_path / "down" / "ab").read_bytes() == b"3"


def test_what_is_not_there_is_missing_and_leaves_no_file(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(MissingObjectError, match="has no object a/b"):
        store.read("a/b")
    with pytest.raises(MissingObjectError, match="has no object a/b"):
        store.download("a/b", tmp_path / "down")
    assert not (tmp_path / "down").exists()


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/..", "a/./b", "a\\b", "a\0b"])
def test_keys_cannot_leave_the_store(store: ObjectStore, key: str, tmp_path: Path) -> None:
    for call in (store.read, store.delete, lambda key: store.write(key, b"")):
        with pytest.raises(StoreError, match="is not a key"):
            call(key)


def test_a_large_object_goes_in_parts(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 5 * 2**20)
    content = os.urandom(11 * 2**20)
    (tmp_path / "large").write_bytes(content)
    store.upload(tmp_path / "large", "large")
    (item,) = store.list()
    assert item.size == len(content)
    assert isinstance(store, FolderStore) or item.etag.endswith("-3"), "three parts"
    store.download("large", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == content


@pytest.mark.slow
def test_many_objects_are_all_listed_in_order(store: ObjectStore) -> None:
    keys = [f"{number:04d}" for number in range(1005)]  # a bucket lists a thousand at a time
    threads = [
        threading.Thread(target=lambda part: [store.write(k, b"") for k in part], args=(keys[i::8],)) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.key for item in store.list()] == keys


@pytest.mark.slow
def test_a_server_that_restarts_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3_gateway import running_gateway

    with running_gateway(tmp_path / "s3") as gateway:
        for name, value in gateway.environment.items():
            monkeypatch.setenv(name, value)
        store = open_store(gateway.make_bucket("restart"))
        store.write("before", b"1")
        gateway.kill()
        again = threading.Timer(0.5, gateway.start)
        again.start()
        try:
            store.write("meanwhile", b"2")
            assert [item.key for item in store.list()] == ["before", "meanwhile"]
        finally:
            again.join()


def test_credentials_from_a_mounted_file(
    s3_gateway: S3Gateway, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = tmp_path / "credentials"
    access, secret = (s3_gateway.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    secrets.write_text(f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(secrets))
    open_store(s3_url).write("a", b"1")
    secrets.write_text("not an ini file")
    with pytest.raises(StoreError, match="no credentials") as caught:
        open_store(s3_url)
    assert "not an ini" not in str(caught.value)


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store((tmp_path / "a b").as_uri()).url == str(tmp_path / "a b")
    assert absolute_url("x/y") == str(tmp_path / "x" / "y")
    assert absolute_url("s3://bucket/x") == "s3://bucket/x"
    with pytest.raises(StoreError, match="gs://bucket: give a path, file:///folder or s3://bucket/prefix"):
        open_store("gs://bucket")
