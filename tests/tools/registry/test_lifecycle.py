"""Yank, rotate and export: what they leave on the disk, seen with a device's eyes."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from agent import errors
from agent.errors import InputError, MetadataExpired, TrustError
from agent.process.messages import Fetched
from agent.registry.bring import bring
from agent.registry.survey import survey
from tests.fakes.registry import Shop, no_passphrase
from tests.tools.registry.test_cli import run
from tools.registry.export import export, parse_duration
from tools.registry.keys import Keys
from tools.registry.maintain import refresh, set_channel, yank
from tools.registry.repository import Lifetimes, Repository
from tools.registry.rotate import rotate
from tools.registry.status import status

ROLES = ("root", "targets", "snapshot", "timestamp")


def fetch(shop: Shop, reference: str = "tiny:1.0.0", url: str | None = None) -> Fetched:
    return bring(shop.access(url), reference, lambda _: None)


# --- yank ------------------------------------------------------------------------------------------------------------


def test_a_yanked_version_is_resolved_by_nobody_until_it_is_good_again(shop: Shop) -> None:
    shop.publish()
    shop.publish("1.1.0", channel="stable")
    yank(shop.registry, shop.keys, "tiny", "1.1.0", "blind in  the\nrain")
    for reference in ("tiny:1.1.0", "tiny@stable"):
        with pytest.raises(errors.ReferenceError, match="blind in the rain"):
            fetch(shop, reference)
    assert fetch(shop, "tiny@*").version == "1.0.0"
    yank(shop.registry, shop.keys, "tiny", "1.1.0", None)
    assert fetch(shop, "tiny@stable").version == "1.1.0"


def test_a_survey_says_what_was_yanked_and_what_references_mean(shop: Shop) -> None:
    published = [shop.publish(version) for version in ("1.0.0", "1.1.0")]
    set_channel(shop.registry, shop.keys, "tiny", "stable", "1.1.0")
    yank(shop.registry, shop.keys, "tiny", "1.0.0", "blind")
    found = survey(
        shop.access(min_versions={"tiny": "1.1.0"}),
        ("tiny@stable", "tiny@beta", "ghost@stable", "tiny@<1.1"),
        ("tiny:1.0.0", "tiny:1.1.0", "ghost:1.0.0"),
        lambda _: None,
    )
    assert found.yanked == {"tiny:1.0.0": "blind"}
    assert (found.resolved["tiny@stable"].version, found.resolved["tiny@stable"].digest) == (
        "1.1.0",
        published[1].digest,
    )
    assert "no channel 'beta'" in (found.resolved["tiny@beta"].problem or "")
    assert "no model 'ghost'" in (found.resolved["ghost@stable"].problem or "")
    assert found.resolved["tiny@<1.1"].problem
    assert shop.store.releases() == ()


def test_a_yank_says_why_and_what_still_points_there(shop: Shop) -> None:
    shop.publish(channel="stable")
    keys = ("--keys", shop.keys.folder)
    assert run("yank", shop.registry, "tiny:1.0.0", *keys).exit_code == 2
    assert run("yank", shop.registry, "tiny@stable", "--reason", "x", *keys).exit_code == 2
    assert run("yank", shop.registry, "tiny:9.9.9", "--reason", "x", *keys).exit_code == 2
    done = run("yank", shop.registry, "tiny:1.0.0", "--reason", "blind", *keys)
    assert done.exit_code == 0
    assert "channel stable points to it" in done.output
    assert "good again" in run("yank", shop.registry, "tiny:1.0.0", "--undo", *keys).output
    with pytest.raises(InputError, match="--reason"):
        yank(shop.registry, shop.keys, "tiny", "1.0.0", " \n ")


# --- rotate ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_a_role_with_new_keys_signs_and_its_old_key_no_longer_does(shop: Shop, role: str) -> None:
    shop.publish()
    fetch(shop)
    done = rotate(shop.registry, shop.keys, [role])
    assert (done.version, [path.name for path in done.retired]) == (2, [f"{role}.pem"])
    assert fetch(shop).metadata_versions["root"] == 2
    done.retired[0].unlink()
    shop.publish("1.1.0")  # the old key is needed for nothing any more
    refresh(shop.registry, shop.keys)
    rotate(shop.registry, shop.keys, [role])
    assert fetch(shop, "tiny:1.1.0").metadata_versions["root"] == 3


def test_a_root_lives_longer_without_new_keys(shop: Shop) -> None:
    shop.publish()
    before = Repository.load(shop.registry).root
    done = rotate(shop.registry, shop.keys, lifetimes=Lifetimes(root=timedelta(days=999)))
    after = Repository.load(shop.registry).root
    assert after.expires > before.expires
    assert after.roles["root"].keyids == before.roles["root"].keyids
    assert done.retired == ()
    assert fetch(shop).metadata_versions["root"] == 2


def test_a_root_that_has_expired_is_renewed_and_devices_go_on(tmp_path: Path) -> None:
    shop = Shop(tmp_path, lifetimes=Lifetimes(root=timedelta(days=-1)))
    shop.provision()
    shop.publish()
    with pytest.raises(MetadataExpired):
        fetch(shop)
    rotate(shop.registry, shop.keys)
    assert fetch(shop).version == "1.0.0"


def test_a_threshold_is_respected_on_both_sides_of_a_rotation(shop: Shop, tmp_path: Path) -> None:
    shop.publish()
    rotate(shop.registry, shop.keys, ["root"], root_keys=3, root_threshold=2)
    one = Keys(tmp_path / "one", no_passphrase)
    shutil.copytree(shop.keys.folder, one.folder)
    for path in (one.folder / "root-v2-1.pem", one.folder / "root-v2-2.pem"):
        path.unlink()
    with pytest.raises(InputError, match="1 keys of 'root'; 2 are needed"):
        rotate(shop.registry, one, ["timestamp"])
    assert status(shop.registry).roles[0].version == 2
    assert not list(one.folder.glob("timestamp-*"))  # refused before anything was made
    (shop.keys.folder / "root-v2-3.pem").unlink()  # one of three is lost: two are enough
    rotate(shop.registry, shop.keys, ["root"])
    root = status(shop.registry).roles[0]
    assert (root.version, root.keys, root.threshold) == (3, 3, 2)
    assert fetch(shop).metadata_versions["root"] == 3


def test_a_lost_online_key_is_replaced(shop: Shop) -> None:
    shop.publish()
    (shop.keys.folder / "timestamp.pem").unlink()
    rotate(shop.registry, shop.keys, ["timestamp"])
    assert fetch(shop).metadata_versions["root"] == 2


def test_a_rotation_killed_before_the_root_leaves_the_old_registry_whole(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.publish()
    fetch(shop)
    with monkeypatch.context() as patch:
        patch.setattr("tools.registry.rotate.signed_bytes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rotate(shop.registry, shop.keys, ["targets", "snapshot", "timestamp"])
    assert fetch(shop).metadata_versions["root"] == 1
    rotate(shop.registry, shop.keys, ["targets", "snapshot", "timestamp"])
    assert fetch(shop).metadata_versions["root"] == 2


@pytest.mark.parametrize(
    ("roles", "numbers", "says"),
    [
        (["mirror"], {}, "no role"),
        ([], {"root_keys": 2}, "--role root"),
        (["root"], {"root_keys": 2, "root_threshold": 3}, "threshold"),
    ],
)
def test_nonsense_is_refused_before_anything_changes(
    shop: Shop, roles: list[str], numbers: dict[str, int], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        rotate(shop.registry, shop.keys, roles, **numbers)  # type: ignore[arg-type]
    assert status(shop.registry).roles[0].version == 1


def test_rotate_says_what_to_destroy(shop: Shop) -> None:
    result = run("rotate", shop.registry, "--role", "timestamp", "--keys", shop.keys.folder)
    assert result.exit_code == 0, result.output
    assert "Root 2 is signed" in result.output
    assert "timestamp.pem" in result.output


# --- export ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stick(shop: Shop) -> Path:
    return shop.folder / "stick"


def test_a_stick_is_a_registry_with_the_same_trust_that_lives_as_long_as_asked(shop: Shop, stick: Path) -> None:
    shop.publish(channel="stable")
    rotate(shop.registry, shop.keys, ["root"])
    done = export(shop.registry, shop.keys, stick, timedelta(days=60))
    assert done.releases == 1
    assert fetch(shop, "tiny@stable", stick.as_uri()).version == "1.0.0"
    assert min(role.days_left for role in status(stick).roles) > 59.9
    assert min(role.days_left for role in status(shop.registry).roles) < 14.1
    assert fetch(shop).metadata_versions["timestamp"] > 0  # and back on the network


def test_a_stick_older_than_what_the_device_has_seen_is_refused_in_words(shop: Shop, stick: Path) -> None:
    shop.publish()
    export(shop.registry, shop.keys, stick, timedelta(days=60))
    fetch(shop)
    with pytest.raises(TrustError, match=r"older metadata than this device has seen.*an old copy"):
        fetch(shop, url=stick.as_uri())
    export(shop.registry, shop.keys, stick, timedelta(days=60))
    assert fetch(shop, url=stick.as_uri()).version == "1.0.0"


def test_a_second_export_copies_only_what_is_new(shop: Shop, stick: Path) -> None:
    shop.publish()
    first = export(shop.registry, shop.keys, stick, timedelta(days=9))
    shop.publish("1.1.0")
    second = export(shop.registry, shop.keys, stick, timedelta(days=9))
    assert second.releases == 2
    assert 0 < second.copied_bytes < first.copied_bytes
    assert fetch(shop, "tiny:1.1.0", stick.as_uri()).version == "1.1.0"


@pytest.mark.parametrize(("role", "remedy"), [("targets", "publish"), ("root", "rotate")])
def test_an_offline_role_that_ends_sooner_forbids_the_export(tmp_path: Path, role: str, remedy: str) -> None:
    shop = Shop(tmp_path, lifetimes=Lifetimes(**{role: timedelta(days=30)}))
    shop.publish()
    with pytest.raises(InputError, match=rf"the role '{role}' ends at .*{remedy}"):
        export(shop.registry, shop.keys, tmp_path / "stick", timedelta(days=60))
    assert not (tmp_path / "stick").exists()


def test_an_export_harms_no_other_folder_and_spreads_no_damage(shop: Shop, stick: Path, tmp_path: Path) -> None:
    published = shop.publish()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    foreign = Shop(tmp_path / "foreign")
    for folder in (tmp_path / "mine", foreign.registry, shop.registry):
        with pytest.raises(InputError):
            export(shop.registry, shop.keys, folder, timedelta(days=1))
    blob = shop.blob(published)
    blob.write_bytes(blob.read_bytes()[::-1])
    with pytest.raises(TrustError, match="damaged"):
        export(shop.registry, shop.keys, stick, timedelta(days=1))
    assert not (stick / "metadata" / "timestamp.json").exists()


@pytest.mark.parametrize(
    ("text", "hours"), [("12h", 12), ("60d", 1440), ("8w", 1344), ("0d", 0), ("1m", 0), ("", 0), ("d", 0), ("-1d", 0)]
)
def test_durations_are_read_or_refused(text: str, hours: int) -> None:
    if hours:
        assert parse_duration(text) == timedelta(hours=hours)
    else:
        with pytest.raises(InputError, match="60d"):
            parse_duration(text)


def test_export_by_hand(shop: Shop, stick: Path) -> None:
    shop.publish()
    keys = ("--keys", shop.keys.folder)
    done = run("export", shop.registry, stick, "--valid-for", "60d", *keys)
    assert done.exit_code == 0, done.output
    assert "1 releases" in done.output
    assert run("export", shop.registry, stick, "--valid-for", "600d", *keys).exit_code == 2
