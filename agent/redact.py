"""What must never be shown: passwords, tokens, and the credentials inside URLs. Pure.

Whoever takes a text in from a person, a camera or a peer and passes it on to a log, a message or a page runs it
through here at that edge.
"""

from __future__ import annotations

import re

MARK = "(hidden)"
"""Stands where a secret was; a patch that holds it is refused."""

_SECRET_KEY = re.compile(
    r"(^|[_.-])(pass|passwd|password|passphrase|secret|token|api[_-]?key|private[_-]?key|credentials?"
    r"|authorization|auth)$",
    re.IGNORECASE,
)
# As far as the last @ without a blank: a password with a slash in it is a mistake, but must not be shown for it.
_USERINFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s\"'<>]*@", re.IGNORECASE)
_QUERY = re.compile(
    r"(?P<key>[?&;/](?:user|usr|username|login|pass|pwd|passwd|password|secret|token|access_token|api_?key|key"
    r"|auth|sig|signature)=)[^&#;\s]*",
    re.IGNORECASE,
)


def is_secret_key(name: str) -> bool:
    """Tell whether a key of this name holds a secret (``password``, ``mqtt.token``), not merely a file that does."""
    return _SECRET_KEY.search(name) is not None


def redact(text: str) -> str:
    """Hide user names, passwords and tokens in every URL in ``text``."""
    if "://" not in text and "=" not in text:
        return text
    text = _USERINFO.sub(rf"\g<scheme>{MARK}@", text)
    return _QUERY.sub(rf"\g<key>{MARK}", text)
