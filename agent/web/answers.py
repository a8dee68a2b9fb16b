"""How the page answers: JSON, errors in words with HTTP's number for them, and what every answer carries."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from agent.errors import InputError, LookoutError, SurroundingsError
from agent.web.access import Refused
from agent.web.static_files import NoFile
from agent.web.studio import NoCamera

POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""What a browser may load and run for the page: its own files only, nothing that is written into them."""

ALWAYS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


class NotYet(SurroundingsError):
    """There is nothing of it yet."""

    code = "not_yet"


class TooLong(InputError):
    """The body of a request is larger than any that is taken."""

    code = "too_large"


class Forbidden(Refused):
    """The page may not do that."""

    code = "forbidden"


_STATUS: tuple[tuple[type[LookoutError], int], ...] = (
    (NoFile, 404),
    (NoCamera, 404),
    (TooLong, 413),
    (SurroundingsError, 503),
    (InputError, 400),
)
"""The first that an error is decides; any other is a fault of the agent."""


def json(value: Any, status: int = 200) -> Response:
    """Return an answer in JSON."""
    return raw_json(msgspec.json.encode(value, enc_hook=str), status)


def raw_json(data: bytes, status: int = 200) -> Response:
    """Return an answer that is JSON already."""
    return Response(data, status, headers={"cache-control": "no-store"}, media_type="application/json")


def failure(error: LookoutError) -> Response:
    """Return what is said of an error, as commands say it too."""
    told = {"code": error.code, "message": error.message, "field": error.field}
    answer = json({"error": told}, status_of(error))
    if answer.status_code == 401:
        answer.headers["www-authenticate"] = 'Bearer realm="lookout"'
    return answer


def status_of(error: LookoutError) -> int:
    """Return HTTP's number for an error."""
    if isinstance(error, Refused):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
