"""The agent's side of a fetch: starts the short-lived fetch process, passes progress on, raises its errors again.

Imports neither TUF nor an HTTP library. Callable from any thread; fetches of one client run one after the other. The
process may hang, crash or be killed at any instant: the store stays whole, and the caller gets an error that says
what happened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

import msgspec
import structlog

from agent.clock import monotonic_ns
from agent.errors import (
    ChildDied,
    ChildError,
    ChildHung,
    DigestMismatch,
    LookoutError,
    ProgrammingError,
    RegistryUnreachable,
    StorageError,
    TrustError,
)
from agent.process.channel import ChannelClosed
from agent.process.child import Child, ChildSpec, Spawner
from agent.process.messages import (
    PROTOCOL,
    AnyMessage,
    Error,
    Fetch,
    Fetched,
    Hello,
    Message,
    Progress,
    Refreshed,
    RegistryAccess,
    Survey,
    Surveyed,
)
from agent.registry.pace import Deadline
from agent.registry.reference import parse_reference
from agent.registry.store import Store, StoredRelease
from agent.types import Digest

HELLO_TIMEOUT_S = 30.0
GRACE_S = 5.0
"""How much later than its own deadline the process is killed: only a hang needs it."""
CANCEL_LATENCY_S = 0.2

A = TypeVar("A", Fetched, Surveyed)

log = structlog.get_logger(part="registry")


class FetchCancelled(LookoutError):
    """The caller set its ``cancel`` event; nothing was added to the store's releases."""

    code = "cancelled"


class Ledger(Protocol):
    """Remembers, durably, which signed metadata this device has seen."""

    def seen(self) -> tuple[str, dict[str, int]]:
        """Return the anchor (SHA-256 of the first root) and role → version. Raises :class:`StorageError`."""
        ...

    def refreshed(
        self, anchor: str, versions: Mapping[str, int], begun_anew: Collection[str], judged_at_ms: int
    ) -> None:
        """Take note of a refresh; roles that have ``begun_anew`` may have lower versions.

        ``judged_at_ms``: the time (UTC, ms) by which the metadata was found unexpired.
        Raises :class:`TrustError`, :class:`StorageError`; the fetch then ends.
        """
        ...


class FetchClient:
    """Fetches releases into ``store`` through the registry that ``access`` names."""

    def __init__(self, spawner: Spawner, access: RegistryAccess, store: Store, ledger: Ledger | None = None) -> None:
        """``ledger`` remembers which metadata was seen; None: only TUF's own files do."""
        self._spawner = spawner
        self._access = access
        self._store = store
        self._ledger = ledger
        self._one_at_a_time = threading.Lock()
        self.distrust: TrustError | None = None
        """Why the registry's metadata was not believed when it was last asked; None: it was. Any thread may read it."""

    def reconfigure(self, access: RegistryAccess) -> None:
        """Reach the registry in another way from the next question on; any thread."""
        if access.url != self._access.url:
            self.distrust = None  # it was another one that was not believed
        self._access = access

    def fetch(
        self, reference: str, *, on_progress: Callable[[Progress], None], cancel: threading.Event
    ) -> tuple[StoredRelease, dict[str, int]]:
        """Bring the release that ``reference`` means into the store; blocks the calling thread.

        Returns it and the versions of the signed metadata (role → version), for the journal. ``on_progress`` is called
        on the calling thread. Raises :class:`FetchCancelled`, the error of the fetch process (``ReferenceError``,
        ``ManifestError``, ``TrustError`` and its kinds, ``RegistryUnreachable``, ``NotProvisioned``,
        ``StorageError``, …), or :class:`ChildError` where the process itself failed.
        """
        parse_reference(reference)  # bad input needs no process
        fetched = self._ask(lambda access: Fetch(access, reference), Fetched, self._access, on_progress, cancel)
        release = self._store.release(Digest(fetched.digest))
        if release is None:
            raise StorageError(
                f"{reference} was fetched but is not whole in the store; look at the disk and deploy it again"
            )
        return release, fetched.metadata_versions

    def survey(
        self, references: Iterable[str], releases: Iterable[str], *, timeout_s: float, cancel: threading.Event
    ) -> Surveyed:
        """Ask what ``references`` mean now and which of ``releases`` (``model:version``) were yanked; blocks.

        Raises the errors of :meth:`fetch` that concern the registry as a whole.
        """
        access = msgspec.structs.replace(self._access, total_timeout_s=min(timeout_s, self._access.total_timeout_s))
        wanted, held = tuple(references), tuple(releases)
        return self._ask(lambda access: Survey(access, wanted, held), Surveyed, access, lambda _: None, cancel)

    def _ask(
        self,
        request: Callable[[RegistryAccess], Message],
        answer: type[A],
        access: RegistryAccess,
        on_progress: Callable[[Progress], None],
        cancel: threading.Event,
    ) -> A:
        """Start the process, send it the request, and return the answer of that type."""
        with self._one_at_a_time:
            if self._ledger is not None:
                anchor, versions = self._ledger.seen()
                access = msgspec.structs.replace(access, seen_anchor=anchor, seen_versions=versions)
            child = self._spawner.start(ChildSpec("fetch", "agent.registry.fetch", nice=10, oom_score_adj=900))
            try:
                return self._converse(child, request(access), answer, access.total_timeout_s, on_progress, cancel)
            except ChannelClosed as error:
                child.wait(GRACE_S)
                raise ChildDied(f"the fetch process ended before its answer: {child.describe_exit()}") from error
            finally:
                child.close()

    def _converse(
        self,
        child: Child,
        request: Message,
        answer: type[A],
        limit_s: float,
        on_progress: Callable[[Progress], None],
        cancel: threading.Event,
    ) -> A:
        no_start = ChildHung(f"the fetch process did not start within {HELLO_TIMEOUT_S:g} s; is the host overloaded?")
        hello = next(self._messages(child, HELLO_TIMEOUT_S, no_start, cancel))
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            raise ChildError(f"the fetch process is of another version ({hello!r}); restart the agent")
        child.channel.send(request)
        no_answer = RegistryUnreachable(
            f"the registry did not deliver within {limit_s:g} s (registry.total_timeout_s); "
            "the deployment can be tried again"
        )
        for message in self._messages(child, limit_s + GRACE_S, no_answer, cancel):
            if isinstance(message, answer):
                return message
            if isinstance(message, Refreshed):
                self.distrust = None
                if self._ledger is not None:
                    self._ledger.refreshed(
                        message.anchor, message.metadata_versions, message.begun_anew, message.judged_at_ms
                    )
            if isinstance(message, Error):
                error = error_of(message)
                if isinstance(error, TrustError) and not isinstance(error, DigestMismatch):  # not one file's matter
                    self.distrust = error
                raise error
            if isinstance(message, Progress):
                on_progress(message)
        raise ProgrammingError("the fetch process' messages ended without an error")

    def _messages(
        self, child: Child, timeout_s: float, late: LookoutError, cancel: threading.Event
    ) -> Iterator[AnyMessage]:
        """Yield what the process says, without end. Kills it and raises where cancelled, or ``late`` when it is."""
        deadline = Deadline(timeout_s, monotonic_ns())
        while True:
            if cancel.is_set():
                child.kill()
                raise FetchCancelled("the fetch was cancelled; what is in the store is as it was")
            left_s = deadline.left_s(monotonic_ns())
            if left_s <= 0:
                child.kill()
                raise late
            # An Event cannot be waited for together with a socket, so it is looked at a few times a second.
            received = child.channel.receive(min(left_s, CANCEL_LATENCY_S))
            if received is not None:
                yield received[0]


def error_of(message: Error) -> LookoutError:
    """Return the error that a child reported, as the class whose ``code`` it carries."""
    return _classes().get(message.code, LookoutError)(message.message, field=message.field)


def _classes() -> dict[str, type[LookoutError]]:
    """Return every class of the tree by its code; a subclass without a code of its own does not hide its parent."""
    found: dict[str, type[LookoutError]] = {}
    waiting: list[type[LookoutError]] = [LookoutError]
    for klass in waiting:
        found.setdefault(klass.code, klass)
        waiting.extend(klass.__subclasses__())
    return found
