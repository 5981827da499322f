"""Errors of a bucket, in one line that says what to do."""

import os
import re
from xml.etree.ElementTree import ParseError

from masd.errors import one_line
from masd.storage.protocol import MissingObjectError, StoreError

FULL = "the store is full; make room or raise its quota, then try again"
_FULL_SAID = re.compile("StorageFull|QuotaExceeded|quota exceeded|no space left", re.IGNORECASE)
"""There is no standard code for it: servers have their own, or call it an internal error and say why."""

_STATUS = ("status_code", "_code")
"""Where the client's errors have the HTTP status, in the public way and the other."""

ADVICE = {
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
    "InvalidAccessKeyId": "the server does not know this access key; check AWS_ACCESS_KEY_ID",
    "ExpiredToken": "the session token has expired; renew AWS_SESSION_TOKEN",
    "InvalidToken": "the session token is not valid; check AWS_SESSION_TOKEN",
    "NoSuchBucket": "there is no such bucket; make it first or correct the URL",
    "AccessDenied": "access denied; these credentials do not allow it (is the bucket read-only?)",
    "MethodNotAllowed": "access denied; the server does not allow it (is the bucket read-only?)",
    "RequestTimeTooSkewed": "the clock of this computer differs too much from the server's; set it with NTP",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION",
    "PermanentRedirect": "the bucket is in another region or at another endpoint; set AWS_REGION and MASD_S3_ENDPOINT",
    "SlowDown": "the server is overloaded; try again later",
}


def failures() -> tuple[type[Exception], ...]:
    """Everything the client raises; the last two if the answer is not from an S3 server, such as a proxy's page."""
    from minio.error import MinioException
    from urllib3.exceptions import HTTPError

    return MinioException, HTTPError, ParseError, ValueError


def explained(error: Exception, url: str, what: str, key: str) -> StoreError:
    """The error to raise instead of one of :func:`failures`, after ``what`` was tried with ``key``."""
    from minio.error import InvalidResponseError, S3Error
    from urllib3.exceptions import HTTPError

    tried = f"{url}: cannot {what} {key}".rstrip()
    endpoint = os.environ.get("MASD_S3_ENDPOINT", "https://s3.amazonaws.com")
    status = next((getattr(error, name) for name in _STATUS if hasattr(error, name)), None)
    if status is None:
        status = getattr(getattr(error, "response", None), "status", None)
    if isinstance(status, int) and 300 <= status < 400:
        return StoreError(
            f"{tried}: {endpoint} redirects to another address (HTTP {status}); set MASD_S3_ENDPOINT to where the "
            "bucket is (https:// instead of http://?) and AWS_REGION"
        )
    if isinstance(error, InvalidResponseError | ParseError | ValueError):
        said = one_line(error, 120)
        return StoreError(
            f"{tried}: the server at {endpoint} is not an S3 server (a proxy's page?); check MASD_S3_ENDPOINT ({said})"
        )
    if isinstance(error, S3Error):
        if error.code == "NoSuchKey":
            return MissingObjectError(f"{url} has no object {key}")
        said = one_line(f"{error.code}: {error.message}", 200)
        advice = FULL if _FULL_SAID.search(said) else ADVICE.get(error.code or "", "")
        return StoreError(f"{tried}: {advice} ({said})" if advice else f"{tried}: the server answered {said}")
    if isinstance(error, HTTPError):
        reason = one_line(getattr(error, "reason", None) or error, 160)
        return StoreError(f"{tried}: no answer from {endpoint}; check MASD_S3_ENDPOINT and the network ({reason})")
    return StoreError(f"{tried}: {one_line(error, 200)}")
