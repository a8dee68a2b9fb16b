"""Fixtures: a real registry and a device's state for each test. Loaded by tests/conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.registry import Shop
from tools.registry.serve import RegistryServer


@pytest.fixture(scope="session")
def shop_template(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The shop that each test gets a copy of."""
    made = Shop(tmp_path_factory.mktemp("shop_template"))
    made.provision()
    return made


@pytest.fixture
def shop(shop_template: Shop, tmp_path: Path) -> Shop:
    """A provisioned device and an empty registry."""
    return Shop.copied(shop_template, tmp_path)


@pytest.fixture
def served(shop: Shop) -> Iterator[str]:
    """The registry's URL over real HTTP."""
    with RegistryServer(shop.registry) as server:
        yield server.url
