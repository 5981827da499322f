"""An object store in an S3-compatible bucket, through the ``minio`` client."""

import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from masd.files import replacing_file
from masd.storage.protocol import Children, StoredObject, StoreError, check_key
from masd.storage.s3_errors import explained, failures

if TYPE_CHECKING:
    from minio import Minio
    from minio.datatypes import Object

CONNECT_S, READ_S = 1.0, 12.0
"""If a server does not answer, an error comes within 15 s: connecting is tried again, waiting for an answer is not."""
RETRIES, BACK_OFF_S = 5, 0.2
"""Waits of 0, 0.4, 0.8, 1.6 and 3.2 s between tries: long enough for a server that restarts."""
POOL = 8
_BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)(?!.*(\.\.|\.-|-\.))[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
PART_BYTES = 16 * 2**20
"""Objects above this size go up in parts, at most three at a time."""


class S3Store:
    """Objects below a prefix of one bucket."""

    def __init__(self, client: "Minio", bucket: str, prefix: str, url: str) -> None:
        self.url = url
        self._client, self._bucket, self._prefix = client, bucket, prefix

    @classmethod
    def from_url(cls, url: str) -> "S3Store":
        """``s3://bucket/prefix``, with everything else from the environment; no request is sent yet.

        ``MASD_S3_ENDPOINT`` (default ``https://s3.amazonaws.com``), ``AWS_REGION`` (default ``us-east-1``),
        ``AWS_CA_BUNDLE`` for a private certificate authority, and credentials from ``AWS_ACCESS_KEY_ID`` with
        ``AWS_SECRET_ACCESS_KEY`` (and ``AWS_SESSION_TOKEN``), or from the file ``AWS_SHARED_CREDENTIALS_FILE``
        (profile ``AWS_PROFILE``), which may be a mounted secret.

        :raises StoreError: a URL or an environment that cannot be used.
        """
        parts = urlsplit(url)
        prefix = parts.path.strip("/")
        if not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
            raise StoreError(
                f"{parts.scheme}://{parts.hostname or ''}: give s3://bucket/prefix, without user, port or query"
            )
        if prefix:
            check_key(prefix)
        if not _BUCKET.fullmatch(parts.netloc):
            raise StoreError(
                f"{url}: {parts.netloc!r} cannot be a bucket's name: 3 to 63 lower-case letters, digits, '-' and '.'"
            )
        return cls(_client(url), parts.netloc, f"{prefix}/" if prefix else "", url.rstrip("/"))

    def read(self, key: str) -> bytes:
        content = io.BytesIO()
        self._fetch(key, content)
        return content.getvalue()

    def write(self, key: str, content: bytes) -> None:
        with self._errors("write", key):
            _check_etag(self._client.put_object(self._bucket, self._name(key), io.BytesIO(content), len(content)).etag)

    def download(self, key: str, path: Path) -> None:
        with replacing_file(path) as staged, staged.open("wb") as file:
            self._fetch(key, file)

    def upload(self, path: Path, key: str) -> None:
        with self._errors("write", key):
            _check_etag(self._client.fput_object(self._bucket, self._name(key), str(path), part_size=PART_BYTES).etag)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with self._errors("list", prefix):
            for item in self._client.list_objects(self._bucket, self._prefix + prefix, recursive=True):
                if (found := self._stored(item)) is not None:
                    yield found

    def children(self, prefix: str = "") -> Children:
        objects, folders, place = [], [], self._prefix + prefix
        with self._errors("list", prefix):
            for item in self._client.list_objects(self._bucket, place, recursive=False):
                name = (item.object_name or "").removeprefix(place)
                if name.endswith("/") and name != "/":
                    folders.append(name.removesuffix("/"))
                elif (found := self._stored(item)) is not None:
                    objects.append(found)
        return Children(sorted(objects, key=lambda item: item.key), sorted(folders))

    def _stored(self, item: "Object") -> StoredObject | None:
        name = item.object_name or ""
        if name.endswith("/") or item.last_modified is None:  # what some gateways show for a folder
            return None
        etag = (item.etag or "").strip('"')
        return StoredObject(name.removeprefix(self._prefix), item.size or 0, item.last_modified, etag)

    def delete(self, key: str) -> None:
        with self._errors("delete", key):
            self._client.remove_object(self._bucket, self._name(key))

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _fetch(self, key: str, into: BinaryIO) -> None:
        """Bytes of one object, read again from the start if the connection breaks."""
        from urllib3.exceptions import MaxRetryError, ProtocolError

        with self._errors("read", key):
            for attempt in range(RETRIES + 1):
                try:
                    with self._open(key) as response:
                        shutil.copyfileobj(response, into, 2**20)
                    return
                except MaxRetryError:
                    raise
                except ProtocolError:
                    if attempt == RETRIES:
                        raise
                    into.seek(0)
                    into.truncate()
                    time.sleep(BACK_OFF_S * 2**attempt)

    @contextmanager
    def _open(self, key: str) -> Iterator[Any]:
        response = self._client.get_object(self._bucket, self._name(key))
        try:
            _check_etag(response.headers.get("ETag"))
            yield response
        finally:
            response.close()
            response.release_conn()

    @contextmanager
    def _errors(self, what: str, key: str) -> Iterator[None]:
        try:
            yield
        except failures() as error:
            raise explained(error, self.url, what, key) from error


def _client(url: str) -> "Minio":
    try:
        import certifi
        from minio import Minio
        from urllib3 import PoolManager, Timeout

        from masd.storage.s3_client import CurrentCredentials, PatientRetry
    except ImportError as error:
        raise StoreError(f"{url}: an S3 bucket needs the minio client: pip install 'masd[s3]'") from error
    endpoint = urlsplit(os.environ.get("MASD_S3_ENDPOINT", "https://s3.amazonaws.com"))
    if (
        endpoint.scheme not in ("http", "https")
        or not endpoint.netloc
        or "@" in endpoint.netloc
        or endpoint.path.strip("/")
    ):
        raise StoreError("MASD_S3_ENDPOINT: must be https://host[:port], or http:// on a network you trust")
    variable = next((name for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE") if os.environ.get(name)), None)
    authorities = os.environ[variable] if variable else certifi.where()
    if not Path(authorities).is_file():
        raise StoreError(f"{variable}: there is no file {authorities}; correct the path or unset the variable")
    credentials = CurrentCredentials()
    try:
        credentials.retrieve()
    except Exception as error:  # a ValueError, or whatever configparser says of a broken file
        raise StoreError(
            f"{url}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with them in "
            "AWS_SHARED_CREDENTIALS_FILE"
        ) from error
    retries = PatientRetry(
        total=RETRIES,
        redirect=False,  # the signature is for this host
        backoff_factor=BACK_OFF_S,
        backoff_jitter=BACK_OFF_S,
        status_forcelist=[429, 500, 502, 503, 504],
        raise_on_status=False,  # the last answer says why
    )
    pool = PoolManager(
        timeout=Timeout(connect=CONNECT_S, read=READ_S),
        maxsize=POOL,
        block=True,
        retries=retries,
        cert_reqs="CERT_REQUIRED",
        ca_certs=authorities,
    )
    return Minio(
        endpoint.netloc,
        secure=endpoint.scheme == "https",
        region=os.environ.get("AWS_REGION", "us-east-1"),
        credentials=credentials,
        http_client=pool,
    )


def _check_etag(etag: str | None) -> None:
    """Every S3 server names an object's ETag. A proxy's page with status 200 has none, and is no object.

    :raises ValueError: there is none.
    """
    if not etag:
        raise ValueError("the answer has no ETag")
