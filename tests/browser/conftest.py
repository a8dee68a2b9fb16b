"""A real device that serves its page, and Debian's Chromium that looks at it: one of each for a module."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import free_port
from tests.integration import shelf
from tests.integration.conftest import World, registry, shared_world, shop
from tests.integration.device import CALM, CAMERA, PIPELINE, Device

__all__ = ["registry", "shared_world", "shop"]

CHROMIUM = shutil.which("chromium")
HOSTILE = "<img src=x onerror=window.hit=1><script>window.hit=1</script>"
"""What a page must show and never run; a camera's file is called so."""

PATIENCE_MS = 40_000
"""Whatever is waited for comes in a fraction of it; a busy machine may need more."""

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")  # its driver is a child of this process, and other tests count those
def chromium() -> Iterator[Browser]:
    """The browser; a test that needs it is skipped where it is absent."""
    if CHROMIUM is None:
        pytest.skip("Chromium is absent: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def serve(shared_world: World) -> Callable[..., Device]:
    """Start a device with a moving camera, one whose file has a hostile name, and a page with these settings."""

    def start(**web: Any) -> Device:
        device = shared_world.device(
            start=False,
            provisioned=False,
            pipelines={PIPELINE: {"cameras": [CAMERA, "cellar"], "model": shelf.TINY}},
            zones={
                "garden": {"camera": CAMERA, "polygon": [[0.1, 0.5], [0.5, 0.5], [0.4, 0.9]]},
                "gate": {"camera": CAMERA, "line": [[0.7, 0.2], [0.7, 0.8]]},
            },
            deploy={**CALM, "safe_mode_after": 0},
            logs={"fold_s": 0},
            web={"enabled": True, "port": free_port(), **web},
        )
        device.config["cameras"] = {
            CAMERA: {"source": {"kind": "pattern", "width": 320, "height": 240, "fps": 15}},
            "cellar": {"source": {"kind": "file", "path": f"{HOSTILE}.mp4"}},
        }
        device.provision(shared_world.root)
        device.start()
        device.wait_status(lambda seen: seen.pipelines[0].deployment == "committed", 40)
        return device

    return start


def address(device: Device) -> str:
    """Where the page of a device is."""
    return f"http://127.0.0.1:{device.config['web']['port']}"


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page in a browser of its own; what it complains of fails the test."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def go(url: str, **settings: Any) -> Page:
            context: BrowserContext = chromium.new_context(**settings)
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if _is_fault(said.text) else None)
            page.goto(url)
            return page

        yield go
    assert complaints == []


def _is_fault(text: str) -> bool:
    """Tell whether the browser found something wrong with the page itself."""
    return any(word in text for word in ("Content Security Policy", "Uncaught", "TypeError", "SyntaxError"))
