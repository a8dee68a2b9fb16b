"""A page that is served over real HTTP: who gets in, what is answered, and that nothing a peer does ends it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
import time

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.web import connections, gate, server
from agent.web.credentials import Files
from agent.web.sessions import FREE
from agent.web.static_files import FOLDER, StaticFiles
from tests.conftest import ROOT
from tests.depth import examples
from tests.fakes.authority import Authority

from .conftest import TOKEN, until

API = [
    "/api/status", "/api/cameras", "/api/deployments", "/api/history", "/api/logs", "/api/logs/follow", "/api/config",
    "/api/telemetry", "/api/cameras/yard/picture.jpg", "/api/cameras/yard/live.mjpg", "/metrics",
]  # fmt: skip


def talk(port: int, data: bytes, *, timeout_s: float = 5.0) -> bytes:
    """Send bytes and return what comes until the end, or until the peer keeps the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as peer:
        peer.sendall(data)
        found = b""
        with contextlib.suppress(OSError):
            while not is_whole(found) and (chunk := peer.recv(65536)):
                found += chunk
        return found


def is_whole(found: bytes) -> bool:
    """Whether an answer is all there, as far as its head says how long it is."""
    head, end, body = found.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(end) and (length is None or len(body) >= int(length[1]))


# --- without a token -------------------------------------------------------------------------------------------------


def test_every_address_of_the_page_answers(site):
    site.start(metrics=True, metrics_text=b"up 1\n")
    status = site.get("/api/status").json()
    assert (status["device"], status["page"]) == ("gate-7", {"may_change": False, "version": "1.2.3", "token": False})
    assert [one["name"] for one in site.get("/api/cameras").json()["cameras"]] == ["yard", "gate"]
    assert site.get("/api/deployments").json()["pipelines"]["watch"]["state"] == "idle"
    assert until(lambda: site.get("/api/history").json()["at"])
    assert site.get("/api/history").json()["series"]["memory_mb"] == [40.0]
    assert {row["key"] for row in site.get("/api/config").json()["keys"]} >= {"web.port", "cameras.yard.source.kind"}
    assert site.get("/api/logs").json()["lines"]
    assert site.get("/api/telemetry").status_code == 503
    assert (site.get("/metrics").text, site.get("/healthz").text) == ("up 1\n", "ok")
    assert "<title>" in site.get("/").text
    assert "token" in site.get("/login").text
    missing = site.get("/api/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert site.get("/api/cameras/cellar/picture.jpg").json()["error"]["code"] == "no_camera"
    assert requests.head(site.url("/api/status"), timeout=5).status_code == 200


def test_metrics_alone_open_nothing_of_the_page(site):
    site.start(page=False, metrics=True, metrics_text=b"up 1\n")
    assert site.get("/metrics").text == "up 1\n"
    assert site.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    assert site.get("/healthz").text == "ok"
    for path in ("/", "/login", "/static/login.html", "/api/status", "/api/config"):
        assert site.get(path).status_code == 404


def test_every_answer_says_what_a_browser_may_do_with_it(site):
    site.start()
    for path in ("/", "/api/status", "/api/nothing", "/static/none.css", "/healthz"):
        headers = site.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; img-src 'self' blob: data:;")
        assert "unsafe" not in policy
        assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


def test_another_name_gets_nothing(site):
    site.start(names=("cam.example.org",))
    refused = site.get("/api/status", headers={"Host": "evil.example"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (421, "wrong_name")
    assert site.get("/api/status", headers={"Host": "cam.example.org"}).status_code == 200
    assert site.get("/healthz", headers={"Host": "probe"}).text == "ok"


def test_another_site_can_neither_embed_nor_preflight(site):
    site.start()
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    assert site.get("/api/cameras/yard/picture.jpg", headers=embedded).status_code == 403
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = requests.options(site.url("/api/commands/model/deploy"), headers=preflight, timeout=5)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def test_several_who_ask_at_once_cause_one_look(site):
    site.status_delay_s = 0.2
    site.start()
    threads = [threading.Thread(target=site.get, args=("/api/status",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.looks == 1


def test_a_fault_in_one_request_is_logged_and_answered_without_a_word_of_it(site):
    def status():
        raise RuntimeError("a secret inside")

    site.start(status=status)
    answer = site.get("/api/status")
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert "web.request_failed" in site.log()
    assert site.get("/healthz").text == "ok"
    site.out.truncate(0)


# --- commands --------------------------------------------------------------------------------------------------------


def test_nothing_is_changed_where_that_is_not_allowed(site):
    site.start()
    refused = site.post("/api/commands/model/rollback", json={})
    assert (refused.status_code, refused.json()["error"]["field"]) == (403, "web.allow_changes")
    assert site.commands.given == []


def test_commands_are_given_as_they_come_and_only_those_of_the_list(site):
    site.start(may_change=True)
    assert site.post("/api/commands/model/deploy", json={"reference": "m:1.0.0"}).json()["ok"]
    site.post("/api/commands/config/patch", json={"patch": {}})
    site.post("/api/commands/config/confirm", json={"revision": 3})
    assert site.commands.given == [
        ("model/deploy", {"reference": "m:1.0.0"}),
        ("config/patch", {"patch": {}, "who": "page"}),
        ("config/confirm", {"revision": 3}),
    ]
    for verb in ("device/restart", "logs/level", "camera/snapshot", "model/list", "none/such"):
        assert site.post(f"/api/commands/{verb}", json={}).status_code == 403
    assert len(site.commands.given) == 3


def test_a_change_without_mark_or_from_elsewhere_is_refused(site):
    site.start(may_change=True)
    address = site.url("/api/commands/model/rollback")
    assert requests.post(address, json={}, timeout=5).status_code == 403
    assert site.post("/api/commands/model/rollback", json={}, headers={"Origin": "http://evil"}).status_code == 403
    assert site.get("/api/commands/model/rollback").status_code == 405
    assert site.commands.given == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"1", b"\xff", b"[" * 20000])
def test_arguments_that_are_no_object_are_refused(site, body):
    site.start(may_change=True)
    answer = site.post("/api/commands/model/rollback", data=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_command")


def test_a_large_body_is_refused_before_it_is_read(site):
    site.start(may_change=True)
    head = (
        f"POST /api/commands/config/patch HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Lookout: 1\r\n"
        f"Content-Length: {10**12}\r\n\r\n"
    )
    assert b"too_large" in talk(site.port, head.encode())
    chunked = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b"too_large" in talk(site.port, chunked + b"2710\r\n" + b"x" * 10_000 + b"\r\n")
    assert site.get("/healthz").text == "ok"


# --- the token -------------------------------------------------------------------------------------------------------


def test_without_the_token_there_is_nothing_but_the_door(site):
    site.start(token=TOKEN, metrics=True, metrics_text=b"up 1\n")
    for path in API:
        answer = site.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized"), path
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (site.get("/").status_code, site.get("/").headers["location"]) == (303, "/login")
    assert site.post("/api/commands/model/rollback", json={}).status_code == 401
    assert site.get("/login").status_code == 200
    assert site.get("/healthz").text == "ok"
    assert site.looks == 0


def test_the_token_in_a_header_opens_it_and_a_nearly_right_one_does_not(site, monkeypatch):
    monkeypatch.setattr(gate, "WRONG_S", 0.01)
    site.start(token=TOKEN)
    assert site.get("/api/status", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    for wrong in (TOKEN[:-1], TOKEN + "0", TOKEN.upper()):
        assert site.get("/api/status", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401
    assert site.get("/api/status", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
    assert site.get(f"/api/status?token={TOKEN}").status_code == 401, "a token in an address ends up in logs"


def test_a_person_logs_in_by_a_form_and_out_again(site):
    site.start(token=TOKEN)
    person = requests.Session()
    answer = person.post(site.url("/login"), data={"token": TOKEN}, timeout=5, allow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert person.get(site.url("/api/status"), timeout=5).status_code == 200
    word = person.cookies["lookout"]
    assert person.post(site.url("/logout"), headers={"X-Lookout": "1"}, timeout=5).json() == {"ok": True}
    assert site.get("/api/status", cookies={"lookout": word}).status_code == 401


def test_a_script_that_logs_in_gets_json(site, monkeypatch):
    monkeypatch.setattr(gate, "WRONG_S", 0.01)
    site.start(token=TOKEN)
    json_please = {"Accept": "application/json"}
    assert site.post("/login", data={"token": TOKEN}, headers=json_please).json() == {"ok": True}
    wrong = site.post("/login", data={"token": "x"}, headers=json_please)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "unauthorized")
    assert site.post("/login", data={"token": "x"}).headers["location"] == "/login?failed=unauthorized"
    assert site.post("/login", data=b"&".join(b"a=b" for _ in range(100))).status_code == 400


def test_another_sites_form_cannot_log_anybody_in(site):
    site.start(token=TOKEN)
    answer = site.post("/login", data={"token": TOKEN}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_guessing_ends_after_a_few_tries_and_sessions_go_on(site, monkeypatch):
    monkeypatch.setattr(gate, "WRONG_S", 0.01)
    site.start(token=TOKEN)
    person = requests.Session()
    person.post(site.url("/login"), data={"token": TOKEN}, timeout=5)
    for _ in range(FREE):
        assert site.get("/api/status", headers={"Authorization": "Bearer wrong"}).status_code == 401
    locked = site.get("/api/status", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (locked.status_code, locked.json()["error"]["code"]) == (429, "too_many_tries")
    assert int(locked.headers["retry-after"]) > 0
    assert site.post("/login", data={"token": TOKEN}).headers["location"] == "/login?failed=too_many_tries"
    assert person.get(site.url("/api/status"), timeout=5).status_code == 200
    assert site.log().count("web.wrong_token") == FREE
    assert "wrong_token" in site.log()
    assert TOKEN not in site.log()


def test_many_who_guess_at_once_are_told_to_come_again(site, monkeypatch):
    monkeypatch.setattr(gate, "WRONG_S", 1.0)
    monkeypatch.setattr(gate, "MAX_WRONG", 2)
    site.start(token=TOKEN)
    found: list[int] = []

    def guess():
        found.append(site.get("/api/status", headers={"Authorization": "Bearer wrong"}).status_code)

    threads = [threading.Thread(target=guess) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [401, 401, 429, 429]


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_pages_files_come_with_a_tag_and_are_not_sent_again(site):
    site.start(token=TOKEN)
    first = site.get("/static/login.html")
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    again = site.get("/static/login.html", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/static/../access.py", "/static/%2e%2e/access.py", "/static/..%2faccess.py", "/static//etc/passwd", "/static/",
     "/static/%00", "/static/....//access.py", "/static/login.html/", "/static/./login.html", "/static/..\\access.py"],
)  # fmt: skip
def test_no_path_leads_out_of_the_folder(site, path):
    site.start()
    answer = talk(site.port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"Who may ask" not in answer


def test_only_files_that_were_there_and_of_a_known_kind_are_served(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.js").write_text("a")
    (tmp_path / "note.py").write_text("secret")
    (tmp_path / "plain").write_text("secret")
    files = StaticFiles(tmp_path)
    (tmp_path / "late.js").write_text("late")
    assert files._files.keys() == {"sub/a.js"}
    assert {"index.html", "login.html"} <= StaticFiles(FOLDER)._files.keys()


# --- peers that mean no good -----------------------------------------------------------------------------------------


def test_a_peer_that_sends_a_head_byte_by_byte_is_hung_up_on(site, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    site.start()
    with socket.create_connection(("127.0.0.1", site.port), timeout=5) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n")
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012 - whichever send finds it out
            while time.monotonic() - began < 10:
                peer.sendall(b"X")
                time.sleep(0.05)
                if peer.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b"":
                    raise ConnectionResetError
    assert time.monotonic() - began < 5


def test_a_peer_that_says_nothing_or_nothing_more_is_hung_up_on(site, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    site.start()
    for said in (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", site.port), timeout=10) as peer:
            peer.sendall(said)
            with contextlib.suppress(ConnectionResetError):
                while peer.recv(65536):
                    pass


def test_a_body_that_does_not_come_is_not_waited_for(site, monkeypatch):
    monkeypatch.setattr(gate, "BODY_S", 0.2)
    site.start()
    head = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\ntoken="
    assert b"did not come" in talk(site.port, head)


def test_a_peer_that_leaves_in_the_middle_of_a_body_is_no_fault_of_ours(site):
    site.start()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", site.port), timeout=5) as peer:
            peer.sendall(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\ntoken=")
            time.sleep(0.05)
    assert site.get("/healthz").text == "ok"
    assert "request_failed" not in site.log()


def test_a_head_that_is_too_large_is_refused(site):
    site.start()
    answer = talk(site.port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 500_000)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert site.get("/healthz").text == "ok"


def test_one_peer_holds_no_more_connections_than_its_share_and_gives_them_back(site, monkeypatch):
    monkeypatch.setattr(connections, "MAX_OF_ONE", 4)
    site.start()
    peers = [socket.create_connection(("127.0.0.1", site.port), timeout=5) for _ in range(4)]
    time.sleep(0.2)
    with pytest.raises(requests.ConnectionError):
        site.get("/healthz")
    for peer in peers:
        peer.close()

    def answers() -> bool:
        try:
            return site.get("/healthz").text == "ok"
        except requests.ConnectionError:
            return False

    assert until(answers)


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.one_of(
        st.binary(max_size=400),
        st.builds(
            lambda method, path, headers, body: b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n%s"
            % (method, path, b"".join(b"%s: %s\r\n" % pair for pair in headers), body),
            st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS"]),
            st.sampled_from(
                [b"/", b"/login", b"/api/status", b"/api/cameras/yard/picture.jpg?width=9", b"/api/logs?lines=-1",
                 b"/api/cameras/%ff/live.mjpg", b"*", b"http://evil/", b"/static/%", b"/api/commands/a/b", b"/logout"]
            ),
            st.lists(
                st.tuples(
                    st.sampled_from(
                        [b"X-Lookout", b"Cookie", b"Authorization", b"Origin", b"Content-Length", b"Transfer-Encoding",
                         b"Upgrade", b"Connection", b"Expect", b"Sec-Fetch-Site", b"Range"]
                    ),
                    st.sampled_from(
                        [b"1", b"lookout=x", b"Bearer x", b"null", b"5", b"chunked", b"websocket", b"upgrade", b"close",
                         b"100-continue", b"same-origin", b"-1", b"bytes=0-"]
                    ),
                ),
                max_size=4,
            ),
            st.binary(max_size=60),
        ),
    )
)  # fmt: skip
def test_whatever_bytes_come_the_page_goes_on_and_tells_nothing(site, data):
    if site.page is None:
        site.start(token=TOKEN)
    with contextlib.suppress(OSError):
        answer = talk(site.port, data, timeout_s=0.1)
        assert b"gate-7" not in answer, "the device's name, which is for those with the token"
        assert b"\xff\xd8" not in answer, "a picture"
        assert not answer.startswith(b"HTTP/1.1 5")
    assert site.page.problem() is None
    assert site.looks == 0


def test_after_all_of_that_it_still_serves(site):
    site.start()
    for data in (b"\x16\x03\x01\x02\x00", b"\r\n" * 100, b"GET /\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        talk(site.port, data, timeout_s=0.2)
    assert site.get("/healthz").text == "ok"


@pytest.mark.parametrize(("host", "asked"), [("localhost", "127.0.0.1"), ("::", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")])
def test_it_is_served_at_every_address_that_a_name_has(site, host, asked):
    site.start(host=host)
    assert requests.get(f"http://{asked}:{site.port}/healthz", timeout=5).text == "ok"


def test_the_files_of_the_page_are_packaged():
    """What git ignores the wheel leaves out."""
    files = [str(path) for path in StaticFiles(FOLDER)._files.values()]
    ignored = subprocess.run(["git", "check-ignore", *files], capture_output=True, text=True, check=False, cwd=ROOT)
    if ignored.returncode == 128:
        pytest.skip("this is no checkout")
    assert ignored.stdout == ""


# --- where it cannot be served ---------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_told_in_words_and_tried_again(site):
    with socket.socket() as other:
        other.bind(("127.0.0.1", site.port))
        other.listen()
        page = site.start(served=False)
        problem = until(page.problem)
        assert f"127.0.0.1, port {site.port} cannot be served at" in problem
        assert "web.port" in problem
    assert page.wait_served(10)
    assert until(lambda: page.problem() is None)
    assert site.get("/healthz").text == "ok"


def test_a_bug_of_the_pages_own_is_told_and_the_page_comes_back(site, monkeypatch):
    page = site.start()

    async def broken(_):
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(server.Api, "remember", broken)
        patch.setattr(server, "EVERY_S", 0.01)
        page.stop()
        page = site.start(served=False)
        assert "fault of its own (RuntimeError)" in until(page.problem)
        assert "web.crashed" in site.log()
    assert until(lambda: page.problem() is None)
    assert site.get("/healthz").text == "ok"
    site.out.truncate(0)


def test_a_token_file_that_is_not_fit_keeps_the_page_shut(site, tmp_path):
    secret = tmp_path / "token"
    secret.write_text("short\n")
    page = site.start(served=False, files=Files(token=str(secret)))
    assert "web.token_file" in until(page.problem)
    with pytest.raises(requests.ConnectionError):
        site.get("/healthz")
    secret.write_text(f"{TOKEN}\n")
    assert page.wait_served(10)
    assert site.get("/api/status").status_code == 401
    assert site.get("/api/status", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_it_stops_at_once_whoever_looks(site):
    page = site.start()
    with requests.get(site.url("/api/cameras/yard/live.mjpg"), stream=True, timeout=5) as live:
        next(live.iter_content(100))
        with requests.get(site.url("/api/logs/follow"), stream=True, timeout=5):
            began = time.monotonic()
            page.stop()
            assert time.monotonic() - began < 3
    page.stop()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("lookout-web")]


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def tls_files(authority: Authority, folder) -> Files:
    certificate, key = folder / "page.pem", folder / "page.key"
    for source, copy in zip(authority.server, (certificate, key), strict=True):
        copy.write_bytes(source.read_bytes())
    return Files(certificate=str(certificate), key=str(key))


def test_over_tls_the_cookie_is_bound_to_it(site, authority, tmp_path):
    site.start(token=TOKEN, files=tls_files(authority, tmp_path))
    address = f"https://127.0.0.1:{site.port}"
    person = requests.Session()
    ours = {"verify": str(authority.ca), "timeout": 5}
    answer = person.post(f"{address}/login", data={"token": TOKEN}, allow_redirects=False, **ours)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-lookout=")
    assert "Secure" in cookie
    assert person.get(f"{address}/api/status", **ours).status_code == 200
    assert b"HTTP/" not in talk(site.port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", timeout_s=1.0)
    assert person.get(f"{address}/healthz", **ours).text == "ok"


def test_peers_that_never_agree_on_tls_are_hung_up_on(site, authority, tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "HANDSHAKE_S", 0.3)
    site.start(files=tls_files(authority, tmp_path))
    with socket.create_connection(("127.0.0.1", site.port), timeout=5) as peer, contextlib.suppress(OSError):
        assert peer.recv(10) == b""


def test_a_renewed_certificate_is_shown_at_once_and_a_broken_one_never(site, authority, tmp_path):
    files = tls_files(authority, tmp_path)
    page = site.start(files=files)
    other = Authority(tmp_path / "other-ca")

    def trusted(ca: Authority) -> bool:
        try:
            return requests.get(f"https://127.0.0.1:{site.port}/healthz", verify=str(ca.ca), timeout=5).ok
        except requests.exceptions.SSLError:
            return False

    assert trusted(authority)
    (tmp_path / "page.pem").write_text("no certificate")
    assert trusted(authority)
    assert "the one before is still used" in page.problem()
    tls_files(other, tmp_path)
    assert trusted(other)
    assert not trusted(authority)
    assert page.problem() is None


def test_json_of_the_api_is_json_to_its_last_byte(site):
    site.start()
    for path in API[:8]:
        if path != "/api/logs/follow":
            json.loads(site.get(path).content)
