"""Submitting to a cluster: the real kfp.Client, the API server of tests/support/kfp_stand_in.py."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp_stand_in import StandIn, stand_in

from masd.cli.main import main
from masd.config import Settings
from masd.registry.audit import AuditTrail, RunDecision
from masd.storage.opening import open_store
from pipelines.cluster import client, submit
from pipelines.compile import compile_pipelines

TOKEN = "a-token-that-must-not-be-seen"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, Settings], list[Path]]:
    """The pipelines as they are compiled, but once for the same settings: it takes seconds."""
    known: dict[str, Path] = {}

    def compile_(out: Path, settings: Settings) -> list[Path]:
        key = settings.to_yaml()
        if key not in known:
            known[key] = tmp_path_factory.mktemp("compiled")
            if len(known) == 1:
                compile_pipelines(known[key], settings)
            else:  # another file is all that other settings mean here
                for path in next(iter(known.values())).iterdir():
                    (known[key] / path.name).write_text(f"# {len(known)}\n{path.read_text()}")
        return [Path(shutil.copy(path, out)) for path in known[key].iterdir()]

    return compile_


@pytest.fixture(autouse=True)
def environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiled: Callable[[Path, Settings], list[Path]]
) -> None:
    """A home without a Kubeflow configuration, quick polling, a token."""
    monkeypatch.setattr(submit, "compile_pipelines", compiled)
    monkeypatch.setattr(client, "POLL_S", 0.01)
    monkeypatch.setenv("MASD_KFP_TOKEN", TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in(TOKEN) as about:
        yield about


def _submit(server: StandIn, *more: str, pipeline: str = "training") -> int:
    return main(["pipeline", "submit", pipeline, "--endpoint", server.url, "--machines", "fan,valve", *more])


def _leaving_records(registry: Path, events: dict[str, str]) -> Any:
    """What the packaging steps of a run on a real cluster do."""

    def started(run: dict[str, Any]) -> None:
        for machine, event in events.items():
            gate = RunDecision(run["run_id"], event, "it has its reasons")
            trail = AuditTrail(open_store(str(registry)), machine)
            trail.add(event, "4", "3", f"{machine} has its verdict.", gate=gate)

    return started


def _waited(server: StandIn, tmp_path: Path, **events: str) -> int:
    registry = tmp_path / "registry"
    registry.mkdir(exist_ok=True)
    another = RunDecision("another", "promote", "it has its reasons")
    AuditTrail(open_store(str(registry)), "fan").add("promote", "3", "2", "fan passes.", gate=another)
    server.started = _leaving_records(registry, events)
    return _submit(server, "--wait", "--registry", str(registry))


def test_a_run_is_uploaded_started_and_its_verdicts_are_fetched(
    server: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _waited(server, tmp_path, fan="promote", valve="ask") == 0
    out, err = capsys.readouterr()
    (run,) = server.runs
    assert out.splitlines()[:2] == [f"run: {run['run_id']}", f"page: {server.url}/#/runs/details/{run['run_id']}"]
    assert [line.split(":")[0] for line in out.splitlines()[2:]] == ["promote fan 4", "ask valve 4"]
    assert [line for line in err.splitlines() if run["run_id"] in line and "SUCCEEDED" in line]
    assert TOKEN not in out + err

    (pipeline,) = server.pipelines
    assert pipeline["display_name"] == "masd-training"
    version = server.versions[-1]
    assert run["pipeline_version_reference"] == {
        "pipeline_id": pipeline["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
    }
    commit, digest = version["display_name"].split("+g")[1].split("-")
    assert len(commit) == 12 and len(digest) == 8
    assert run["display_name"] == f"masd-training {version['display_name']}"
    assert run["runtime_config"]["parameters"] == {"machines": ["fan", "valve"], "registry": str(tmp_path / "registry")}
    assert server.experiments[0]["display_name"] == "masd"
    assert "package-3" in json.dumps(version["pipeline_spec"])


def test_a_refusal_is_exit_code_3(server: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _waited(server, tmp_path, fan="promote", valve="refuse") == 3
    assert "refuse valve 4: valve has its verdict." in capsys.readouterr().out


def test_the_same_commit_with_the_same_settings_is_one_version(server: StandIn) -> None:
    assert _submit(server) == _submit(server) == 0
    assert [item["display_name"] for item in server.pipelines] == ["masd-training"]
    names = [item["display_name"] for item in server.versions]
    assert len(names) == 2 and names[0] == "masd-training"  # Kubeflow makes the first one with the pipeline
    assert _submit(server, "--set", "seed=7") == 0
    assert len(server.versions) == 3 and len(server.runs) == 3


def test_monitoring_without_drift_leaves_no_verdict(
    server: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "registry").mkdir()
    options = ("--log", "s3://plant/log", "--registry", str(tmp_path / "registry"), "--wait")
    assert _submit(server, *options, pipeline="monitoring") == 0
    assert server.runs[0]["runtime_config"]["parameters"]["log"] == "s3://plant/log"
    assert server.pipelines[0]["display_name"] == "masd-monitoring"
    assert "nothing was trained: the log of the drift task says" in capsys.readouterr().out


def test_a_registry_that_the_run_did_not_write_to(
    server: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _waited(server, tmp_path, fan="promote") == 1
    assert "left no record of valve" in _line(capsys)


def _line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error."""
    err = capsys.readouterr().err
    assert "Traceback" not in err and TOKEN not in err
    (line,) = [line for line in err.splitlines() if line.startswith("masd: ")]
    return line


@pytest.mark.parametrize("token", ["wrong", ""])
def test_a_wrong_or_missing_token(
    server: StandIn, token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MASD_KFP_TOKEN", token)
    assert _submit(server) == 1
    line = _line(capsys)
    assert server.url in line and "(401)" in line and "MASD_KFP_TOKEN_FILE" in line
    assert not server.pipelines


def test_a_token_from_a_mounted_file(server: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MASD_KFP_TOKEN")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("MASD_KFP_TOKEN_FILE", str(tmp_path / "token"))
    assert _submit(server) == 0


def test_a_token_is_not_sent_in_clear_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pipeline", "submit", "--endpoint", "http://kubeflow.example", "--machines", "fan"]) == 1
    assert "https only" in _line(capsys)


@pytest.mark.parametrize("endpoint", ["kubeflow.example", "ftp://x", "https://user:secret@kubeflow.example"])
def test_what_is_no_endpoint(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pipeline", "submit", "--endpoint", endpoint, "--machines", "fan"]) == 1
    assert "is not an endpoint" in _line(capsys)


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert main(["pipeline", "submit", "--endpoint", url, "--machines", "fan"]) == 1
    assert url in _line(capsys)


def test_a_silent_endpoint_is_given_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(client, "REQUEST_TIMEOUT_S", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert main(["pipeline", "submit", "--endpoint", url, "--machines", "fan"]) == 1
    assert "timed out" in _line(capsys)


@pytest.mark.parametrize("request_", ["GET .*/healthz", "POST .*/upload_version", "POST .*/runs"])
def test_an_api_server_that_fails(server: StandIn, request_: str, capsys: pytest.CaptureFixture[str]) -> None:
    server.fail(request_, 500)
    assert _submit(server) == 1
    assert "the server answers 500" in (line := _line(capsys)) and "database is locked" in line
    assert not server.runs


def test_a_restart_of_the_api_server_is_waited_out(server: StandIn, tmp_path: Path) -> None:
    server.fail("GET .*/runs/", 503, times=3)
    assert _waited(server, tmp_path, fan="promote", valve="promote") == 0


def test_an_api_server_that_stays_away(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.fail("GET .*/runs/", 503)
    assert _submit(server, "--wait") == 1
    line = _line(capsys)
    assert f"cannot read the state of run {server.runs[0]['run_id']}" in line and "503" in line


@pytest.mark.parametrize(
    ("states", "says"),
    [
        (["RUNNING", "FAILED"], "failed in featurize, train: task exited with code 1"),
        (["CANCELED"], "was stopped"),
    ],
)
def test_a_run_that_does_not_succeed(
    server: StandIn, states: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.states, server.failed_tasks = states, ["train", "featurize"]
    assert _submit(server, "--wait") == 1
    line = _line(capsys)
    assert says in line and f"{server.url}/#/runs/details/" in line


def test_a_run_that_takes_too_long_goes_on(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.states = ["RUNNING"]
    assert _submit(server, "--wait", "--timeout", "1s") == 1
    assert "is still RUNNING after 1 s; it continues" in _line(capsys)


def test_a_schedule_on_the_cluster_is_kept_once(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pipeline", "schedule", "monitoring", "--endpoint", server.url, "--machines", "fan"]
    assert main([*command, "--cron", "*/30 * * * *"]) == 0
    assert main([*command, "--every", "6h", "--log", "s3://plant/log"]) == 0
    (recurring,) = server.recurring
    assert recurring["recurring_run_id"] in capsys.readouterr().out.splitlines()[-1]
    assert recurring["trigger"] == {"periodic_schedule": {"interval_second": 21600}}
    assert (recurring["max_concurrency"], recurring["no_catchup"], recurring["mode"]) == (1, True, "ENABLE")
    assert recurring["runtime_config"]["parameters"] == {"machines": ["fan"], "log": "s3://plant/log"}


def test_kubeflow_wants_a_field_for_seconds(server: StandIn) -> None:
    command = ["pipeline", "schedule", "training", "--endpoint", server.url, "--machines", "fan"]
    assert main([*command, "--cron", "*/30 * * * *"]) == 0
    assert server.recurring[0]["trigger"] == {"cron_schedule": {"cron": "0 */30 * * * *"}}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cron", "* * *"], "not five fields"),
        (["--cron", "99 * * * *"], "Bad minute"),
        (["--every", "soon"], "is not a duration"),
        (["--watch"], "--watch works only on this computer"),
    ],
)
def test_schedules_that_are_none(
    server: StandIn, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pipeline", "schedule", "training", "--endpoint", server.url, "--machines", "fan"]
    assert main([*command, *options]) == 1
    assert says in _line(capsys)
    assert not server.recurring


def test_a_cluster_run_needs_machines(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pipeline", "submit", "--endpoint", server.url]) == 1
    assert "needs --machines" in _line(capsys)
