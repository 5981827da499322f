"""A real TorchServe: the same score as offline, right statuses, a clean end, and failures that say why."""

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from raw_http import call, management_key

from masd.bundle.bundle import load_bundle
from masd.errors import MasdError
from masd.files import sha256
from serving.archive import archive
from serving.client import ScoringClient
from serving.server import RunningServer, running_server

pytestmark = pytest.mark.slow

SERVE = """
import sys, pathlib
from masd.errors import MasdError
from serving.server import serve
try:
    serve([pathlib.Path(sys.argv[1])], port=0, management_port=0, metrics_port=0)
except MasdError as error:
    sys.exit(f"masd: {error}")
"""


def _post(server: RunningServer, body: bytes, content_type: str, machine: str = "") -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.request("POST", f"/predictions/{machine or _machine(server)}", body, {"Content-Type": content_type})
    response = connection.getresponse()
    status, text = response.status, response.read()
    connection.close()
    return status, json.loads(text)


def _machine(server: RunningServer) -> str:
    (machine,) = server.models
    return machine


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


def test_every_shape_answers_with_the_score_of_the_scorer(server: RunningServer, tiny_bundle: Path, wav: Any) -> None:
    clip = wav(seconds=4.5, seed=5)
    scorer = load_bundle(tiny_bundle).scorer
    expected = scorer.score([scorer.decode(clip)])[0].to_dict()
    text = base64.b64encode(clip).decode()
    v2 = {"inputs": [{"name": "clip", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    (v2_output,) = _post(server, _json(v2), "application/json")[1]["outputs"]
    answers = [
        _post(server, clip, "audio/wav")[1],
        ScoringClient(server.url).score(_machine(server), clip),
        _post(server, _json({"instances": [{"b64": text}]}), "application/json")[1]["predictions"][0],
        json.loads(v2_output["data"][0]),
    ]
    for answer in answers:
        assert list(answer) == list(expected)
        assert answer["model_version"] == expected["model_version"]
        assert answer["anomalous"] == expected["anomalous"]
        for name in ("score", "threshold", "duration_s", "reconstruction_error"):
            assert answer[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5)
        assert [part["score"] for part in answer["segments"]] == pytest.approx(
            [part["score"] for part in expected["segments"]], abs=1e-5
        )


def test_parameters_are_used_and_the_request_id_comes_back(server: RunningServer, wav: Any) -> None:
    client = ScoringClient(server.url)
    answer = client.score(_machine(server), wav(), threshold=-1.0, request_id="r-1")
    assert (answer["threshold"], answer["anomalous"], answer["request_id"]) == (-1.0, True, "r-1")
    assert client.score(_machine(server), wav(), threshold=1e9)["anomalous"] is False


def test_one_bad_clip_among_good_ones_spoils_only_its_own_answer(server: RunningServer, wav: Any) -> None:
    clips = [wav(seconds=2.0 + seed, seed=seed) for seed in range(5)]
    alone = [_post(server, clip, "audio/wav")[1]["score"] for clip in clips]
    bodies = [*clips[:2], b"RIFF broken", *clips[2:], wav(seconds=0)]
    for _ in range(3):
        with ThreadPoolExecutor(len(bodies)) as pool:
            replies = list(pool.map(lambda body: _post(server, body, "audio/wav"), bodies))
        assert [status for status, _ in replies] == [200, 200, 400, 200, 200, 200, 400]
        scores = [answer["score"] for status, answer in replies if status == 200]
        assert scores == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "error"),
    [
        (b"not audio", "audio/wav", 400, "undecodable"),
        (b"", "audio/wav", 400, "empty"),
        (b"{", "application/json", 400, "undecodable"),
        (b"\xff", "text/plain", 400, "undecodable"),
        (b'{"instances": 1}', "application/json", 422, "invalid_parameters"),
        (b"threshold=1.5", "application/x-www-form-urlencoded", 400, "empty"),
        (b"a=b", "application/x-www-form-urlencoded", 400, "undecodable"),  # no form of ours: taken for audio
    ],
)
def test_errors(server: RunningServer, body: bytes, content_type: str, status: int, error: str) -> None:
    code, answer = _post(server, body, content_type)
    assert (code, answer["code"], answer["error"]) == (status, status, error)
    assert set(answer) == {"code", "error", "detail"}


def test_too_long_and_too_large(server: RunningServer, wav: Any) -> None:
    code, answer = _post(server, wav(seconds=3_601, rate=1_000), "audio/wav")
    assert (code, answer["error"]) == (413, "too_long")
    assert _post(server, wav(seconds=200, rate=48_000), "audio/wav")[0] == 200  # over TorchServe's usual 6.5 MB
    with pytest.raises(MasdError, match="413"):
        ScoringClient(server.url).score(_machine(server), bytes(160_000_000))


def test_the_client_passes_on_the_servers_words(server: RunningServer, wav: Any) -> None:
    client = ScoringClient(server.url)
    with pytest.raises(MasdError, match="422: threshold must be a finite number"):
        client.score(_machine(server), wav(), threshold=float("nan"))
    with pytest.raises(MasdError, match="404: Model not found: nobody"):
        client.score("nobody", wav())
    with pytest.raises(MasdError, match="no answer from"):
        ScoringClient("http://127.0.0.1:9", timeout=1.0).score("fan", wav())


def test_clips_are_logged_and_probes_are_not(server: RunningServer, log_folder: Path, wav: Any) -> None:
    ScoringClient(server.url).score(_machine(server), wav(), request_id="logged")
    files = log_folder.glob(f"{_machine(server)}-*.jsonl")  # one for each worker
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert [row["model_version"] for row in rows if row["request_id"] == "logged"] == [server.models[_machine(server)]]
    assert not [row for row in rows if (row["request_id"] or "").startswith("masd-probe-")]


def test_listens_on_loopback_only_and_takes_no_models_from_outside(server: RunningServer) -> None:
    doors = [
        [door.laddr for door in process.net_connections("inet") if door.status == psutil.CONN_LISTEN]
        for process in psutil.Process().children(recursive=True)
        if "java" in process.name()
    ]
    port = int(server.management_url.rpartition(":")[2])
    (own,) = [found for found in doors if port in [door.port for door in found]]  # other tests have servers too
    assert len(own) == 5
    assert {door.ip.removeprefix("::ffff:") for door in own} == {"127.0.0.1"}
    path = f"/models?url={_machine(server)}.mar"
    assert call(server.management_url, "POST", path).status == 400  # no key
    assert call(server.management_url, "POST", path, headers=management_key(server)).status == 405


@contextmanager
def _serving(bundle: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(bundle)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """As a TMPDIR: pytest's own temporary folders can be too deep for a socket."""
    with tempfile.TemporaryDirectory(prefix="masd-") as folder:
        yield Path(folder)


def test_a_temporary_folder_too_deep_for_sockets_is_named(tiny_bundle: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    with _serving(tiny_bundle, TMPDIR=str(deep)) as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert "the path is too long for the workers' sockets: set TMPDIR to a folder with a shorter path" in errors
    assert list(deep.iterdir()) == []


def test_one_line_when_ready_and_a_clean_end_within_ten_seconds(tiny_bundle: Path, short_folder: Path) -> None:
    with _serving(tiny_bundle, TMPDIR=str(short_folder), MINIO_ROOT_PASSWORD="secret") as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        manifest = load_bundle(tiny_bundle).manifest
        assert ready["ready"] is True
        assert ready["models"] == {manifest.machine_type: manifest.version}
        family = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in family if child.name() != "java"]
        assert len(family) > len(workers) > 0
        assert not [worker for worker in workers if "MINIO_ROOT_PASSWORD" in worker.environ()]
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=10)
        assert time.monotonic() - begin < 10
        assert (process.returncode, rest) == (0, "")
        assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert list(short_folder.iterdir()) == []


def test_stopped_while_it_starts(tiny_bundle: Path) -> None:
    with _serving(tiny_bundle) as process:
        parent = psutil.Process(process.pid)
        deadline = time.monotonic() + 60
        while not (family := parent.children()) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=10)
        assert (process.returncode, output) == (0, "")
        assert not [child for child in family if child.is_running()]


def test_a_bundle_whose_files_do_not_fit_never_becomes_ready_and_says_why(tiny_bundle: Path, tmp_path: Path) -> None:
    """Every digest is right, so only the handler can find out."""
    broken = shutil.copytree(tiny_bundle, tmp_path / "broken")
    (broken / "detectors.safetensors").write_bytes((broken / "network.safetensors").read_bytes())
    manifest = json.loads((broken / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["detectors.safetensors"] = sha256(broken / "detectors.safetensors")
    (broken / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    begin = time.monotonic()
    with (
        pytest.raises(MasdError, match=r"no model can be served: fan: it does not load: .*do not belong together"),
        running_server([broken]),
    ):
        pass
    assert time.monotonic() - begin < 100


def test_an_archive_that_dies_without_a_word_ends_in_an_error_too(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    machine = load_bundle(bundle).manifest.machine_type
    mar = archive(bundle, bundle / f"{machine}.mar")
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import zipfile,sys; z=zipfile.ZipFile(sys.argv[1],'a'); z.writestr('handler.py', 'x y')",
            mar,
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    reason = "no model can be served: fan: it does not load: SyntaxError"
    with pytest.raises(MasdError, match=reason), running_server([bundle]):
        pass


def test_what_can_be_known_before_java_starts(tiny_bundle: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(MasdError, match=f"--management-port {port} .*in use"),
            running_server([tiny_bundle], management_port=port),
        ):
            pass
    for arguments, message in [
        ({"bundles": [tiny_bundle], "host": "0.0.0.0"}, "--host 0.0.0.0 needs --auth static"),
        ({"bundles": [tiny_bundle], "host": "0.0.0.0", "auth": "token"}, "--host 0.0.0.0 needs --auth static"),
        ({"bundles": []}, "no bundle"),
        ({"bundles": [tiny_bundle, tiny_bundle]}, "two bundles"),
        ({"bundles": [tmp_path]}, "is not a bundle"),
        ({"bundles": [tiny_bundle], "log_folder": tiny_bundle / "config.yaml"}, "cannot be written"),
        (
            {"bundles": [tiny_bundle], "log_folder": tmp_path, "log_url": str(tiny_bundle / "config.yaml")},
            r"inference log folder .*config.yaml cannot be written",
        ),
    ]:
        with pytest.raises(MasdError, match=message), running_server(**arguments):
            pass
