"""A stand-in for the Kubeflow Pipelines API server: the parts of its v2beta1 REST API that kfp.Client calls.

No Kubernetes is behind it: a "run" goes through the states that the test gives. Paths, parameters, names of fields and
error bodies are those of the real API, so that the real kfp.Client works against it unmodified.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import yaml

API = "/apis/v2beta1"


class StandIn:
    """What the server knows. ``states`` are what a run answers, one a question, the last one for good; ``outage`` is
    answered to that many requests (method and path match) with a status.
    """

    def __init__(self, token: str | None = None) -> None:
        self.token, self.url = token, ""
        self.pipelines: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []
        self.experiments: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.recurring: list[dict[str, Any]] = []
        self.states = ["PENDING", "RUNNING", "SUCCEEDED"]
        self.failed_tasks: list[str] = []
        self.started: Callable[[dict[str, Any]], None] = lambda run: None
        self.outages: list[tuple[str, int, int]] = []
        self.requests: list[tuple[str, str]] = []

    def fail(self, pattern: str, status: int, times: int = 1_000) -> None:
        self.outages.append((pattern, status, times))

    def outage(self, request: str) -> int | None:
        for number, (pattern, status, left) in enumerate(self.outages):
            if left and re.search(pattern, request):
                self.outages[number] = (pattern, status, left - 1)
                return status
        return None

    def state_of(self, run: dict[str, Any]) -> dict[str, Any]:
        asked = run.setdefault("_asked", 0)
        run["_asked"] += 1
        run["state"] = self.states[min(asked, len(self.states) - 1)]
        if run["state"] == "FAILED":
            tasks = [{"display_name": name, "state": "FAILED"} for name in self.failed_tasks]
            run["run_details"] = {"task_details": [*tasks, {"display_name": "root", "state": "RUNNING"}]}
            run["error"] = {"code": 13, "message": "task exited with code 1"}
        return {key: value for key, value in run.items() if not key.startswith("_")}


@contextmanager
def stand_in(token: str | None = None) -> Iterator[StandIn]:
    """Serve on a free port of the loopback interface."""
    about = StandIn(token)

    class Bound(_Handler):
        stand_in = about

    with ThreadingHTTPServer(("127.0.0.1", 0), Bound) as server:
        about.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield about
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None: ...

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        about, parts = self.stand_in, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        about.requests.append((method, parts.path))
        if about.token and self.headers.get("authorization") != f"Bearer {about.token}":
            return self._answer(401, {"error": "Unauthorized", "code": 16, "message": "token review failed"})
        if status := about.outage(f"{method} {parts.path}"):
            return self._answer(status, {"error": "internal", "code": 13, "message": "database is locked"})
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        path = parts.path.removeprefix(API)
        for pattern, handle in self._routes(method).items():
            if found := re.fullmatch(pattern, path):
                return self._answer(*handle(query, body, *found.groups()))
        return self._answer(404, {"error": "Not Found", "code": 5, "message": f"no such path {path}"})

    def _routes(self, method: str) -> dict[str, Callable[..., tuple[int, dict[str, Any]]]]:
        routes: dict[str, dict[str, Callable[..., tuple[int, dict[str, Any]]]]] = {
            "GET": {
                "/healthz": lambda query, body: (200, {"multi_user": False, "pipeline_store": "database"}),
                "/pipelines": self._listed("pipelines", lambda about: about.pipelines),
                "/pipelines/([^/]+)/versions": self._listed("pipeline_versions", lambda about: about.versions),
                "/experiments": self._listed("experiments", lambda about: about.experiments),
                "/experiments/([^/]+)": self._one(lambda about: about.experiments, "experiment_id"),
                "/recurringruns": self._listed("recurringRuns", lambda about: about.recurring),
                "/runs/([^/]+)": self._run,
            },
            "POST": {
                "/pipelines/upload": self._upload,
                "/pipelines/upload_version": self._upload_version,
                "/experiments": self._created(lambda about: about.experiments, "experiment_id"),
                "/runs": self._started,
                "/recurringruns": self._created(lambda about: about.recurring, "recurring_run_id"),
            },
            "DELETE": {"/recurringruns/([^/]+)": self._deleted},
        }
        return routes[method]

    def _listed(self, name: str, of: Callable[[StandIn], list[dict[str, Any]]]) -> Callable[..., Any]:
        def handle(query: dict[str, str], body: bytes, parent: str | None = None) -> tuple[int, dict[str, Any]]:
            found = [item for item in of(self.stand_in) if parent is None or item["pipeline_id"] == parent]
            for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
                value = predicate.get("stringValue") or predicate.get("string_value")
                found = [item for item in found if item.get(predicate["key"]) == value]
            return 200, {name: found, "total_size": len(found)} if found else {}

        return handle

    def _one(self, of: Callable[[StandIn], list[dict[str, Any]]], key: str) -> Callable[..., Any]:
        def handle(query: dict[str, str], body: bytes, wanted: str) -> tuple[int, dict[str, Any]]:
            found = [item for item in of(self.stand_in) if item[key] == wanted]
            return (200, found[0]) if found else (404, {"code": 5, "message": f"{wanted} not found"})

        return handle

    def _created(self, of: Callable[[StandIn], list[dict[str, Any]]], key: str) -> Callable[..., Any]:
        def handle(query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
            item = {**json.loads(body), key: str(uuid4())}
            of(self.stand_in).append(item)
            return 200, item

        return handle

    def _upload(self, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        spec = self._uploaded(body)
        item = {"pipeline_id": str(uuid4()), "display_name": query["name"], "name": query["name"]}
        self.stand_in.pipelines.append(item)
        self._add_version(item["pipeline_id"], query["name"], spec)
        return 200, item

    def _upload_version(self, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        known = [item for item in self.stand_in.versions if item["pipeline_id"] == query["pipelineid"]]
        if any(item["display_name"] == query["name"] for item in known):
            return 409, {"error": "Already exist", "code": 6, "message": f"the name {query['name']} already exists"}
        return 200, self._add_version(query["pipelineid"], query["name"], self._uploaded(body))

    def _add_version(self, pipeline_id: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        item = {"pipeline_id": pipeline_id, "pipeline_version_id": str(uuid4()), "display_name": name}
        self.stand_in.versions.append({**item, "pipeline_spec": spec})
        return item

    def _uploaded(self, body: bytes) -> dict[str, Any]:
        """The pipeline in a multipart form's field ``uploadfile``."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        form = BytesParser().parsebytes(head + body)
        parts = [part for part in form.get_payload() if isinstance(part, Message)]
        (file,) = [part for part in parts if part.get_param("name", header="content-disposition") == "uploadfile"]
        content = file.get_payload(decode=True)
        assert isinstance(content, bytes)
        spec, platform = yaml.safe_load_all(content)
        return {"pipeline_spec": spec, "platform_spec": platform}

    def _started(self, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        run = {**json.loads(body), "run_id": str(uuid4()), "state": "PENDING"}
        reference = run["pipeline_version_reference"]
        if not [v for v in self.stand_in.versions if v["pipeline_version_id"] == reference["pipeline_version_id"]]:
            return 400, {"error": "Invalid", "code": 3, "message": "no such pipeline version"}
        self.stand_in.runs.append(run)
        self.stand_in.started(run)
        return 200, run

    def _run(self, query: dict[str, str], body: bytes, run_id: str) -> tuple[int, dict[str, Any]]:
        found = [run for run in self.stand_in.runs if run["run_id"] == run_id]
        return (200, self.stand_in.state_of(found[0])) if found else (404, {"code": 5, "message": "run not found"})

    def _deleted(self, query: dict[str, str], body: bytes, wanted: str) -> tuple[int, dict[str, Any]]:
        about = self.stand_in
        about.recurring = [item for item in about.recurring if item["recurring_run_id"] != wanted]
        return 200, {}

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
