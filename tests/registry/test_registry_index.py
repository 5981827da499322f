"""The index: a look costs little where nothing moves, and is right whoever is killed and whoever writes at once."""

import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_bundle import write_fake_bundle

from masd.cli.main import main
from masd.errors import MasdError
from masd.registry import index as indexing
from masd.registry.prune import prune
from masd.registry.registry import Registry
from masd.registry.verify import verify
from masd.storage.protocol import ObjectStore, StoreError


class Counting:
    """A store that counts what it is asked."""

    def __init__(self, store: ObjectStore) -> None:
        self._store, self.url, self.asked = store, store.url, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        self.asked[name] += 1
        return getattr(self._store, name)


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "registry") if request.param == "folder" else request.getfixturevalue("s3_url")


def _fill(url: str, tmp_path: Path, machines: list[str], versions: int = 2) -> Registry:
    registry = Registry.open(url)
    for machine in machines:
        for number in range(versions):
            bundle = write_fake_bundle(tmp_path / f"{machine}-{number}", machine, size=50)
            registry.register(bundle, metrics={})
        registry.promote(machine, "1", reason="first")
    return registry


def test_a_look_costs_one_request_where_nothing_has_changed(url: str, tmp_path: Path) -> None:
    writer = _fill(url, tmp_path, ["fan", "pump", "valve"])
    store = Counting(Registry.open(url).store)
    reader = Registry(store)
    assert reader.look().production == {"fan": "1", "pump": "1", "valve": "1"}
    store.asked.clear()
    assert reader.look().production == {"fan": "1", "pump": "1", "valve": "1"}
    assert store.asked == {"read": 1}
    writer.promote("pump", "2", reason="better")
    store.asked.clear()
    assert reader.look().production == {"fan": "1", "pump": "2", "valve": "1"}
    assert store.asked.total() <= (5 if url.startswith("s3://") else 8)  # a folder's entries are all read again
    assert writer.rollback("pump", reason="worse") == "1"
    assert reader.look().production["pump"] == "1"
    assert [(e.machine, e.versions, e.candidate, e.production) for e in reader.entries()] == [
        (name, ["1", "2"], "2", "1") for name in ("fan", "pump", "valve")
    ]
    prune(writer, "fan", keep=1)
    writer.register(write_fake_bundle(tmp_path / "new", "fan", size=50), metrics={})
    assert reader.entries()[0].versions == ["1", "2", "3"]
    assert reader.machines() == ["fan", "pump", "valve"]


@pytest.mark.parametrize("killed_at", ["the pointer", "the entry", "the end"])
def test_a_writer_that_is_killed_misleads_nobody(
    url: str, tmp_path: Path, killed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = _fill(url, tmp_path, ["fan", "pump"])
    reader = Registry.open(url)
    assert reader.look().production == {"fan": "1", "pump": "1"}

    class Killed(BaseException):
        pass

    def die(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(indexing.Index, "refresh", die)  # what is not killed at all goes on after the block
        if killed_at == "the pointer":
            write = registry.store.write
            pointer = "models/fan/channels/production.json"
            patch.setattr(
                registry.store, "write", lambda key, content: die() if key == pointer else write(key, content)
            )
        if killed_at == "the end":
            patch.setattr(indexing.Index, "refresh", lambda *arguments: None)
            patch.setattr(type(registry.store), "delete", die)
        with pytest.raises(Killed):
            registry.promote("fan", "2", reason="better")
    for claim in list(registry.store.list("models/fan/locks/")):
        registry.store.delete(claim.key)
    expected = "1" if killed_at == "the pointer" else "2"
    for again in (reader, Registry.open(url)):
        assert again.look().production == {"fan": expected, "pump": "1"}
    registry.promote("fan", "2", reason="at last")
    registry.promote("pump", "2", reason="better")
    assert reader.look().production == {"fan": "2", "pump": "2"}
    monkeypatch.setattr(indexing, "GIVEN_UP", timedelta(0))
    assert [line for line in verify(registry) if "broken off" not in line] == []
    assert not list(registry.store.list("index/moving/"))
    assert reader.look().production == {"fan": "2", "pump": "2"}


def test_a_registry_without_an_index_is_read_and_verify_makes_one(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = _fill(url, tmp_path, ["fan", "pump"])
    for item in list(registry.store.list("index/")):
        registry.store.delete(item.key)
    monkeypatch.setattr(indexing, "MOST_AT_ONCE", 1)
    reader = Registry.open(url)
    assert reader.look().production == {"fan": "1", "pump": "1"}
    registry.promote("fan", "2", reason="without an index")
    assert reader.look().production == {"fan": "2", "pump": "1"}
    assert [entry.machine for entry in reader.entries()] == ["fan", "pump"]
    assert not list(registry.store.list("index/"))
    assert verify(registry) == []
    assert registry.index.look() is not None
    assert reader.look().production == {"fan": "2", "pump": "1"}


def test_one_unreadable_pointer_stops_no_other(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = _fill(url, tmp_path, ["fan", "pump"])
    registry.store.write("models/fan/channels/production.json", b"{")
    verify(registry)
    look = Registry.open(url).look()
    assert look.production == {"pump": "1"}
    assert "unreadable pointer" in look.problems["fan"]
    assert main(["registry", "list", "--registry", url]) == 0
    assert "fan: versions 1, 2; production -, candidate 2; a pointer cannot be read" in capsys.readouterr().out
    with pytest.raises(MasdError, match="unreadable pointer"):
        registry.in_production()
    registry.store.write("index/machines/pump.json", b"no entry")
    assert Registry.open(url).look().production == {"pump": "1"}
    registry.promote("fan", "2", reason="written anew")
    assert Registry.open(url).look() == type(look)({"fan": "2", "pump": "1"}, {})


def test_many_that_move_at_once_leave_the_truth(tmp_path: Path) -> None:
    url = str(tmp_path / "registry")
    names = ["fan", "pump", "valve"]
    barrier = threading.Barrier(len(names))
    failed: list[Exception] = []

    def work(name: str) -> None:  # the first three of a new registry, each in a process of its own as far as it knows
        barrier.wait()
        try:
            registry = _fill(url, tmp_path, [name], versions=4)
            for version in ("2", "3", "4"):
                registry.promote(name, version, reason="next")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    seen = dict.fromkeys(names, 0)
    reader = Registry.open(url)
    while any(thread.is_alive() for thread in threads):
        for name, version in reader.look().production.items():
            assert int(version) >= seen[name]
            seen[name] = int(version)
    for thread in threads:
        thread.join()
    assert failed == []
    assert reader.look().production == dict.fromkeys(names, "4")
    known = reader.index.look()
    assert known is not None and list(known) == names
    assert all(entry is not None and entry.versions == ["1", "2", "3", "4"] for entry in known.values())


def test_an_account_that_only_reads_looks_and_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = _fill(str(tmp_path / "registry"), tmp_path, ["fan"])

    def refuse(*arguments: object) -> None:
        raise StoreError("access denied")

    for name in ("write", "upload", "delete"):
        monkeypatch.setattr(registry.store, name, refuse)
    assert registry.look().production == {"fan": "1"}
    assert verify(registry) == []
