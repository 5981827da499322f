"""A small Zenodo on this machine: records, files, and the ways in which a download goes wrong."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Zenodo:
    """What the server holds, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes after which the next answers end
    busy: list[int] = field(default_factory=list)  # status codes of the next answers
    damaged: set[str] = field(default_factory=set)  # sent with other bytes than the record's checksum is of
    lengths: dict[str, int] = field(default_factory=dict)  # what a record says instead of the real length
    redirects: dict[str, str] = field(default_factory=dict)  # file -> where its address leads to
    links: dict[str, str] = field(default_factory=dict)  # file -> link in the record
    asked: list[tuple[str, str]] = field(default_factory=list)  # (file, its Range header)
    sent: int = 0

    def record(self, number: str) -> bytes:
        base = f"{self.url}/api/records/{number}"
        files = [
            {
                "key": name,
                "size": self.lengths.get(name, len(content)),
                "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                "links": {"self": self.links.get(name, f"{base}/files/{name}/content")},
            }
            for name, content in self.files.items()
        ]
        return json.dumps({"id": int(number), "files": files}).encode()


class _Handler(BaseHTTPRequestHandler):
    zenodo: Zenodo

    def do_GET(self) -> None:
        zenodo = self.zenodo
        if zenodo.busy:
            self.send_error(zenodo.busy.pop(0))
        elif record := re.fullmatch(r"/api/records/(\d+)", self.path):
            self._send(zenodo.record(record[1]))
        elif (file := re.fullmatch(r"/api/records/\d+/files/([^/]+)/content|/elsewhere/([^/]+)", self.path)) is None:
            self.send_error(404)
        elif file[1] in zenodo.redirects:
            self.send_response(302)
            self.send_header("Location", zenodo.redirects[file[1]])
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send_file(file[1] or file[2])

    def _send_file(self, name: str) -> None:
        zenodo, content = self.zenodo, self.zenodo.files[name]
        zenodo.asked.append((name, self.headers.get("Range", "")))
        if name in zenodo.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not (start and zenodo.ranges):
            self._send(content, zenodo.cut_after.pop(0) if zenodo.cut_after else None)
        elif int(start[1]) >= len(content):
            self.send_error(416)
        else:
            place = f"bytes {start[1]}-{len(content) - 1}/{len(content)}"
            rest = content[int(start[1]) :]
            self._send(rest, zenodo.cut_after.pop(0) if zenodo.cut_after else None, place)

    def _send(self, content: bytes, cut: int | None = None, place: str = "") -> None:
        self.send_response(206 if place else 200)
        self.send_header("Content-Length", str(len(content)))
        if place:
            self.send_header("Content-Range", place)
        self.end_headers()
        self.zenodo.sent += self.wfile.write(content[:cut])

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Zenodo]:
    """A :class:`Zenodo` that answers at ``url`` while the block runs."""
    zenodo = Zenodo(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"zenodo": zenodo}))
    zenodo.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield zenodo
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
