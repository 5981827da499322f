"""Kubeflow Pipelines on a cluster, through kfp.Client: upload a version, start and follow runs, keep a schedule."""

import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from masd.errors import MasdError, one_line
from masd.files import sha256
from pipelines.local.process import Say

TOKEN, TOKEN_FILE = "MASD_KFP_TOKEN", "MASD_KFP_TOKEN_FILE"
REQUEST_TIMEOUT_S = (10.0, 30.0)
"""Time limits for connecting and for reading. A pair, because kfp_server_api ignores a single number that is not an
int.
"""
POLL_S = 10.0
PATIENCE = 5
"""Failed requests in a row about a run that are tolerated: an API server restarts within that time."""
ENDED = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"})


class KubeflowClient:
    """One endpoint. Every error is one line that names it.

    :param token: a bearer token; default ``MASD_KFP_TOKEN``, or the file that ``MASD_KFP_TOKEN_FILE`` names.
    :raises MasdError: the endpoint cannot be reached or does not accept the token.
    """

    def __init__(self, endpoint: str, *, namespace: str | None = None, token: str | None = None) -> None:
        import kfp
        from kfp_server_api import ApiClient, ApiException, Configuration, HealthzServiceApi
        from urllib3.exceptions import HTTPError

        self.endpoint, self.namespace = endpoint.rstrip("/"), namespace
        self._api_error, self._http_error = ApiException, HTTPError
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise MasdError(f"{endpoint}: is not an endpoint; give http:// or https://host[:port], without a user name")
        token = token or _token()
        if token and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise MasdError(f"{endpoint}: a token is sent over https only; use https, or forward the port to localhost")
        # Asked before kfp.Client is made: that one would retry for half a minute, with a traceback each time.
        probe = Configuration(host=self.endpoint)
        if token:
            probe.api_key["authorization"], probe.api_key_prefix["authorization"] = token, "Bearer"
        if ca := os.environ.get("SSL_CERT_FILE"):
            probe.ssl_ca_cert = ca
        probe.retries = False
        with self._explained("cannot be used"), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # that kfp.Client needs a server of version 2
            HealthzServiceApi(ApiClient(probe)).healthz_service_get_healthz(_request_timeout=REQUEST_TIMEOUT_S)
            self._client = kfp.Client(
                host=self.endpoint, existing_token=token, namespace=namespace or "kubeflow", ssl_ca_cert=ca
            )
        _limit_time(self._client)

    def upload(self, package: Path, pipeline: str, version: str) -> tuple[str, str]:
        """The ids of a pipeline and of its version, uploaded unless they are there."""
        with self._explained(f"{pipeline} cannot be uploaded"), redirect_stdout(sys.stderr):
            pipeline_id = self._client.get_pipeline_id(pipeline)
            if pipeline_id is None:
                pipeline_id = self._client.upload_pipeline(str(package), pipeline, namespace=self.namespace).pipeline_id
            query = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": version}]}
            found = self._client.list_pipeline_versions(pipeline_id, filter=json.dumps(query)).pipeline_versions
            if found:
                return pipeline_id, found[0].pipeline_version_id
            uploaded = self._client.upload_pipeline_version(str(package), version, pipeline_id=pipeline_id)
            return pipeline_id, uploaded.pipeline_version_id

    def start(self, ids: tuple[str, str], name: str, experiment: str, arguments: dict[str, Any]) -> str:
        """Start a run of an uploaded version; returns the run's id."""
        with self._explained(f"{name} cannot be started"), redirect_stdout(sys.stderr):
            run = self._client.run_pipeline(
                self._client.create_experiment(experiment, namespace=self.namespace).experiment_id,
                name,
                params=arguments,
                pipeline_id=ids[0],
                version_id=ids[1],
            )
            return str(run.run_id)

    def wait(self, run_id: str, say: Say, *, timeout_s: float) -> None:
        """Wait until a run has succeeded.

        :raises MasdError: it failed or was stopped, it takes longer than ``timeout_s``, or the endpoint does not
            answer several times in a row.
        """
        begun, state, silent = time.monotonic(), "", 0
        while True:
            try:
                run = self._client.get_run(run_id)
                silent = 0
            except (self._api_error, self._http_error, OSError) as error:
                silent += 1
                if silent >= PATIENCE or getattr(error, "status", 500) in (401, 403, 404):
                    raise self._error(f"cannot read the state of run {run_id}", error) from error
            else:
                if run.state != state:
                    state = run.state
                    say(f"run {run_id}: {state or 'waiting'}")
                if state in ("SUCCEEDED", "SKIPPED"):
                    return
                if state in ENDED:
                    raise MasdError(f"{self.endpoint}: run {run_id} {_ending(run)}; see {self.page(run_id)}")
            if time.monotonic() - begun > timeout_s:
                raise MasdError(
                    f"{self.endpoint}: run {run_id} is still {state or 'waiting'} after {timeout_s:.0f} s; it "
                    f"continues: see {self.page(run_id)}"
                )
            time.sleep(POLL_S)

    def schedule(
        self,
        ids: tuple[str, str],
        name: str,
        experiment: str,
        arguments: dict[str, Any],
        *,
        cron: str | None,
        every_s: int | None,
    ) -> str:
        """Create a recurring run, one at a time and without catching up on missed times; returns its id. It replaces a
        recurring run of the same name, for example from an earlier CI job.
        """
        with self._explained(f"{name} cannot be scheduled"):
            experiment_id = self._client.create_experiment(experiment, namespace=self.namespace).experiment_id
            before = self._client.list_recurring_runs(page_size=100, experiment_id=experiment_id).recurring_runs or []
            made = self._client.create_recurring_run(
                experiment_id,
                name,
                # Kubeflow's expressions begin with a field for seconds.
                cron_expression=None if cron is None else f"0 {cron}",
                interval_second=every_s,
                max_concurrency=1,
                no_catchup=True,
                params=arguments,
                pipeline_id=ids[0],
                version_id=ids[1],
            )
            for old in before:
                if old.display_name == name:
                    self._client.delete_recurring_run(old.recurring_run_id)
            return str(made.recurring_run_id)

    def page(self, run_id: str) -> str:
        """The address of a run's page."""
        return f"{self.endpoint}/#/runs/details/{run_id}"

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (self._api_error, self._http_error, OSError, ValueError) as error:
            raise self._error(what, error) from error

    def _error(self, what: str, error: Exception) -> MasdError:
        status = getattr(error, "status", None)
        if status in (401, 403):
            why = f"the token is not accepted ({status}); set {TOKEN} or {TOKEN_FILE} to one that may do this"
        elif status:
            why = f"the server answers {status} {getattr(error, 'reason', '')}: {_said(getattr(error, 'body', ''))}"
        else:
            why = one_line(error, 200)
        return MasdError(f"{self.endpoint}: {what}: {why}")


def version_name(package: Path, code: str) -> str:
    """The git commit and a digest: the same commit compiled with other settings is another version."""
    return f"{code}-{sha256(package)[:8]}"


def _token() -> str | None:
    if token := os.environ.get(TOKEN, "").strip():
        return token
    if file := os.environ.get(TOKEN_FILE):
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise MasdError(f"{TOKEN_FILE}: {file}: {error.strerror}") from error
    return None


def _limit_time(client: Any) -> None:
    """kfp.Client has no time limit: without one, a request to an endpoint that does not answer would never end."""
    rest = client._run_api.api_client.rest_client
    unlimited = rest.request

    def request(*arguments: Any, **options: Any) -> Any:
        return unlimited(*arguments, **{**options, "_request_timeout": REQUEST_TIMEOUT_S})

    rest.request = request


def _ending(run: Any) -> str:
    """How a run ended, and which tasks failed."""
    tasks = (run.run_details.task_details if run.run_details else None) or []
    names = sorted({task.display_name for task in tasks if task.state == "FAILED" and task.display_name})
    failed = f" in {', '.join(names)}" if names else ""
    message = run.error.message if run.error and run.error.message else ""
    ending = {"FAILED": "failed", "CANCELED": "was stopped"}[run.state]
    return f"{ending}{failed}{': ' if message else ''}{one_line(message, 200)}"


def _said(body: Any) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    try:
        content = json.loads(text)
        text = str(content.get("message") or content.get("error") or text)
    except (ValueError, AttributeError):
        pass
    return one_line(text, 160) or "no reason given"
