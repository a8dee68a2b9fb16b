"""The page of a device that may only be looked at: what it shows, what it costs, and that it comes back."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator

import pytest
import yaml
from playwright.sync_api import Page, expect

from tests.integration import shelf
from tests.integration.device import CAMERA, PIPELINE, Device

from .conftest import HOSTILE, PATIENCE_MS, address

VIEWS = ("live", "models", "charts", "logs", "config", "zones")
MAY_HIDE = """
  let hidden = false;
  Object.defineProperty(document, "hidden", { get: () => hidden });
  window.hide = (now) => { hidden = now; document.dispatchEvent(new Event("visibilitychange")); };
"""
"""A headless browser shows every tab: this one's word is taken over, and what is told of it too."""

PIXELS = """() => {
  const picture = document.querySelector("article.camera img");
  if (!picture?.naturalWidth) return "";
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
  canvas.getContext("2d").drawImage(picture, 0, 0, 64, 48);
  return canvas.toDataURL();
}"""


@pytest.fixture(scope="module")
def device(serve: Callable[..., Device]) -> Device:
    """A device whose page asks for no token and changes nothing."""
    return serve()


@pytest.fixture
def page(device: Device, visit: Callable[..., Page]) -> Iterator[Page]:
    """Its page, in a tab whose hiding is the test's."""
    opened = visit("about:blank")
    opened.context.add_init_script(MAY_HIDE)
    opened.goto(address(device))
    return opened


def card(page: Page, camera: str = CAMERA):
    return page.get_by_role("article", name=f"Camera {camera}", include_hidden=True)


def comes(page: Page, what: Callable[[], object]) -> None:
    """Wait for something to be so; the page's policy keeps the browser itself from being asked to."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not what():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def moves(page: Page) -> None:
    """Return once the first camera's picture has changed."""
    comes(page, lambda: page.evaluate(PIXELS))
    before = page.evaluate(PIXELS)
    comes(page, lambda: page.evaluate(PIXELS) != before)


def open_view(page: Page, name: str) -> None:
    page.locator(f"nav a[href='#{name}']").click()
    expect(page.locator(f"#view-{name}")).to_be_visible()


def test_the_live_view_moves_and_stands_still_when_it_is_paused(page):
    moves(page)
    expect(card(page)).to_contain_text("a second")
    card(page).get_by_role("button", name="Pause").click()
    expect(card(page)).to_have_attribute("data-stream", "off")
    before = page.evaluate(PIXELS)
    page.wait_for_timeout(700)
    assert page.evaluate(PIXELS) == before != ""
    card(page).get_by_role("button", name="Still picture").click()
    expect(card(page)).to_have_attribute("data-stream", "still")
    card(page).get_by_role("button", name="Start").click()
    moves(page)


def test_pictures_do_not_move_by_themselves_where_little_motion_is_wished(device, visit):
    page = visit(address(device), reduced_motion="reduce")
    expect(card(page)).to_have_attribute("data-stream", "still")
    card(page).get_by_role("button", name="Start").click()
    moves(page)


def test_nothing_is_fetched_while_the_tab_is_hidden_and_all_goes_on_when_it_shows_again(page):
    over, asked = [], []
    moves(page)
    page.on("requestfailed", lambda request: over.append(request.url))
    page.evaluate("hide(true)")
    expect(card(page)).to_have_attribute("data-stream", "off")
    page.wait_for_timeout(200)  # what was under way is ended
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(3000)
    assert asked == []
    assert any("live.mjpg" in url for url in over), "the stream itself was hung up, not only hidden"
    page.evaluate("hide(false)")
    moves(page)
    assert any("/api/status" in url for url in asked)


def test_a_camera_that_is_scrolled_off_is_not_fetched(page):
    moves(page)
    page.set_viewport_size({"width": 360, "height": 320})
    page.mouse.wheel(0, 5000)
    expect(card(page)).to_have_attribute("data-stream", "off")
    page.evaluate("scrollTo(0, 0)")
    card(page).scroll_into_view_if_needed()
    moves(page)


def test_another_view_ends_the_live_view_and_the_log(page):
    moves(page)
    open_view(page, "logs")
    expect(card(page)).to_have_attribute("data-stream", "off")
    expect(page.locator("#lines")).to_contain_text("agent.started")
    with page.expect_event("requestfailed", lambda request: "/api/logs/follow" in request.url):
        open_view(page, "models")
    open_view(page, "live")
    moves(page)


def test_what_a_device_says_is_shown_as_text_and_never_run(page):
    expect(page.locator("#notices")).to_contain_text(HOSTILE)
    expect(page.locator("#state")).to_have_text("degraded: 1 reason")
    expect(card(page, "cellar")).to_contain_text(HOSTILE)
    open_view(page, "logs")
    expect(page.locator("#lines")).to_contain_text(HOSTILE)
    open_view(page, "config")
    expect(page.locator("#config")).to_contain_text(HOSTILE)
    assert page.evaluate("window.hit") is None


def test_a_page_that_may_only_look_has_no_button_that_changes_anything(page, device):
    open_view(page, "models")
    expect(page.get_by_role("heading", name=PIPELINE, exact=True)).to_be_visible()
    open_view(page, "config")
    expect(page.locator("#config")).to_contain_text("cameras.yard.source.kind")
    changing = re.compile("Deploy|Roll back|Cancel|Change|Keep it|Undo it|Put into force")
    open_view(page, "zones")
    assert page.get_by_role("button", name=changing).count() == 0
    assert page.locator("#view-models button, #view-config button").count() == 0
    refused = page.request.post(
        f"{address(device)}/api/commands/model/rollback", data={}, headers={"X-Lookout": "1", "Origin": address(device)}
    )
    assert (refused.status, refused.json()["error"]["code"]) == (403, "forbidden")


def test_a_receipt_is_read_with_its_digest_whole(page, device):
    open_view(page, "models")
    digest = device.status().pipelines[0].digest
    panel = page.get_by_role("article", name=f"Pipeline {PIPELINE}")
    expect(panel).to_contain_text(shelf.TINY)
    expect(panel).to_contain_text("none: the first model")
    expect(panel.get_by_text(digest).first).to_be_hidden()
    panel.locator(".slots summary").first.press("Enter")
    expect(panel.get_by_text(digest).first).to_be_visible()
    expect(panel.get_by_role("row").nth(1)).to_contain_text("committed")


def test_the_configuration_says_where_each_value_comes_from(page):
    open_view(page, "config")
    row = page.get_by_role("row").filter(has_text="web.port")
    expect(row).to_contain_text("file")
    expect(page.get_by_role("row").filter(has_text="report.event_update_s")).to_have_count(0)
    page.get_by_label("Only what differs").uncheck()
    page.get_by_label("Search").fill("event_update")
    expect(page.get_by_role("row").filter(has_text="report.event_update_s")).to_contain_text("default")
    expect(page.locator("#config-count")).to_contain_text("1 of ")


def test_a_chart_is_read_by_keys_and_as_a_table(page):
    open_view(page, "charts")
    chart = page.get_by_role("figure").filter(has_text="Frames a second")
    plot = chart.get_by_role("slider")
    expect(plot).to_have_attribute("aria-valuemax", re.compile("[1-9]"))  # two points, ten seconds apart
    plot.press("End")
    expect(plot).to_have_attribute("aria-valuetext", re.compile(rf"\d\d:\d\d:\d\d: {CAMERA} \d+\.\d\sfps"))
    newest = plot.get_attribute("aria-valuetext")
    plot.press("ArrowLeft")
    expect(plot).not_to_have_attribute("aria-valuetext", newest)
    expect(chart.locator(".readout")).to_contain_text(CAMERA)
    chart.get_by_text("As a table").click()
    expect(chart.get_by_role("columnheader", name=f"{CAMERA}, fps")).to_be_visible()


def taken_by_check(device: Device, drawn: str) -> dict:
    """Have ``lookout check`` look at the device's file with what was drawn in the place of its zones."""
    file = device.folder / "drawn.yaml"
    rest = {name: value for name, value in device.config.items() if name != "zones"}
    file.write_text(yaml.safe_dump(rest) + drawn)
    done = device.run("check", "-c", str(file))
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(drawn)["zones"]


def test_a_zone_drawn_by_keys_gives_yaml_that_check_takes(page, device):
    open_view(page, "zones")
    page.get_by_label("Name").fill("no")  # what YAML takes for false, were it not quoted
    stage = page.get_by_role("application", name="Picture to draw on")
    stage.focus()
    for key, times in (
        ("Shift+ArrowLeft", 4),
        ("Enter", 1),
        ("Shift+ArrowRight", 8),
        ("Enter", 1),
        ("Shift+ArrowDown", 6),
        ("Enter", 1),
    ):
        for _ in range(times):
            stage.press(key)
    expect(page.locator("#points li")).to_have_count(3)
    stage.press("Delete")
    stage.press("Control+z")
    stage.press("PageDown")  # the first point
    stage.press("Alt+ArrowUp")
    stage.press("Escape")
    found = taken_by_check(device, page.input_value("#zone-yaml"))
    assert found == {"no": {"camera": CAMERA, "polygon": [[0.3, 0.498], [0.7, 0.5], [0.7, 0.8]]}}
    stage.press("Escape")
    expect(page.locator("#points li")).to_have_count(0)
    assert page.input_value("#zone-yaml") == ""


def test_a_zone_drawn_with_the_mouse_is_moved_and_its_faults_are_told(page, device):
    open_view(page, "zones")
    comes(page, lambda: page.evaluate("document.getElementById('stage-picture').naturalWidth"))
    expect(page.locator("#stage-drawing text.known")).to_have_text(["garden", "gate"])
    box = page.locator("#stage").bounding_box()

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    for spot in ((0.2, 0.2), (0.6, 0.2), (0.6, 0.6), (0.2, 0.6)):
        page.mouse.click(*at(*spot))
    page.mouse.move(*at(0.6, 0.6))
    page.mouse.down()
    page.mouse.move(*at(0.4, 0.1), steps=4)
    page.mouse.up()
    expect(page.locator("#zone-problem")).to_contain_text("crosses itself")
    assert page.input_value("#zone-yaml") == ""
    page.get_by_role("button", name="Undo").click()
    page.get_by_label("Report nothing that stands in it").check()
    (zone,) = taken_by_check(device, page.input_value("#zone-yaml")).values()
    assert zone["ignore"] is True
    assert zone["polygon"] == [
        pytest.approx(spot, abs=0.01) for spot in ([0.2, 0.2], [0.6, 0.2], [0.6, 0.6], [0.2, 0.6])
    ]


def test_a_line_says_which_way_is_in(page, device):
    open_view(page, "zones")
    page.get_by_role("radio", name="Line").check()
    stage = page.get_by_role("application")
    stage.press("Enter")
    for _ in range(10):
        stage.press("Shift+ArrowDown")
    stage.press("Enter")
    page.get_by_label("Labels that count").fill("person, red")
    (line,) = taken_by_check(device, page.input_value("#zone-yaml")).values()
    assert line == {"camera": CAMERA, "line": [[0.5, 0.5], [0.5, 1.0]], "labels": ["person", "red"]}
    ends = page.evaluate("import('/static/shape.js').then(({ inwards }) => inwards([[0.5, 0.5], [0.5, 1]], 4, 3))")
    assert ends == pytest.approx([-1, 0]), "down the picture, in is to the picture's left (docs/events.md)"
    page.get_by_role("button", name="Turn the line round").click()
    assert json.dumps([[0.5, 1], [0.5, 0.5]]) in page.input_value("#zone-yaml")


@pytest.mark.parametrize("width", [360, 1280])
def test_no_view_scrolls_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 740})
    for name in VIEWS:
        open_view(page, name)
        page.wait_for_load_state("networkidle") if name == "models" else page.wait_for_timeout(150)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_every_view_is_reached_by_keys_alone(page):
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.hash") == "#logs":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#view-logs")).to_be_visible()
    expect(page.get_by_role("link", name="Logs")).to_have_attribute("aria-current", "page")


def test_the_theme_is_chosen_and_kept(page):
    button = page.get_by_role("button", name="Theme")
    button.click()
    button.click()
    expect(button).to_have_text("Theme: dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_page_tells_that_the_device_is_gone_and_goes_on_when_it_is_back(page, device):
    moves(page)
    device.stop()
    expect(page.locator("#state")).to_have_text("no connection")
    expect(page.locator("#notices")).to_contain_text("has not answered since")
    device.start()
    expect(page.locator("#state")).to_contain_text("degraded")
    device.wait_serving(shelf.TINY)
    started = time.monotonic()
    moves(page)
    open_view(page, "logs")
    expect(page.locator("#lines")).to_contain_text("agent.started")
    assert time.monotonic() - started < 60
