"""The page of a device with a token, from which it may be changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.integration import shelf
from tests.integration.device import PIPELINE, Device

from .conftest import HOSTILE, address

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def device(serve: Callable[..., Device]) -> Device:
    """A device whose page wants a token and may change things."""
    return serve(token=TOKEN, allow_changes=True)


@pytest.fixture
def page(device: Device, visit: Callable[..., Page]) -> Page:
    """Its page, after the door."""
    opened = visit(address(device))
    opened.get_by_label("Token").fill(TOKEN)
    opened.get_by_role("button", name="Log in").click()
    expect(opened.locator("#device")).to_have_text(device.name)
    return opened


def turn_to(page: Page, name: str) -> None:
    page.locator(f"nav a[href='#{name}']").click()


def panel(page: Page):
    return page.get_by_role("article", name=f"Pipeline {PIPELINE}")


def deploy(page: Page, reference: str) -> None:
    panel(page).get_by_role("button", name="Deploy").click()
    page.get_by_label("Release", exact=True).fill(reference)
    page.keyboard.press("Enter")


def test_nobody_comes_in_without_the_token(visit, device):
    page = visit(f"{address(device)}/#models")
    expect(page.get_by_role("heading", name="Lookout")).to_be_visible()
    assert page.request.get(f"{address(device)}/api/status").status == 401
    page.get_by_label("Token").fill("a-token-of-another")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("that is not the token of this device")
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(panel(page)).to_contain_text(shelf.TINY)
    turn_to(page, "config")
    expect(page.locator("#config")).to_contain_text("web.token")
    assert TOKEN not in page.content()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert page.request.get(f"{address(device)}/api/status").status == 401


def test_a_model_is_deployed_and_rolled_back_and_the_log_tells_it_as_it_comes(page):
    turn_to(page, "models")
    deploy(page, shelf.NEWER)
    expect(page.locator("#dialog-answer")).to_have_text(f"{shelf.NEWER} is under way.")
    page.get_by_role("button", name="Close").click()
    expect(panel(page).locator(".slots")).to_contain_text(shelf.NEWER)
    expect(panel(page).locator(".head")).to_contain_text("committed")
    expect(panel(page).locator(".swap")).to_contain_text("Swap gap")
    turn_to(page, "logs")
    expect(page.locator("#lines")).to_contain_text("deploy.committed")
    page.get_by_label("Holds").fill("roll")
    expect(page.locator("#lines")).not_to_contain_text("deploy.committed")

    turn_to(page, "models")
    panel(page).get_by_role("button", name="Roll back").click()
    expect(page.locator("#dialog-body")).to_have_text(f"From {shelf.NEWER} to {shelf.TINY}.")
    page.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.locator("#dialog-answer")).to_contain_text("is under way")
    page.get_by_role("button", name="Close").click()
    expect(panel(page).locator(".head")).to_contain_text("rolled back")
    expect(panel(page).locator(".slots")).to_contain_text(f"Current{shelf.TINY}")
    turn_to(page, "logs")
    expect(page.locator("#lines")).to_contain_text("roll")


def test_the_log_follows_is_filtered_and_stands_still_while_it_is_paused(page):
    turn_to(page, "logs")
    lines = page.locator("#lines")
    expect(lines).to_contain_text("agent.started")
    page.get_by_label("From level").select_option("warning")
    expect(lines).not_to_contain_text("agent.started")
    expect(lines).to_contain_text("capture.retry")
    page.get_by_label("Part").fill("web")
    expect(lines).not_to_contain_text("capture.retry")

    def try_a_wrong_token() -> None:
        page.request.get(f"{page.url.split('#')[0]}api/status", headers={"Authorization": "Bearer wrong", "Cookie": ""})

    before = lines.locator("p").count()
    try_a_wrong_token()
    expect(lines.locator("p")).to_have_count(before + 1)
    page.get_by_role("button", name="Following").click()
    try_a_wrong_token()
    page.wait_for_timeout(500)
    expect(lines.locator("p")).to_have_count(before + 1)
    page.get_by_role("button", name="Paused").click()
    expect(lines.locator("p")).to_have_count(before + 2)
    page.get_by_label("Part").fill("nobody")
    expect(lines).to_contain_text("nothing of the agent is called 'nobody'")


def test_a_refusal_is_read_in_the_devices_own_words(page):
    turn_to(page, "models")
    deploy(page, HOSTILE)
    expect(page.locator("#dialog-answer")).to_contain_text("<img src=x")
    assert page.evaluate("window.hit") is None
    page.keyboard.press("Escape")
    turn_to(page, "config")
    page.get_by_role("button", name="Change report.detections_hz").click()
    page.get_by_label("report.detections_hz", exact=True).fill("-1")
    page.keyboard.press("Enter")
    expect(page.locator("#dialog-answer")).to_contain_text("report.detections_hz")


def test_a_key_is_changed_after_a_look_at_what_that_changes(page):
    turn_to(page, "config")
    page.get_by_role("button", name="Change report.detections_hz").click()
    page.get_by_label("report.detections_hz", exact=True).fill("7")
    page.keyboard.press("Enter")
    expect(page.locator("#dialog-answer")).to_contain_text("It would change")
    page.get_by_role("button", name="Put into force").click()
    expect(page.locator("#dialog-answer")).to_contain_text("is in force")
    page.get_by_role("button", name="Close").click()
    row = page.get_by_role("row").filter(has_text="report.detections_hz")
    expect(row).to_contain_text("from afar")
    expect(row.locator(".value code")).to_have_text("7")
    row.get_by_role("button").click()
    page.get_by_label("Give the file's value back").check()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Put into force").click()
    expect(page.locator("#dialog-answer")).to_contain_text("is in force")
    page.get_by_role("button", name="Close").click()
    expect(row.locator(".source")).to_have_text("file")


def test_a_zone_is_put_into_force_and_seen_to_prove_itself(page):
    turn_to(page, "zones")
    page.get_by_label("Name").fill("steps")
    stage = page.get_by_role("application")
    for key in ("Enter", "Shift+ArrowRight", "Enter", "Shift+ArrowDown", "Enter"):
        stage.press(key)
    page.get_by_role("button", name="Put into force").click()
    page.get_by_role("button", name="Look at what it changes").click()
    expect(page.locator("#dialog-answer")).to_contain_text("zones.steps")
    page.locator("#dialog-go").click()
    expect(page.locator("#dialog-answer")).to_contain_text("Revision")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#stage-drawing text.known").filter(has_text="steps")).to_be_attached()
