"""Makes the pictures of docs/page.md: a real device, a real model, a drawn car park, and the page in a real browser.

``python -m tests.browser.pictures`` writes docs/pictures/page-*.png.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from agent.types import DecoderSpec, InputSpec
from tests.browser import scene
from tests.browser.conftest import CHROMIUM, PATIENCE_MS, address
from tests.conftest import ROOT, free_port
from tests.fakes.models import fragment, tiny_spec
from tests.fakes.registry import Shop
from tests.integration.conftest import World
from tests.integration.device import CALM, Device
from tools.registry.serve import RegistryServer

PICTURES = ROOT / "docs/pictures"
DEVICE, MODEL = "depot-7", "yard-vehicles"
MOST_BYTES = 200_000
CHARTS_S = 150.0
"""How long the device runs before its charts are worth a picture."""

DESK: dict[str, Any] = {"viewport": {"width": 1240, "height": 740}, "color_scheme": "light"}
NIGHT: dict[str, Any] = {**DESK, "color_scheme": "dark"}
PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "color_scheme": "dark",
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}


def main() -> None:
    """Make all of them."""
    with tempfile.TemporaryDirectory(prefix="w") as folder, ExitStack() as stack:
        device = _device(Path(folder), stack)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        stack.callback(browser.close)
        began = time.monotonic()
        _live(_visit(browser, device, "live", DESK), "live")
        _live(_visit(browser, device, "live", PHONE), "phone")
        _zones(_visit(browser, device, "zones", DESK))
        time.sleep(max(0.0, CHARTS_S - (time.monotonic() - began)))
        _models(_visit(browser, device, "models", NIGHT))
        _charts(_visit(browser, device, "charts", DESK))


def _device(folder: Path, stack: ExitStack) -> Device:
    shop = Shop(folder / "shop")
    spec = tiny_spec(
        input=InputSpec(name="images", shape=(1, 3, scene.HEIGHT // 2, scene.WIDTH // 2)),
        decoder=DecoderSpec(kind="yolo_end2end", params={}),
        num_classes=len(scene.LABELS),
    )
    put = partial(
        shop.publish, model=MODEL, labels=list(scene.LABELS), golden=False, write=scene.model, **fragment(spec)
    )
    for version in ("1.1.0", "1.2.0"):
        put(version)
    server = stack.enter_context(RegistryServer(shop.registry))
    world = World(folder, server, shop.made.root, stack)
    device = world.device(start=False, provisioned=False)
    device.config |= _config(folder, server.url)
    device.provision(shop.made.root)
    device.start()
    device.wait_status(lambda seen: seen.pipelines[0].deployment == "committed", 60)
    return device


def _config(folder: Path, registry: str) -> dict[str, Any]:
    def camera(name: str, shift: int) -> dict[str, Any]:
        file = scene.clip(folder / f"{name}.avi", shift=shift)
        return {"source": {"kind": "file", "path": str(file), "loop": True}}

    return {
        "device": {"id": DEVICE},
        "cameras": {"gate": camera("gate", 0), "ramp": camera("ramp", 430)},
        "pipelines": {"yard": {"cameras": ["gate", "ramp"], "model": f"{MODEL}:1.1.0"}},
        "zones": {
            "loading": {"camera": "gate", "polygon": [[0.04, 0.48], [0.36, 0.48], [0.36, 0.88], [0.04, 0.88]]},
            "exit": {"camera": "gate", "line": [[0.86, 0.24], [0.86, 0.88]]},
        },
        "registry": {"url": registry, "trust_clock": True, "poll_s": 0},
        "deploy": CALM,
        "web": {"enabled": True, "port": free_port(), "allow_changes": True},
    }


def _visit(browser: Browser, device: Device, view: str, sight: dict[str, Any]) -> Page:
    page = browser.new_context(**sight).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{address(device)}/#{view}")
    expect(page.locator("#device")).to_have_text(DEVICE)
    return page


def _keep(page: Page, name: str) -> None:
    """Write what is seen, with fewer shades where it would take too much room."""
    file = PICTURES / f"page-{name}.png"
    page.screenshot(path=file)
    seen = Image.open(file).convert("RGB")
    for dropped in range(5):
        mask = 256 - 2**dropped
        seen.point(lambda shade, mask=mask: shade & mask | (shade >> 7) * (255 - mask)).save(file, optimize=True)
        if file.stat().st_size < MOST_BYTES:
            break
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} KB")
    page.context.close()


def _live(page: Page, name: str) -> None:
    expect(page.get_by_role("article", name="Camera gate")).to_have_attribute("data-stream", "live")
    if name == "live":
        page.set_viewport_size({"width": 1240, "height": 620})
    page.wait_for_timeout(4000)
    _keep(page, name)


def _zones(page: Page) -> None:
    page.wait_for_timeout(2000)
    page.get_by_label("Name").fill("parking")
    box = page.locator("#stage").bounding_box()
    assert box is not None
    for x, y in ((0.45, 0.3), (0.8, 0.33), (0.82, 0.72), (0.48, 0.78)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.get_by_role("application").press("PageUp")
    _keep(page, "zones")


def _models(page: Page) -> None:
    page.get_by_role("button", name="Deploy").click()
    page.get_by_label("Release", exact=True).fill(f"{MODEL}:1.2.0")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".slots")).to_contain_text("1.2.0")
    expect(page.locator("#pipelines .head .state")).to_have_text("committed")
    page.wait_for_timeout(1000)
    _keep(page, "models")


def _charts(page: Page) -> None:
    plot = page.get_by_role("figure").first.get_by_role("slider")
    plot.focus()
    for _ in range(4):
        plot.press("ArrowLeft")
    _keep(page, "charts")


if __name__ == "__main__":
    main()
