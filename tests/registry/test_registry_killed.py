"""kill -9 of the server and of the client while versions are registered and promoted: nothing acknowledged is lost."""

import random
from datetime import timedelta
from pathlib import Path

import pytest
from kill_harness import client, kill_client, kill_gateway
from s3_gateway import S3Gateway, running_gateway

from masd.registry import verify as verifying
from masd.registry.prune import prune
from masd.registry.registry import CHANNELS, Registry
from masd.registry.verify import verify

CLIENT = str(Path(__file__).parents[1] / "support" / "registry_client.py")
CLIENT_KILLS, GATEWAY_KILLS, FOLDER_KILLS = 18, 14, 8


def _check_pointers(registry: Registry, machine: str, said: list[dict[str, str]]) -> None:
    for name in CHANNELS:
        if (pointed := registry.channel(machine, name)) is not None:
            registry.check(machine, pointed)
    promoted = [int(line["promoted"]) for line in said if "promoted" in line]
    production = int(registry.channel(machine, "production") or 0)
    assert production >= max(promoted, default=0), "promoted in rising order, so never further back"


def _check_all(registry: Registry, machine: str, said: list[dict[str, str]]) -> None:
    _check_pointers(registry, machine, said)
    versions = registry.versions(machine)
    assert {line["registered"] for line in said if "registered" in line} <= set(versions)
    recorded = {(record["event"], record["version"]) for record in registry.audit(machine)}
    assert recorded >= {("register", version) for version in versions}
    assert recorded >= {("promote", line["promoted"]) for line in said if "promoted" in line}
    assert ("promote", registry.channel(machine, "production")) in recorded


def _mend(registry: Registry, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What verify says about the leftovers is enough to get rid of them."""
    monkeypatch.setattr(verifying, "BROKEN_OFF", timedelta(0))
    monkeypatch.setattr(verifying, "LEASE", timedelta(0))
    for claim in list(registry.store.list(f"models/{machine}/locks/")):  # as if the lease had run out
        registry.store.delete(claim.key)
    problems = verify(registry)  # of every version, acknowledged or not: no file is missing or damaged
    assert all("masd registry prune" in line or "masd registry promote" in line for line in problems), problems
    prune(registry, machine, keep=5)
    registry.promote(machine, registry.versions(machine)[-1], reason="mended")
    assert verify(registry) == []


@pytest.mark.slow
def test_killed_at_random_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(5)
    with running_gateway(tmp_path / "s3") as gateway:
        for name, value in gateway.environment.items():
            monkeypatch.setenv(name, value)
        url = f"{gateway.make_bucket('registry')}/plant"
        registry, said = Registry.open(url), list[dict[str, str]]()
        for _ in range(CLIENT_KILLS):
            said += kill_client([CLIENT, url, "fan"], gateway.environment, rng, within_s=0.5)
            _check_pointers(registry, "fan", said)
        _kill_gateway_often(gateway, url, rng, said)
        _check_all(registry, "fan", said)
        acknowledged = [
            line for line in said if "registered" in line or "promoted" in line
        ]  # at least one after each kill
        assert len(acknowledged) >= GATEWAY_KILLS and any("promoted" in line for line in acknowledged)
        _mend(registry, "fan", monkeypatch)


def _kill_gateway_often(gateway: S3Gateway, url: str, rng: random.Random, said: list[dict[str, str]]) -> None:
    with client([CLIENT, url, "fan"], gateway.environment) as running:
        for _ in range(GATEWAY_KILLS):
            kill_gateway(gateway, running, rng, within_s=0.5)
    said += running.said


@pytest.mark.slow
def test_killed_at_random_points_on_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, url, said = random.Random(6), str(tmp_path / "registry"), list[dict[str, str]]()
    for _ in range(FOLDER_KILLS):
        said += kill_client([CLIENT, url, "fan"], {}, rng, within_s=0.5)
        _check_pointers(Registry.open(url), "fan", said)
    _check_all(Registry.open(url), "fan", said)
    _mend(Registry.open(url), "fan", monkeypatch)
