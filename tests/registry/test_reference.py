from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import errors
from agent.registry.reference import newest_in_range, next_patch, parse_reference, precedence

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
numbers = st.integers(0, 9999).map(str)
versions = st.builds(
    lambda a, b, c, pre: f"{a}.{b}.{c}{pre}", numbers, numbers, numbers, st.sampled_from(["", "-rc.1", "-beta", "+b.5"])
)
channels = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)
ranges = st.one_of(
    st.builds(lambda op, v: op + v, st.sampled_from(["^", "~", ">=", "<", "="]), versions),
    st.sampled_from(["*", "1.x", "^1.2", ">=1 <2", "1.0.0 - 2.0.0", "^1 || ^3"]),
)


@given(
    st.one_of(
        st.builds(lambda n, v: f"{n}:{v}", names, versions),
        st.builds(lambda n, c: f"{n}@{c}", names, channels),
        st.builds(lambda n, r: f"{n}@{r}", names, ranges),
    )
)
def test_a_reference_reads_back_what_it_writes(text: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == text
    assert parse_reference(str(reference)) == reference


@given(st.one_of(st.text(), st.text(alphabet="abx019.:@^~<>=-+* |", max_size=30)))
def test_any_text_is_a_reference_or_a_clear_refusal(text: str) -> None:
    try:
        reference = parse_reference(text)
    except errors.ReferenceError:
        return
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("yolox-nano:1.2.0", "version", "1.2.0"),
        ("yolox-nano@stable", "channel", "stable"),
        ("yolox-nano@^1.2", "range", "^1.2"),
        ("yolox-nano@1.x", "range", "1.x"),
        ("yolox-nano@>=1   <2", "range", ">=1 <2"),
        ("  faces@x ", "channel", "x"),
    ],
)
def test_each_form_is_told_apart(text: str, kind: str, value: str) -> None:
    reference = parse_reference(text)
    assert (reference.kind, reference.value) == (kind, value)


@pytest.mark.parametrize(
    "text",
    ["", "faces", "faces:", "faces@", ":1.0.0", "Faces:1.0.0", "faces:1.0", "faces:v1.0.0", "faces:1.0.0\n0",
     "faces:\uff11.0.0",
     "../x:1.0.0", "faces@>>1", "faces@^1.2 && rm", "faces:" + "1" * 70 + ".0.0", "faces@" + "^1 || " * 60 + "1",
     "faces@Stable", "a@b:1.0.0"],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(errors.ReferenceError, match="write name:version"):
        parse_reference(text)


def test_the_newest_in_range_is_chosen_by_precedence_and_not_by_spelling() -> None:
    there = ["1.2.0", "1.10.0", "1.9.3", "2.0.0-rc.1", "0.9.0"]
    assert newest_in_range("^1", there) == "1.10.0"
    assert newest_in_range("*", there) == "1.10.0"
    assert newest_in_range(">=2.0.0-rc.0", there) == "2.0.0-rc.1"
    assert newest_in_range("^3", there) is None
    assert sorted(there, key=precedence)[-1] == "2.0.0-rc.1"


def test_the_next_version_is_suggested() -> None:
    assert next_patch([]) == "1.0.0"
    assert next_patch(["1.2.9", "1.10.0"]) == "1.10.1"
