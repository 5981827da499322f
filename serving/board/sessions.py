"""Who has signed in: a cookie signed with a key that is made of the token, so that it outlives a restart.

Another token ends every session. Nothing is kept on the server.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass

COOKIE = "masd_board"
LOOK_SECONDS = 30 * 86_400
"""So long a session may look: a screen on the wall is signed in once a month."""
CHANGE_SECONDS = 12 * 3600
"""So long it may change something: a shift."""
LONGEST_NAME = 60


@dataclass(frozen=True)
class Session:
    """``name`` is what the person has said, for the audit trail; ``begun`` is in seconds since 1970."""

    id: str
    name: str
    begun: float

    @property
    def may_change(self) -> bool:
        return time.time() - self.begun < CHANGE_SECONDS


class Sessions:
    """Begins sessions, recognises them, and makes the value that a form must carry to be theirs."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._key = hmac.new(self._secret, b"masd board session", hashlib.sha256).digest()

    def is_token(self, given: str) -> bool:
        """Whether this is the token, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(given.strip().encode("utf-8", "surrogatepass"), self._secret)

    def begin(self, name: str) -> str:
        """The cookie of a new session."""
        content = json.dumps([secrets.token_urlsafe(16), " ".join(name.split())[:LONGEST_NAME], time.time()])
        body = base64.urlsafe_b64encode(content.encode()).decode()
        return f"{body}.{self._sign('cookie', body)}"

    def recognise(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None where it is not ours, or too old."""
        body, _, signature = (cookie or "").partition(".")
        if not signature.isascii() or not hmac.compare_digest(signature, self._sign("cookie", body)):
            return None
        session = Session(*json.loads(base64.urlsafe_b64decode(body)))
        return session if 0 <= time.time() - session.begun < LOOK_SECONDS else None

    def form_value(self, session: Session) -> str:
        """What forms of the session carry: another site can send its cookie, but does not know this."""
        return self._sign("form", session.id)

    def is_form_value(self, session: Session, given: str) -> bool:
        return given.isascii() and hmac.compare_digest(given.strip(), self.form_value(session))

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}:{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
