"""Every topic that is built can be read back, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import InputError
from agent.link.topics import KINDS, Address, Topics, is_publishable, relative

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
prefixes = st.lists(st.text("abcAZ.-_é", min_size=1, max_size=8), min_size=1, max_size=3).map("/".join)


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    kind = draw(st.sampled_from(sorted(KINDS)))
    scope = draw(st.sampled_from(["device", "all", "group"])) if kind == "cmd" else "device"
    target = None if scope == "all" else draw(names)
    return Address(kind, tuple(draw(names) for _ in KINDS[kind].names), scope, target)  # type: ignore[arg-type]


@given(prefixes, names, addresses())
def test_what_is_formatted_is_parsed_back(prefix: str, device: str, address: Address) -> None:
    topics = Topics(prefix, device)
    topic = topics.format(address)
    assert topics.parse(topic) == address
    assert is_publishable(topic)


@given(st.text(st.sampled_from("lookut/_agrpcmdst+#-1é"), max_size=60) | st.text(max_size=30))
def test_any_topic_is_read_as_something_that_formats_to_it_or_as_nothing(topic: str) -> None:
    topics = Topics("lookout", "cam1")
    address = topics.parse(topic)
    if address is not None:
        assert topics.format(address) == topic


@pytest.mark.parametrize(
    ("kind", "given_names", "topic"),
    [
        ("status", (), "lookout/cam1/status"),
        ("state", ("front",), "lookout/cam1/state/front"),
        ("deploy", ("main",), "lookout/cam1/deploy/main"),
        ("result", ("model", "deploy"), "lookout/cam1/result/model/deploy"),
    ],
)
def test_topics_are_those_of_the_documentation(kind: str, given_names: tuple[str, ...], topic: str) -> None:
    topics = Topics("lookout", "cam1")
    assert topics.format(Address(kind, given_names)) == topic
    assert topics.absolute(relative(kind, *given_names)) == topic


def test_a_device_obeys_its_own_topic_its_groups_and_all() -> None:
    assert Topics("site/lookout/", "cam1").command_filters(["gate"]) == (
        "site/lookout/cam1/cmd/+/+",
        "site/lookout/_all/cmd/+/+",
        "site/lookout/_group/gate/cmd/+/+",
    )


@pytest.mark.parametrize("name", ["", "A", "_all", "a/b", "a+", "a#", "-a", "a" * 65, "a\n", "ä"])
def test_bad_names_are_refused_with_what_they_were_to_name(name: str) -> None:
    with pytest.raises(InputError, match="camera"):
        relative("state", name)
    with pytest.raises(InputError, match="device"):
        Topics("lookout", name)
    with pytest.raises(InputError, match="group"):
        Topics("lookout", "cam1").command_filters([name])


@pytest.mark.parametrize("prefix", ["", "/", "/lookout", "look+out", "a/#", "$SYS", "a\0"])
def test_bad_prefixes_are_refused(prefix: str) -> None:
    with pytest.raises(InputError, match=r"mqtt\.prefix"):
        Topics(prefix, "cam1")


def test_only_commands_go_to_many() -> None:
    topics = Topics("lookout", "cam1")
    with pytest.raises(InputError):
        topics.format(Address("state", ("front",), "all"))
    assert topics.parse("lookout/_all/state/front") is None
    assert topics.parse("lookout/_group/gate/status") is None


def test_the_wrong_number_of_names_or_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError):
        relative("state")
    with pytest.raises(InputError, match="unknown"):
        relative("nonsense")


@pytest.mark.parametrize("topic", ["", "a+", "#", "x" * 65_536, "\ud800"])
def test_what_no_broker_takes_is_not_published(topic: str) -> None:
    assert not is_publishable(topic)
    with pytest.raises(InputError):
        Topics("lookout", "cam1").absolute(topic)


@pytest.mark.parametrize("topic", ["a\x01b", "a\x7f", "a\x85b", "a\ufdd0", "a\uffff", "a\U0001fffe", "a/" * 200 + "a"])
def test_what_a_broker_hangs_up_on_is_not_publishable(topic: str) -> None:
    assert not is_publishable(topic)
