"""Several processes at once: every registration gets a number of its own, and one promotion wins."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from fake_bundle import write_fake_bundle
from registry_race import race

from masd.bundle.manifest import FILES
from masd.files import sha256
from masd.registry.registry import Registry
from masd.registry.verify import verify
from masd.storage import locks
from masd.storage.locks import BusyError, exclusive

RIVALS = 3


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "registry") if request.param == "folder" else str(request.getfixturevalue("s3_url"))


@pytest.mark.slow
def test_registering_at_once(url: str, tmp_path: Path) -> None:
    bundles = [write_fake_bundle(tmp_path / str(number)) for number in range(RIVALS)]
    versions = race(url, [("register", str(bundle)) for bundle in bundles])
    registry = Registry.open(url)
    assert sorted(versions, key=int) == registry.versions("fan")
    assert len(set(versions)) == RIVALS
    for bundle, version in zip(bundles, versions, strict=True):  # each has its own files, not another's
        folder = registry.fetch("fan", version)
        assert [sha256(folder / name) for name in FILES] == [sha256(bundle / name) for name in FILES]
    assert registry.channel("fan", "candidate") in versions
    assert verify(registry) == []


@pytest.mark.slow
def test_promoting_at_once(url: str, tmp_path: Path) -> None:
    registry = Registry.open(url)
    for number in range(RIVALS + 1):
        registry.register(write_fake_bundle(tmp_path / str(number)), metrics={})
    registry.promote("fan", "1", reason="first")
    calls = [("promote", "fan", str(number + 2)) for number in range(RIVALS)]
    said = race(url, calls)
    losers = [line for line in said if line.startswith("error")]
    assert len(losers) == RIVALS - 1
    assert all(
        "has just been moved from 1 to" in line or "a promotion is in progress in another process" in line
        for line in losers
    )
    (winner,) = (line for line in said if not line.startswith("error"))
    assert registry.channel("fan", "production") == winner
    moves = [(record["previous"], record["version"]) for record in registry.audit("fan", "promote")]
    assert moves == [(None, "1"), ("1", winner)], "who lost left no record of a move"
    assert verify(registry) == []
    assert not list(registry.store.list("models/fan/locks/"))


def test_a_claim_keeps_others_out_until_its_lease_has_run_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Registry.open(url).store
    monkeypatch.setattr(locks, "PAUSE_S", 0.01)
    store.write("locks/x/of-one-that-was-killed", b"")
    busy = pytest.raises(BusyError, match=r"fan: a promotion is in progress in another process; .* expires after 30 s")
    with busy, exclusive(store, "locks/x", "fan: a promotion"):
        pytest.fail("two inside")
    monkeypatch.setattr(locks, "LEASE", timedelta(seconds=0.01))
    with exclusive(store, "locks/x", "fan: a promotion"):
        assert [item.key for item in store.list("locks/x/")] != ["locks/x/of-one-that-was-killed"]
    assert not list(store.list("locks/"))
    with exclusive(store, "locks/x", "fan: a promotion") as lease:
        time.sleep(0.01)
        with pytest.raises(BusyError, match="took too long and lost its lock"):
            lease.check("fan: promoting")
