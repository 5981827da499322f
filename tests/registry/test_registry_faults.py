"""A bucket in which something is wrong: one line that names it, and nothing has changed."""

import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import minio.time
import pytest
from fake_bundle import write_fake_bundle
from s3_gateway import S3Gateway, running_gateway

from masd.cli.main import main
from masd.errors import MasdError
from masd.registry.registry import Registry
from masd.registry.verify import verify
from masd.storage import s3

PROMOTE = ["registry", "promote", "fan", "2", "--reason", "better", "--registry"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "BACK_OFF_S", 0.01)


@pytest.fixture
def registry(s3_url: str, tmp_path: Path) -> Registry:
    """Two versions, the first one in production."""
    filled = Registry.open(s3_url)
    for number in (1, 2):
        filled.register(write_fake_bundle(tmp_path / str(number)), metrics={}, reason="test")
    filled.promote("fan", "1", reason="first")
    return filled


def _objects(gateway: S3Gateway, url: str) -> dict[str, str]:
    """Everything in the bucket, past masd."""
    bucket = url.removeprefix("s3://").partition("/")[0]
    return {str(item.object_name): str(item.etag) for item in gateway.client.list_objects(bucket, recursive=True)}


def _fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert len(line) < 450, line
    return line


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "the secret key is wrong; check AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "does not know this access key; check AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}, "no credentials: set AWS_ACCESS_KEY_ID"),
        ({"MASD_S3_ENDPOINT": "127.0.0.1:9000"}, "MASD_S3_ENDPOINT: must be https://host"),
        ({"MASD_S3_ENDPOINT": "https://key:secret@host"}, "MASD_S3_ENDPOINT: must be https://host"),
        ({"MASD_S3_ENDPOINT": "https://host/path"}, "MASD_S3_ENDPOINT: must be https://host"),
        ({"AWS_CA_BUNDLE": "/nowhere.pem"}, "AWS_CA_BUNDLE: there is no file /nowhere.pem"),
    ],
)
def test_an_environment_that_does_not_fit(
    registry: Registry,
    s3_gateway: S3Gateway,
    environment: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = _objects(s3_gateway, registry.url)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    line = _fails([*PROMOTE, registry.url], capsys)
    assert said in line
    assert not any(secret in line for secret in ("wrong-secret", "not-a-secret", "key:secret"))
    assert _objects(s3_gateway, registry.url) == before


def test_no_such_bucket(s3_gateway: S3Gateway, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "there is no such bucket" in _fails([*PROMOTE, "s3://nowhere/at/all"], capsys)
    with pytest.raises(MasdError, match="cannot list models/fan/: there is no such bucket"):
        Registry.open("s3://nowhere").register(write_fake_bundle(tmp_path / "b"), metrics={})


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "s3://key:secret@bucket/x", "s3://bucket/../x", "gs://b"])
def test_urls_that_are_none(s3_gateway: S3Gateway, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "secret" not in _fails([*PROMOTE, url], capsys)


def test_a_bucket_that_may_only_be_read(
    registry: Registry, s3_gateway: S3Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _objects(s3_gateway, registry.url)
    for name, value in s3_gateway.add_reader(registry.url.split("/")[2]).items():
        monkeypatch.setenv(name, value)
    assert main(["registry", "verify", "--registry", registry.url]) == 0
    assert main(["registry", "show", "fan", "--registry", registry.url]) == 0
    for command in (PROMOTE, ["registry", "prune", "fan", "--keep", "1", "--registry"]):
        line = _fails([*command, registry.url], capsys)
        assert "cannot write models/fan/locks/production/" in line
        assert "access denied; these credentials do not allow it (is the bucket read-only?)" in line
    assert _objects(s3_gateway, registry.url) == before


def test_nobody_answers(
    registry: Registry, s3_gateway: S3Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as nobody:  # bound, not listening
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASD_S3_ENDPOINT", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        line = _fails([*PROMOTE, registry.url], capsys)
    assert "no answer from http://127.0.0.1:" in line
    assert "check MASD_S3_ENDPOINT and the network" in line


def test_a_clock_that_is_wrong(
    registry: Registry, s3_gateway: S3Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, now = _objects(s3_gateway, registry.url), minio.time.utcnow
    with monkeypatch.context() as patch:
        patch.setattr(minio.time, "utcnow", lambda: now() + timedelta(hours=1))
        assert "the clock of this computer differs too much from the server's" in _fails(
            [*PROMOTE, registry.url], capsys
        )
    assert _objects(s3_gateway, registry.url) == before


def test_one_flipped_byte(
    registry: Registry,
    s3_gateway: S3Gateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry.fetch("fan", "2")  # an intact copy in the cache does not vouch for the store
    for name in ("network.safetensors", "manifest.json", "SHA256SUMS"):
        key = f"models/fan/2/{name}"
        content = registry.store.read(key)
        registry.store.write(key, content[:70] + bytes([content[70] ^ 1]) + content[71:])
        before = _objects(s3_gateway, registry.url)
        said = _fails([*PROMOTE, registry.url], capsys)
        assert f"{key}: differs from what was registered" in said
        assert main(["registry", "verify", "--registry", registry.url]) == 1
        assert "models/fan/2" in capsys.readouterr().err
        with monkeypatch.context() as patch, pytest.raises(MasdError, match="models/fan/2"):
            patch.setenv("MASD_CACHE", str(tmp_path / "empty"))
            registry.fetch("fan", "2")
        assert not [path for path in (tmp_path / "empty").rglob("*") if path.is_file()]
        assert _objects(s3_gateway, registry.url) == before
        registry.store.write(key, content)
    assert verify(registry) == []


def test_a_version_deleted_under_its_pointer(
    registry: Registry, s3_gateway: S3Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.promote("fan", "2", reason="better")
    for item in list(registry.store.list("models/fan/1/")):
        registry.store.delete(item.key)
    before = _objects(s3_gateway, registry.url)
    line = _fails(["registry", "rollback", "fan", "--reason", "worse", "--registry", registry.url], capsys)
    assert "fan has no version '1' (versions: 2)" in line
    assert _objects(s3_gateway, registry.url) == before
    registry.store.delete("models/fan/2/manifest.json")
    assert any("production pointer" in line and "'2'" in line for line in verify(registry))


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry of one version in a bucket that has room for few more files."""
    with running_gateway(tmp_path / "full") as gateway:
        for name, value in gateway.environment.items():
            monkeypatch.setenv(name, value)
        url = gateway.make_bucket("small")
        Registry.open(url).register(write_fake_bundle(tmp_path / "1"), metrics={})
        gateway.limit_objects("small", 10)
        yield url


@pytest.mark.slow
def test_a_store_that_is_full(full: str, tmp_path: Path) -> None:
    registry = Registry.open(full)
    before = {item.key: registry.store.read(item.key) for item in registry.store.list()}
    with pytest.raises(MasdError, match="the store is full; make room or raise its quota"):
        registry.register(write_fake_bundle(tmp_path / "2"), metrics={})
    assert {item.key: registry.store.read(item.key) for item in registry.store.list()} == before
    assert verify(registry) == []
