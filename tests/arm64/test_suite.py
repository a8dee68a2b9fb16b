"""The tables of ``make test-arm64``: what they name is there, and what pytest says is read rightly."""

from __future__ import annotations

import re
from pathlib import Path

from tests.arm64.emulation import UNFIT
from tests.conftest import ROOT
from tools.arm64.cpus import CPUS
from tools.arm64.suite import PARTS, Outcome, read

REPORT = """<testsuites><testsuite>
<testcase classname="tests.a" name="one"/>
<testcase classname="tests.a" name="two"><failure message="no">why</failure></testcase>
<testcase classname="tests.a" name="three"><error message="no">why</error></testcase>
<testcase classname="tests.a" name="four"><skipped message="no limits here"/></testcase>
</testsuite></testsuites>"""


def test_every_test_that_a_table_names_is_there() -> None:
    named = {name for part in PARTS for name in (*part.tests, *part.smoke)} | set(UNFIT)
    for name in named:
        path, _, test = name.partition("::")
        assert (ROOT / path).exists(), name
        assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_the_short_run_imports_decodes_and_swaps() -> None:
    assert [part.name for part in PARTS if part.smoke] == ["start", "decoders", "swap"]


def test_a_board_says_four_times_what_its_processor_can_do() -> None:
    for cpu in CPUS.values():
        cores = re.findall(r"^Features\t: (.+)$", cpu.cpuinfo(), re.MULTILINE)
        assert cores == [" ".join(cpu.features)] * 4
        assert cpu.cpuinfo().count(f"CPU part\t: {cpu.part}") == 4
    assert "asimddp" in CPUS["a76"].features
    assert "asimddp" not in CPUS["a72"].features, "a Pi 4 has no dot-product instructions"


def test_what_pytest_wrote_is_counted_and_every_reason_kept(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    outcome = read("part", "a72", report, 1.0)
    assert (outcome.passed, outcome.failed) == (1, ("tests.a::two", "tests.a::three"))
    assert outcome.skipped == (("tests.a::four", "no limits here"),)
    assert not outcome.ok


def test_a_part_in_which_nothing_was_tested_is_no_success() -> None:
    assert not Outcome("part", "a72", 0, (), (("a", "why"),), 1.0).ok
    assert not Outcome("part", "a72", 3, (), (), 1.0, died="ended with status 4").ok
    assert Outcome("part", "a72", 3, (), (), 1.0).ok
