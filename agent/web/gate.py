"""What stands before the page: every request goes through here first, and every answer on its way out.

The rules are :mod:`agent.web.access`'s, who was wrong how often :mod:`agent.web.sessions`'s; here they meet HTTP. A
wrong token is answered :data:`WRONG_S` later; of such answers :data:`MAX_WRONG` wait at a time, and what comes beyond
is told to come again. What no handler expected is logged, and answered without a word of what it was.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from urllib.parse import parse_qs

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.errors import InputError, LookoutError
from agent.web.access import LOGIN, Asked, Refused, Rules, TooManyTries, Unauthorized, bearer, cookie
from agent.web.answers import ALWAYS, TooLong, failure, json
from agent.web.connections import left, talk_of
from agent.web.sessions import LOCK_S, SESSION_S, Attempts, Sessions

WRONG_S = 1.0
MAX_WRONG = 8
MAX_FORM_BYTES = 8 * 1024
BODY_S = 10.0
"""How long the body of a request may take to come."""

log = structlog.get_logger(part="web")


class Gate:
    """The ASGI application around the page's own. One loop."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules
        self._sessions = Sessions()
        self._attempts = Attempts()
        self._wrong = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever it is."""
        assert scope["type"] == "http"
        begun = False

        async def out(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", ()), *ALWAYS]
            await send(message)

        try:
            await self._answer(scope, receive, out)
        except LookoutError as error:
            await _fail(error, begun, scope, receive, out)
        except Exception:  # the last line of a request: a bug in one must not end the page
            log.exception("web.request_failed", path=str(scope["path"])[:200])
            fault = LookoutError("a fault of the agent; its log says more")
            await _fail(fault, begun, scope, receive, out)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _asked(scope)
        self._rules.check(asked)
        if asked.path == "/healthz" and asked.method != "POST":
            await Response("ok", media_type="text/plain")(scope, receive, send)
            return
        if asked.method == "POST" and asked.path in (LOGIN, "/logout"):
            request = Request(scope, receive)
            response = await self._log_in(asked, request) if asked.path == LOGIN else self._log_out(asked)
            await response(scope, receive, send)
            return
        if self._rules.needs_token(asked.path) and not await self._shown(asked):
            await self._show_the_door(asked)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _shown(self, asked: Asked) -> bool:
        """Tell whether a request shows a session or the token. Raises :class:`Refused` where it shows a wrong one."""
        word = cookie(asked.headers, self._rules.cookie)
        if word is not None and self._sessions.knows(word, time.monotonic()):
            return True
        token = bearer(asked.headers)
        if token is None:
            return False
        await self._try(asked, token)
        return True

    async def _try(self, asked: Asked, token: str) -> None:
        """Compare a token. Raises :class:`Unauthorized`, a little later, or :class:`TooManyTries`."""
        now_s = time.monotonic()
        locked_s = self._attempts.locked_s(asked.peer, now_s)
        if locked_s > 0:
            raise TooManyTries(f"too many wrong tokens came from {asked.peer}; try again in {round(locked_s) + 1} s")
        if self._wrong >= MAX_WRONG:
            raise TooManyTries("too many wrong tokens come at this moment; try again in a few seconds")
        if self._rules.is_token(token):
            self._attempts.right(asked.peer)
            return
        self._attempts.wrong(asked.peer, now_s)
        log.warning("web.wrong_token", peer=asked.peer)
        self._wrong += 1
        try:
            await asyncio.sleep(WRONG_S)
        finally:
            self._wrong -= 1
        raise Unauthorized("that is not the token of this device")

    def _show_the_door(self, asked: Asked) -> Response:
        if asked.path.startswith("/api/") or asked.path == "/metrics" or asked.method == "POST":
            return failure(Unauthorized("log in first, or send the token: Authorization: Bearer …"))
        return RedirectResponse(LOGIN, 303, headers={"cache-control": "no-store"})

    async def _log_in(self, asked: Asked, request: Request) -> Response:
        """Open a session for who sends the token; a form is led on, a script gets JSON."""
        plain = "application/json" not in asked.headers.get("accept", "")
        try:
            fields = parse_qs((await body_of(request, MAX_FORM_BYTES)).decode("utf-8", "replace"), max_num_fields=8)
            if self._rules.token is not None:
                await self._try(asked, fields.get("token", [""])[0])
        except ValueError as error:
            raise InputError("the form cannot be read; send token=…", field="token") from error
        except Refused as error:
            if plain:
                return RedirectResponse(f"{LOGIN}?failed={error.code}", 303)
            raise
        answer = RedirectResponse("/", 303) if plain else json({"ok": True})
        if self._rules.token is not None:
            word = secrets.token_urlsafe(32)
            self._sessions.open(word, time.monotonic())
            self._set_cookie(answer, word, SESSION_S)
        return answer

    def _log_out(self, asked: Asked) -> Response:
        word = cookie(asked.headers, self._rules.cookie)
        if word is not None:
            self._sessions.close(word)
        answer = json({"ok": True})
        self._set_cookie(answer, "", 0)
        return answer

    def _set_cookie(self, answer: Response, word: str, age_s: int) -> None:
        answer.set_cookie(
            self._rules.cookie, word, max_age=age_s, path="/", secure=self._rules.tls, httponly=True, samesite="strict"
        )


async def body_of(request: Request, limit: int) -> bytes:
    """Return a request's body. Raises :class:`TooLong`, and :class:`InputError` where it does not come in time."""
    said = request.headers.get("content-length", "")
    if said.isascii() and said.isdecimal() and (len(said) > 12 or int(said) > limit):
        raise TooLong(f"the body has {said[:32]} bytes; at most {limit} are taken")

    async def read() -> bytes:
        found = bytearray()
        async for chunk in request.stream():
            found += chunk
            if len(found) > limit:
                raise TooLong(f"the body has more than {limit} bytes")
        return bytes(found)

    try:
        return await asyncio.wait_for(read(), BODY_S)
    except ClientDisconnect:
        raise InputError("the body ended before it was whole") from None
    except asyncio.TimeoutError:
        raise InputError(f"the body did not come within {BODY_S:g} s") from None


async def _fail(error: LookoutError, begun: bool, scope: Scope, receive: Receive, send: Send) -> None:
    """Say what went wrong; where an answer had begun already, only its end can."""
    if begun:
        talk_of(scope).hang_up()
        await left(receive)
        return
    answer = failure(error)
    if isinstance(error, TooManyTries):
        answer.headers["retry-after"] = str(round(LOCK_S))
    if isinstance(error, TooLong):
        answer.headers["connection"] = "close"
    await answer(scope, receive, send)


def _asked(scope: Scope) -> Asked:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}; {text}" if key == "cookie" and key in headers else headers.get(key, text)
    client = scope.get("client")
    return Asked(scope["method"], scope["path"], headers, client[0] if client else "")
