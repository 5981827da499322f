#!/usr/bin/env bash
# minio 7.2.20 says that an object was written when a proxy has answered 200 with a page, and reads the page as the object.
#
# Guess: a client of S3 takes an answer that is not S3's for an error whatever was asked, as listing does: a store without
# an ETag has stored nothing. Networks of plants have sign-in pages and proxies that answer any request with 200 and HTML.
# Seen: list_objects raises, as HTML is not the XML that it reads. put_object and fput_object return a result like any other;
# only its etag is the empty string. get_object and fget_object give the page's bytes, remove_object ends without an error, and
# stat_object says that the object has the page's size.
# Who writes must look at the result's etag, and who reads at the ETag header: every S3 server sends one for an object.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'minio==7.2.20' 'urllib3==2.7.0'
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import minio
import urllib3

PAGE = b"<html><body>Please sign in to the network.<br></body></html>"


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(PAGE)

    do_PUT = do_HEAD = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = minio.Minio(f"127.0.0.1:{server.server_port}", "key", "secret", secure=False, region="us-east-1")


def outcome(work) -> str:
    try:
        return repr(work())
    except Exception as error:
        return f"raises {type(error).__name__}"


with open("own", "wb") as file:
    file.write(b"content")
seen = {
    "list_objects": outcome(lambda: list(client.list_objects("bucket"))),
    "put_object": outcome(lambda: "etag " + repr(client.put_object("bucket", "a", io.BytesIO(b"content"), 7).etag)),
    "fput_object": outcome(lambda: "etag " + repr(client.fput_object("bucket", "a", "own").etag)),
    "get_object": outcome(lambda: client.get_object("bucket", "a").read() == PAGE),
    "fget_object": outcome(lambda: (client.fget_object("bucket", "a", "there"), open("there", "rb").read() == PAGE)[1]),
    "remove_object": outcome(lambda: client.remove_object("bucket", "a")),
    "stat_object": outcome(lambda: client.stat_object("bucket", "a").size == len(PAGE)),
}
print("minio", minio.__version__, "urllib3", urllib3.__version__)
for what, said in seen.items():
    print(f"{what}: {said}")
taken = dict.fromkeys(("get_object", "fget_object", "stat_object"), "True")
stored = dict.fromkeys(("put_object", "fput_object"), "\"etag ''\"")
assert seen == {"list_objects": "raises ParseError", "remove_object": "None", **stored, **taken}, "this has changed"
PY
