"""What must not run is refused with its reason, and the good model goes on."""

from __future__ import annotations

import dataclasses
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.fakes.registry import Shop
from tools.registry.maintain import refresh
from tools.registry.repository import Lifetimes
from tools.registry.serve import RegistryServer

from . import shelf
from .device import Device
from .person import Person
from .processes import FETCH, children, until


class Counter:
    """A registry of this module's own, whose state can be spoilt and mended, and the device that buys there."""

    def __init__(self, template: Shop, folder: Path) -> None:
        folder.mkdir()
        self.older = template.folder / shelf.OLDER
        self.shop = Shop.copied(template, folder)
        self.server = RegistryServer(self.shop.registry)
        self.server.start()

    @contextmanager
    def expired(self) -> Iterator[None]:
        """A publisher who forgot to refresh."""
        refresh(self.shop.registry, self.shop.keys, lifetimes=Lifetimes(timestamp=timedelta(days=-1)))
        yield
        refresh(self.shop.registry, self.shop.keys)

    @contextmanager
    def behind(self) -> Iterator[None]:
        """An old copy, whole and well signed, of the very same registry."""
        aside = self.shop.registry.with_name("aside")
        self.shop.registry.rename(aside)
        shutil.copytree(self.older, self.shop.registry)
        yield
        shutil.rmtree(self.shop.registry)
        aside.rename(self.shop.registry)

    @contextmanager
    def foreign(self) -> Iterator[None]:
        """Another registry at the same address, whole and well signed, by somebody else."""
        aside = self.shop.registry.with_name("aside")
        self.shop.registry.rename(aside)
        other = Shop(self.shop.folder / "other")
        shelf.publish(other, shelf.NEWER, shelf.tiny_detector)
        # Newer numbers than the device has seen, so that only the signatures can tell.
        refreshed = [refresh(other.registry, other.keys) for _ in range(20)]
        assert refreshed
        other.registry.rename(self.shop.registry)
        yield
        shutil.rmtree(self.shop.registry)
        aside.rename(self.shop.registry)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens."""
        port = self.server.port
        self.server.close()
        yield
        self.server = RegistryServer(self.shop.registry, port=port)
        self.server.start()

    @contextmanager
    def as_it_is(self) -> Iterator[None]:
        """The registry in order."""
        yield


@pytest.fixture(scope="module")
def counter(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    made = Counter(shop, tmp_path_factory.mktemp("counter") / "shop")
    yield made
    made.server.close()


def test_a_registry_that_says_nothing_holds_nothing_up_and_a_newer_order_supersedes(at_work):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        device, person = at_work(registry={"url": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        since = person.deploy(shelf.NEWER)
        (fetch,) = until(lambda: children(device.pid, FETCH), 10)
        answer = person.command("model/deploy", reference=shelf.NEWEST)
        assert answer["result"]["supersedes"] == shelf.NEWER
        until(lambda: children(device.pid, FETCH) not in ([], [fetch]), 10)
        person.wait_state(shelf.NEWEST, "resolving")
        assert person.states(shelf.NEWER, since)[-1] == "superseded"
        person.sees(shelf.TINY)
        assert len(children(device.pid, FETCH)) == 1
        assert device.stop() == 0


def test_a_device_without_a_registry_says_so(at_work):
    _, person = at_work(registry={"url": None})
    since = person.deploy(shelf.STEADY)
    assert "registry.url is not set" in person.wait_state(shelf.STEADY, "failed", since=since)["reason"]
    assert person.said("info")[-1]["trust"]["state"] == "off"
    person.sees(shelf.TINY)


def test_a_disk_without_room_is_told_before_anything_is_fetched(at_work):
    _, person = at_work(registry={"free_floor_mb": 1_048_576})
    since = person.deploy(shelf.STEADY)
    report = person.wait_state(shelf.STEADY, "failed", since=since)
    assert "make room" in report["reason"]
    assert "registry.free_floor_mb" in report["reason"]
    person.sees(shelf.TINY)


def test_a_device_that_trusts_nobody_yet_says_how_to_provision_it(broker, world, counter):
    device = world.device(
        port=broker.port,
        provisioned=False,
        start=False,
    )
    person = world.person(broker.port, device)
    device.start()
    since = person.deploy(shelf.TINY)
    report = person.wait_state(shelf.TINY, "failed", since=since)
    assert "lookout provision --root" in report["reason"]
    assert person.said("info")[-1]["trust"]["state"] == "not_provisioned"


@pytest.fixture(scope="module")
def customer(counter, broker, shared_world, veteran) -> tuple[Device, Person]:
    """A device at work on tiny:1.0.0 that reports every frame, for the tests from here on."""
    device = shared_world.device(
        port=broker.port, state=veteran, start=False, registry={"url": counter.server.url}, report={"all": True}
    )
    person = shared_world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    return device, person


WAY = ["resolving", "fetching", "verifying", "trial"]


@dataclasses.dataclass(frozen=True)
class Case:
    """What is ordered, what the registry is like, where it ends, and what the reason must name."""

    reference: str
    registry: Callable[[Counter], AbstractContextManager[None]]
    last_state: str
    words: tuple[str, ...]


CASES = {
    "a flipped byte": Case(shelf.DAMAGED, Counter.as_it_is, "fetching", ("model.onnx", "signed")),
    "a lying golden image": Case(shelf.LYING, Counter.as_it_is, "trial", ("golden/1.png", "red")),
    "a graph that answers NaN": Case(shelf.NAN, Counter.as_it_is, "trial", ("finite",)),
    "an unknown model": Case("ghost:1.0.0", Counter.as_it_is, "resolving", ("ghost", "no model")),
    "an unknown version": Case("tiny:9.9.9", Counter.as_it_is, "resolving", ("9.9.9", "1.1.0")),
    "an unknown channel": Case("tiny@nightly", Counter.as_it_is, "resolving", ("nightly", "channel")),
    "a yanked version": Case(shelf.YANKED, Counter.as_it_is, "resolving", ("yanked", "it sees ghosts")),
    "expired metadata": Case(shelf.NEWER, Counter.expired, "resolving", ("expired", "lookout registry refresh")),
    "a foreign registry": Case(shelf.NEWER, Counter.foreign, "resolving", ("not signed by the keys",)),
    "an old copy of the registry": Case(shelf.NEWER, Counter.behind, "resolving", ("older metadata",)),
    "no registry": Case(shelf.NEWER, Counter.down, "resolving", ("127.0.0.1", "registry.url")),
}


SAMPLE = ("a flipped byte", "a lying golden image", "an unknown version", "a yanked version", "a foreign registry",
          "no registry")  # fmt: skip
"""One of each kind; ``make test-faults`` has them all."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SAMPLE else [pytest.mark.faults]) for name in CASES]
)
def test_it_is_refused_with_its_reason_and_detections_go_on(name, counter, customer):
    device, person = customer
    case = CASES[name]
    with case.registry(counter):
        since = person.deploy(case.reference)
        report = person.wait_state(case.reference, "failed", "committed", "rolled_back", since=since)
    assert report["state"] == "failed"
    for word in case.words:
        assert word in report["reason"], report["reason"]
    *before, last = person.states(case.reference, since)
    assert last == "failed"
    assert set(before) <= set(WAY[: WAY.index(case.last_state) + 1]), "it came no further"
    assert report["current"]["version"] == report["serving"]["version"] == "1.0.0"
    assert report["candidate"] is None or report["candidate"]["model"] == case.reference.split(":")[0]
    assert report["degraded"] is None
    person.sees(shelf.TINY)
    assert device.status().degraded == ()


def test_all_of_that_cost_no_frame_and_a_good_release_is_still_taken(customer):
    _, person = customer
    before = person.sees(shelf.TINY, 1)[0]
    person.deployed(shelf.NEWEST)
    person.sees(shelf.NEWEST)
    assert {frame["model"] for frame in person.frames()} == {shelf.TINY, shelf.NEWEST}
    camera = customer[0].status().cameras[0]
    assert camera.lost == 0
    assert camera.answered >= before["frame"] - 1 - camera.skipped


@pytest.mark.parametrize("reference", ["tiny", "tiny:latest", "Tiny:1.0.0", "tiny:1.0", "../tiny:1.0.0", ""])
def test_a_reference_that_cannot_be_read_is_an_error_at_once_and_starts_nothing(reference, customer):
    _, person = customer
    before = len(person.deployments())
    answer = person.command("model/deploy", reference=reference)
    assert answer["ok"] is False
    assert answer["error"]["code"] in ("bad_reference", "bad_argument")
    assert reference[:10] in answer["error"]["message"]
    person.sees(shelf.NEWEST, 1)
    assert len(person.deployments()) == before


def test_a_release_that_failed_its_trial_stays_in_quarantine_and_force_tries_it_again(customer):
    _, person = customer
    since = person.deploy(shelf.LYING)
    report = person.wait_state(shelf.LYING, "failed", since=since)
    assert "quarantine" in report["reason"]
    assert "golden/1.png" in report["reason"]
    since = person.deploy(shelf.LYING, force=True)
    report = person.wait_state(shelf.LYING, "failed", since=since)
    assert "quarantine" not in report["reason"]
    assert person.states(shelf.LYING, since)[-2:] == ["trial", "failed"]
    held = {one["release"]["model"]: one for one in person.command("model/list")["result"]["models"]}
    assert held["lying"]["quarantined"]
    assert held["lying"]["current_of"] == []
