"""A real S3 server on this machine (JuiceFS's gateway) that can be killed and started again on the same data."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioException
from urllib3 import PoolManager, Retry
from urllib3.exceptions import HTTPError

ACCESS_KEY, SECRET_KEY = "masd-tests", "not-a-secret-1"
JUICEFS = Path(sys.executable).with_name("juicefs")


class S3Gateway:
    """An S3 server on a loopback port; what it has acknowledged is in files below ``folder``."""

    def __init__(self, folder: Path, *, format_options: tuple[str, ...] = (), gateway_options: tuple[str, ...] = ()):
        self.folder = folder
        self.port = _free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._options = gateway_options
        self._meta = f"sqlite3://{folder / 'meta.db'}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "meta.db").exists():
            where = ["--storage", "file", "--bucket", str(folder / "blocks"), "--trash-days", "0"]
            self._run(["format", *where, *format_options, self._meta, "masd"])

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to know."""
        return {
            "MASD_S3_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    @property
    def client(self) -> Minio:
        """A client of the tests' own, to look at the store past masd."""
        http = PoolManager(timeout=5, retries=Retry(0))
        return Minio(
            f"127.0.0.1:{self.port}", ACCESS_KEY, SECRET_KEY, secure=False, region="us-east-1", http_client=http
        )

    def start(self) -> "S3Gateway":
        """Start the server and wait until it answers."""
        quiet = ["--no-banner", "--no-usage-report", "--backup-meta", "0", "--log", str(self.folder / "gateway.log")]
        behave = ["--multi-buckets", "--keep-etag", "--object-meta", "--object-tag", "--metrics", "127.0.0.1:0"]
        command = [str(JUICEFS), "gateway", *quiet, *behave, "--cache-dir", str(self.folder / "cache"), *self._options]
        with (self.folder / "gateway.out").open("ab") as out:
            self._process = subprocess.Popen(
                [*command, self._meta, f"127.0.0.1:{self.port}"],
                env={**os.environ, "MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY},
                stdout=out,
                stderr=out,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self.client.list_buckets()
                return self
            except (HTTPError, MinioException):
                if self._process.poll() is not None:
                    break
                time.sleep(0.1)
        raise AssertionError(f"the gateway did not start: {(self.folder / 'gateway.out').read_text()[-2000:]}")

    def kill(self) -> None:
        """As a power cut would: no chance to finish anything."""
        self._stop(signal.SIGKILL)

    def stop(self) -> None:
        self._stop(signal.SIGTERM)

    def make_bucket(self, name: str) -> str:
        """A new bucket's URL."""
        self.client.make_bucket(name)
        return f"s3://{name}"

    def add_reader(self, bucket: str) -> dict[str, str]:
        """The environment of an account that may read and list a bucket, and nothing else."""
        admin = MinioAdmin(
            endpoint=f"127.0.0.1:{self.port}", credentials=StaticProvider(ACCESS_KEY, SECRET_KEY), secure=False
        )
        actions = ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"]
        where = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        statement = {"Effect": "Allow", "Action": actions, "Resource": where}
        admin.policy_add("reader", policy={"Version": "2012-10-17", "Statement": [statement]})
        admin.user_add("reader", "reader-secret-1")
        admin.policy_set("reader", user="reader")
        return {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret-1"}

    def limit_objects(self, bucket: str, count: int) -> None:
        """Let the bucket be full at so many files and folders: a real quota of the server, which starts again."""
        self.kill()
        self._run(["quota", "set", self._meta, "--path", f"/{bucket}", "--inodes", str(count)])
        self.start()

    def _stop(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None

    def _run(self, arguments: list[str]) -> None:
        done = subprocess.run([str(JUICEFS), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@contextmanager
def running_gateway(folder: Path, **options: tuple[str, ...]) -> Iterator[S3Gateway]:
    """A started :class:`S3Gateway` for a block."""
    gateway = S3Gateway(folder, **options)
    try:
        yield gateway.start()
    finally:
        gateway.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
