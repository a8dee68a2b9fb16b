"""axe-core looks at every view: light, dark, and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.integration.device import Device

from .conftest import address

VIEWS = ("live", "models", "charts", "logs", "config", "zones")
SIGHTS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}, "has_touch": True},
}
SHOWS = {
    "live": "#cameras article",
    "models": "#pipelines article",
    "charts": "#charts figure",
    "config": "#config table",
}


@pytest.fixture(scope="module")
def device(serve: Callable[..., Device]) -> Device:
    """A device whose page shows all that a page can."""
    return serve(allow_changes=True)


COLOURS = {"runOnly": ["color-contrast"]}
"""All in which dark differs from light."""


def faults(page: Page, rules: dict[str, Any] | None = None) -> list[str]:
    """Return what axe-core finds serious or critical."""
    found = Axe().run(page, options={"resultTypes": ["violations"], **(rules or {})}).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:160]} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(
    "sight", [pytest.param(sight, marks=[pytest.mark.faults] * (sight != "light")) for sight in SIGHTS]
)
def test_axe_finds_no_serious_fault_in_any_view(device, visit, sight):
    page = visit(address(device), **SIGHTS[sight])
    for name in VIEWS:
        page.locator(f"nav a[href='#{name}']").click()
        if name in SHOWS:
            expect(page.locator(SHOWS[name]).first).to_be_visible()
        if name == "zones":
            stage = page.get_by_role("application")
            for key in ("Enter", "Shift+ArrowRight", "Enter", "Shift+ArrowDown", "Enter"):
                stage.press(key)
            expect(page.locator("#points li")).to_have_count(3)
        assert faults(page, COLOURS if sight == "dark" else None) == [], f"{name} in {sight}"


def test_axe_finds_no_serious_fault_in_a_dialog_and_at_the_door(device, visit):
    page = visit(f"{address(device)}/#models")
    page.get_by_role("button", name="Deploy").click()
    assert faults(page) == []
    page.goto(f"{address(device)}/login")
    assert faults(page) == []
