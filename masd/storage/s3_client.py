"""Two things that the ``minio`` client lacks: rotated keys, and a limit on waiting for an answer."""

import configparser
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from minio.credentials.credentials import Credentials
from minio.credentials.providers import AWSConfigProvider, EnvAWSProvider, Provider
from urllib3 import BaseHTTPResponse, Retry
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import MaxRetryError, ReadTimeoutError


class CurrentCredentials(Provider):
    """The environment's keys, or those in the file of ``AWS_SHARED_CREDENTIALS_FILE``, read again when it changes."""

    def __init__(self) -> None:
        self._read: tuple[tuple[int, int, int], Credentials] | None = None

    def retrieve(self) -> Credentials:
        """:raises ValueError: there are none."""
        try:
            return EnvAWSProvider().retrieve()
        except ValueError:
            pass
        file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")
        try:
            status = file.stat()
        except OSError as error:
            raise ValueError(f"there is no file {file}") from error
        now = (status.st_mtime_ns, status.st_ino, status.st_size)
        if self._read is None or self._read[0] != now:
            try:
                self._read = now, AWSConfigProvider().retrieve()
            except (ValueError, configparser.Error):
                if self._read is None:
                    raise
                return self._read[1]  # half written: the next request reads it again
        return self._read[1]


class PatientRetry(Retry):
    """Tries again after temporary errors, but waits for an answer only once: a server that hangs would cost minutes."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """As of the base class.

        :raises MaxRetryError: the server has accepted the request and does not answer.
        """
        if isinstance(error, ReadTimeoutError):
            raise MaxRetryError(error.pool, url or "", error) from error
        return super().increment(method, url, response, error, _pool, _stacktrace)
