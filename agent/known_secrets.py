"""The secrets that this process has seen, and :func:`hide`, which takes them out of any text.

Whoever reads a secret (a configuration, a file with a password) says so with :func:`remember`, once, at that edge; from
then on it is masked wherever it turns up, also inside texts that others wrote: a library's error, a child's last words.
What is remembered stays so until the process ends: an old password in a log is as bad as a new one. Bounded. Any thread
may call; the patterns are one tuple that is replaced in one step, so that :func:`hide` takes no lock.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from agent.redact import MARK, is_secret_key, redact

MIN_CHARS = 4
"""A shorter one would be found in every other word: it is hidden only where its key or a URL says what it is."""

MAX_CHARS = 4096
MAX_KNOWN = 1024

_lock = threading.Lock()
_known: dict[str, None] = {}
_pattern: re.Pattern[str] | None = None


def remember(secrets: Iterable[str]) -> None:
    """Have these texts hidden from now on, in whatever way they are written; too short and too long ones are not.

    Of a text with several lines (a private key) each line is a secret. Beyond :data:`MAX_KNOWN` the oldest goes.
    """
    global _pattern
    fresh = {line.strip() for secret in secrets for line in secret.splitlines()}
    wanted = [text for text in fresh if MIN_CHARS <= len(text) <= MAX_CHARS]
    with _lock:
        if all(text in _known for text in wanted):
            return
        for text in wanted:
            _known.pop(text, None)
            _known[text] = None
        while len(_known) > MAX_KNOWN:
            del _known[next(iter(_known))]
        ways = sorted({way for text in _known for way in _ways(text)}, key=len, reverse=True)
        _pattern = re.compile("|".join(map(re.escape, ways)))


def hide(text: str) -> str:
    """Return ``text`` without what is remembered, and without user names, passwords and tokens in URLs."""
    found = _pattern
    return redact(text if found is None else found.sub(MARK, text))


def _ways(secret: str) -> Iterable[str]:
    """Return the ways in which a text is written: as it is, in a URL, in JSON, in a Python literal."""
    utf8 = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield quote(utf8)
    yield quote(utf8, safe="")
    yield quote_plus(utf8)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield repr(utf8)[2:-1]


def hide_in(value: Any) -> Any:
    """Return plain values (maps, lists, texts, numbers) without secrets: those of secret keys, and those in texts.

    Of bytes only their number is left.
    """
    if isinstance(value, Mapping):
        return {
            hide(str(key)): MARK if is_secret_key(str(key)) and inner is not None else hide_in(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [hide_in(inner) for inner in value]
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    return hide(value) if isinstance(value, str) else value
