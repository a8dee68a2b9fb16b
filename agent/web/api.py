"""The page's addresses, and what each answers: a table of routes over the agent's parts.

What takes a moment is asked for on helpers, never on the loop; what several ask for at once is looked at once a second.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from agent.clock import utc_ms
from agent.errors import CommandError
from agent.link.answers import InternalError
from agent.types import PipelineName
from agent.web import views
from agent.web.answers import Forbidden, NotYet, json, raw_json
from agent.web.gate import body_of
from agent.web.history import History
from agent.web.lines import Followers, Question, kept
from agent.web.live import Gallery, Setting, show
from agent.web.parts import Agent, Settings
from agent.web.static_files import NoFile, StaticFiles
from agent.web.studio import MOST_FPS, Studio

FRESH_S = 1.0
"""For how long what was asked of the agent's parts is told again."""

PICTURE_S = 6.0
COMMAND_S = 125.0
MAX_COMMAND_BYTES = 64 * 1024

CHANGES = frozenset(
    {"model/deploy", "model/cancel", "model/rollback", "config/patch", "config/confirm", "config/revert"}
)
"""The commands that the page may give, where it may change anything."""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_WIDTH = re.compile(r"[0-9]{2,5}")
_FPS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?")

T = TypeVar("T")


class Looked(Generic[T]):
    """What a function returned, for a second; who asks meanwhile shares it, who asks at once waits for one look."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._lock = asyncio.Lock()
        self._found: tuple[float, T] | None = None

    async def get(self) -> T:
        """Return it."""
        async with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > FRESH_S:
                found = await asyncio.to_thread(self._look)
                self._found = (time.monotonic(), found)
            return self._found[1]


class Streamed(Response):
    """An answer that is made by an ASGI application."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Any]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have it made."""
        await self._app(scope, receive, send)


class Api:
    """See the module; on the page's loop."""

    def __init__(self, settings: Settings, agent: Agent, files: StaticFiles) -> None:
        self._settings = settings
        self._agent = agent
        self._files = files
        self._studio = Studio(agent.cameras)
        self._gallery = Gallery(self._studio)
        self._followers = Followers(agent.logs)
        self._history = History()
        self._status = Looked(agent.status)
        self._pipelines = Looked(agent.pipelines)
        self._deployments = Looked(self._look_at_deployments)
        self._metrics = None if agent.metrics is None else Looked(agent.metrics)

    def router(self) -> Router:
        """Return the table; without the page, what is there without it."""
        metrics = [Route("/metrics", self._get_metrics)] if self._settings.metrics else []
        page = self._page_routes() if self._settings.page else []
        return Router([*metrics, *page], default=_nothing, redirect_slashes=False)

    def _page_routes(self) -> list[Route]:
        camera = "/api/cameras/{camera}"
        return [
            Route("/", self._file("index.html")),
            Route("/login", self._file("login.html")),
            Route("/static/{name:path}", self._get_static),
            Route("/api/status", self._get_status),
            Route("/api/cameras", self._get_cameras),
            Route(f"{camera}/picture.jpg", self._get_picture),
            Route(f"{camera}/live.mjpg", self._get_live),
            Route("/api/deployments", self._get_deployments),
            Route("/api/history", self._get_history),
            Route("/api/logs", self._get_logs),
            Route("/api/logs/follow", self._follow_logs),
            Route("/api/config", self._get_config),
            Route("/api/telemetry", self._get_telemetry),
            Route("/api/commands/{part}/{verb}", self._command, methods=["POST"]),
        ]

    async def remember(self) -> None:
        """Add a point to the history."""
        pipelines = await self._pipelines.get()
        memory_mb = await asyncio.to_thread(self._agent.memory_mb)
        self._history.take(utc_ms(), pipelines, self._agent.telemetry(), memory_mb)

    # --- files -------------------------------------------------------------------------------------------------------

    def _file(self, name: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return await self._read(name, request)

        return answer

    async def _get_static(self, request: Request) -> Response:
        return await self._read(request.path_params["name"], request)

    async def _read(self, name: str, request: Request) -> Response:
        data, kind, tag = await asyncio.to_thread(self._files.read, name)
        headers = {"etag": tag, "cache-control": "no-cache"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(data, headers={**headers, "content-type": kind})

    # --- how it does -------------------------------------------------------------------------------------------------

    async def _get_status(self, _: Request) -> Response:
        status = await self._status.get()
        settings = self._settings
        page = {"may_change": settings.may_change, "version": self._agent.version, "token": settings.asks_token}
        return json({**msgspec.to_builtins(status), "page": page})

    async def _get_cameras(self, _: Request) -> Response:
        pipelines = await self._pipelines.get()
        return json({"cameras": views.cameras(self._agent.loaded().config, pipelines)})

    async def _get_deployments(self, _: Request) -> Response:
        return json({"pipelines": await self._deployments.get()})

    def _look_at_deployments(self) -> dict[str, Any]:
        return {
            str(status.pipeline): views.deployment(status, self._agent.history(PipelineName(status.pipeline)))
            for status in self._agent.deployments()
        }

    async def _get_history(self, _: Request) -> Response:
        return json(self._history.series())

    async def _get_config(self, _: Request) -> Response:
        keys = await asyncio.to_thread(views.config_keys, self._agent.loaded())
        return json({"keys": keys})

    async def _get_telemetry(self, _: Request) -> Response:
        found = self._agent.telemetry()
        if found is None:
            raise NotYet("nothing was measured yet: the first telemetry comes soon after the start")
        return json(found)

    async def _get_metrics(self, _: Request) -> Response:
        if self._metrics is None:
            raise NoFile("this agent has no metrics")
        return Response(await self._metrics.get(), headers={"content-type": METRICS_TYPE, "cache-control": "no-store"})

    # --- the log -----------------------------------------------------------------------------------------------------

    async def _get_logs(self, request: Request) -> Response:
        logs = self._agent.logs
        return raw_json(
            await asyncio.to_thread(lambda: kept(logs, Question.of(dict(request.query_params.items()), logs)))
        )

    async def _follow_logs(self, request: Request) -> Response:
        logs, query = self._agent.logs, dict(request.query_params.items())
        question = await asyncio.to_thread(lambda: Question.of(query, logs, lines=0))
        return Streamed(lambda scope, receive, send: self._followers.follow(question, scope, receive, send))

    # --- pictures ----------------------------------------------------------------------------------------------------

    async def _get_picture(self, request: Request) -> Response:
        camera = self._studio.known(request.path_params["camera"])
        boxes, zones = _flag(request, "boxes"), _flag(request, "zones")
        picture = await self._studio.take(
            camera, boxes=boxes, zones=zones, width=_width(request, 1280), patience_s=PICTURE_S
        )
        return Response(picture.jpeg, headers={"content-type": "image/jpeg", "cache-control": "no-store"})

    async def _get_live(self, request: Request) -> Response:
        setting = Setting(
            self._studio.known(request.path_params["camera"]),
            _fps(request),
            _flag(request, "boxes"),
            _flag(request, "zones"),
            _width(request, 960),
        )

        async def stream(scope: Scope, receive: Receive, send: Send) -> None:
            async with self._gallery.look(setting) as feed:
                await show(feed, scope, receive, send)

        if request.method == "HEAD":
            return Response(headers={"content-type": "image/jpeg"})
        return Streamed(stream)

    # --- changes -----------------------------------------------------------------------------------------------------

    async def _command(self, request: Request) -> Response:
        name = f"{request.path_params['part']}/{request.path_params['verb']}"
        if not self._settings.may_change:
            raise Forbidden("the page may only look: web.allow_changes is false", field="web.allow_changes")
        if name not in CHANGES:
            raise Forbidden(f"the page gives these commands only: {', '.join(sorted(CHANGES))}")
        args = _arguments(await body_of(request, MAX_COMMAND_BYTES))
        if name in ("config/patch", "config/revert"):
            args.setdefault("who", "page")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._agent.commands.ask(name, args, _hand_over(loop, answer))
        try:
            return raw_json(await asyncio.wait_for(answer, COMMAND_S))
        except asyncio.TimeoutError:
            raise InternalError(f"{name} gave no answer within {COMMAND_S:g} s") from None


def _hand_over(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[bytes]) -> Callable[[bytes], None]:
    """Return what another thread gives the answer to; it neither blocks nor raises."""

    def settle(payload: bytes) -> None:
        if not answer.done():
            answer.set_result(payload)

    def take(payload: bytes) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, payload)

    return take


def _arguments(body: bytes) -> dict[str, Any]:
    """Read a command's arguments: a JSON object. Raises :class:`CommandError`."""
    try:
        found = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise CommandError(f"the arguments are not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CommandError("the arguments are no JSON object")
    return found


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "1").lower()
    if text not in ("0", "1", "false", "true"):
        raise CommandError(f"{name} {text[:32]!r} is neither 0 nor 1", field=name)
    return text in ("1", "true")


def _width(request: Request, default: int) -> int:
    text = request.query_params.get("width", str(default))
    if not _WIDTH.fullmatch(text) or not 160 <= int(text) <= 3840:
        raise CommandError(f"width {text[:32]!r} is no number of 160 to 3840", field="width")
    return int(text)


def _fps(request: Request) -> float:
    text = request.query_params.get("fps", "5")
    if not _FPS.fullmatch(text) or not 0.1 <= float(text) <= MOST_FPS:
        raise CommandError(f"fps {text[:32]!r} is no number of 0.1 to {MOST_FPS:g}", field="fps")
    return float(text)


async def _nothing(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise NoFile(f"there is nothing at {str(scope['path'])[:100]}")
