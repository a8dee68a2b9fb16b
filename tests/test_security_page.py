"""docs/security.md names tests as proof: each of them exists."""

from __future__ import annotations

import re

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "security.md"
NAMED = re.compile(r"`(?P<file>[a-z_/]+\.py)?::(?P<test>test_\w+)`")


def test_every_proof_that_the_page_names_is_a_test():
    text, file, missing = PAGE.read_text(), "", []
    found = list(NAMED.finditer(text))
    for one in found:
        file = one["file"] or file
        path = ROOT / "tests" / file
        if not path.is_file() or f"def {one['test']}(" not in path.read_text():
            missing.append(f"{file}::{one['test']}")
    assert missing == []
    assert len(found) > 30


def test_every_file_it_leads_to_is_there():
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text())
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []
