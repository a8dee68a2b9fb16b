"""Who may ask what of the page: the rules themselves, over whatever a request may say."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.web.access import (
    MARK,
    Asked,
    Refused,
    Rules,
    WrongMethod,
    WrongName,
    bearer,
    cookie,
    host_name,
    is_address,
    own_names,
)

NAMES = own_names("gate-7.example.org", ["cam.example.org"])
RULES = Rules(NAMES, "0123456789abcdef")
OURS = {"host": "127.0.0.1:8088"}

domains = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z][a-z0-9-]{0,20}){0,3}", fullmatch=True)
header_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=60)
odd_headers = st.dictionaries(
    st.sampled_from(
        ["origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "referer", "accept", "cookie", MARK]
    ),
    header_text | st.sampled_from(["1", "null", "same-origin", "cross-site", "navigate", "http://127.0.0.1:8088"]),
)


def post(path: str = "/api/commands/model/rollback", **headers: str) -> Asked:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Asked("POST", path, {**OURS, MARK: "1", **named})


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8088", "localhost:80", "LOCALHOST", "[::1]:8088", "[::1]", "192.0.2.7:1", "gate-7",
     "gate-7.local:8088", "GATE-7.example.org.", "cam.example.org:443"],
)  # fmt: skip
def test_addresses_and_own_names_may_be_asked_for(host):
    RULES.check(Asked("GET", "/", {"host": host}))


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8088", "127.0.0.1.evil.example", "localhost.evil.example", "gate-7.evil",
     "127.0.0.1:port", "[::1", "[evil]", "[::1]8088", "127.0.0.1:99999", "::1", "cam.example.org@evil", "a" * 300, " ",
     ".", "..", "evil.example\n127.0.0.1", "[127.0.0.1]"],
)  # fmt: skip
def test_a_name_that_was_made_to_lead_here_is_refused(host):
    with pytest.raises(WrongName):
        RULES.check(Asked("GET", "/", {"host": host}))


@given(domains)
@example("localhost")
def test_no_name_but_the_devices_own_is_answered(name):
    allowed = name == "localhost" or name in NAMES
    assert RULES.is_ours(name) == RULES.is_ours(f"{name}:8088") == allowed


@given(st.text(max_size=300) | header_text)
def test_any_host_header_is_read_without_a_fault_and_never_widens_what_is_ours(text):
    name = host_name(text)
    if RULES.is_ours(text):
        assert name is not None
        assert name == "localhost" or name in NAMES or is_address(name)


@given(st.ip_addresses())
def test_an_address_is_no_name_that_could_lead_elsewhere(address):
    host = f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else str(address)
    assert RULES.is_ours(host)


@given(st.sampled_from(["OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE", "get", "POST "]))
def test_only_get_head_and_post_are_known_so_that_no_cors_is_ever_granted(method):
    with pytest.raises(WrongMethod):
        RULES.check(Asked(method, "/api/status", OURS))


@given(odd_headers)
def test_a_change_without_the_pages_own_mark_is_refused_whatever_else_it_says(headers):
    asked = Asked("POST", "/api/commands/model/deploy", {**OURS, **headers})
    if headers.get(MARK) != "1":
        with pytest.raises(Refused):
            RULES.check(asked)


@given(odd_headers)
def test_a_change_from_another_origin_is_refused_whatever_else_it_says(headers):
    asked = Asked("POST", "/api/commands/model/deploy", {**OURS, MARK: "1", **headers})
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    foreign = origin not in (None, "http://127.0.0.1:8088", "https://127.0.0.1:8088")
    if foreign or site not in (None, "same-origin", "none"):
        with pytest.raises(Refused):
            RULES.check(asked)


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:80", "http://127.0.0.1:8089",
     "http://127.0.0.1:8088.evil.example", "127.0.0.1:8088", "file://127.0.0.1:8088", "http://user@127.0.0.1:8088"],
)  # fmt: skip
def test_origins_that_are_nearly_ours_are_not(origin):
    for path in ("/api/commands/model/deploy", "/login"):
        with pytest.raises(Refused):
            RULES.check(post(path, origin=origin))


def test_the_page_itself_may_change_and_a_script_without_a_browser_too():
    RULES.check(post(origin="http://127.0.0.1:8088", sec_fetch_site="same-origin"))
    RULES.check(post())
    RULES.check(post(origin="https://127.0.0.1:8088"))  # behind a proxy that adds TLS


def test_a_page_with_tls_takes_no_change_from_its_own_name_without_tls():
    tls = Rules(NAMES, "0123456789abcdef", tls=True)
    tls.check(post(origin="https://127.0.0.1:8088"))
    with pytest.raises(Refused):
        tls.check(post(origin="http://127.0.0.1:8088"))


def test_the_default_port_may_be_left_out_of_one_of_the_two():
    RULES.check(Asked("POST", "/login", {"host": "cam.example.org", "origin": "https://cam.example.org:443"}))
    RULES.check(Asked("POST", "/login", {"host": "cam.example.org:80", "origin": "http://cam.example.org"}))


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_another_site_embeds_and_fetches_nothing_but_may_lead_here(site):
    for mode, dest in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe"), ("navigate", "object")):
        headers = {**OURS, "sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
        with pytest.raises(Refused):
            RULES.check(Asked("GET", "/api/cameras/yard/picture.jpg", headers))
    led = {**OURS, "sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    RULES.check(Asked("GET", "/", led))
    with pytest.raises(Refused):
        RULES.check(Asked("POST", "/login", led))


@pytest.mark.parametrize(
    "path", ["/", "/api/status", "/metrics", "/staticfoo", "/login/", "/healthz/", "/logout", "//login"]
)
def test_all_but_the_way_in_needs_the_token(path):
    assert RULES.needs_token(path)
    assert not Rules(NAMES, None).needs_token(path)


def test_the_way_in_needs_none():
    assert not any(RULES.needs_token(path) for path in ("/login", "/healthz", "/static/app.css"))


@given(st.text(max_size=40))
def test_only_the_token_is_the_token(text):
    assert RULES.is_token(text) == (text == "0123456789abcdef")
    assert not Rules(NAMES, None).is_token(text)


@given(st.dictionaries(st.sampled_from(["authorization", "cookie"]), header_text))
def test_whatever_is_shown_is_read_without_a_fault(headers):
    bearer(headers)
    cookie(headers, "lookout")


def test_what_is_shown_is_found():
    assert bearer({"authorization": "bearer  abc "}) == "abc"
    assert bearer({"authorization": "Basic abc"}) is None
    assert bearer({"authorization": "Bearer "}) is None
    assert cookie({"cookie": "a=b; lookout=xyz=; c"}, "lookout") == "xyz="
    assert cookie({"cookie": "lookout2=xyz"}, "lookout") is None


def test_the_token_is_in_no_text_of_the_rules():
    assert "0123456789abcdef" not in repr(RULES)
