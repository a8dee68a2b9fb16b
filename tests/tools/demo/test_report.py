from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agent.link.messages import Detections, Seen
from tools.demo import picture, report
from tools.demo.ledger import Ledger
from tools.demo.operator import Heard, Tape
from tools.demo.screen import RichScreen, Screen

FRAMES = [np.full((144, 176, 3), 128, np.uint8) for _ in range(120)]
FACE = Seen(None, 0, "face", 0.93, (58.0, 34.0, 107.0, 95.0))


def message(index: int, *, model: str = "faces:1.0.0", seen: tuple[Seen, ...] = (FACE,)) -> Detections:
    return Detections(
        camera="car",
        frame=index,
        index=index,
        at="2026-01-01T00:00:00.000Z",
        size=(176, 144),
        model=model,
        digest="0" * 64,
        config=None,
        latency_ms=9.5,
        detections=seen,
    )


def test_an_empty_ledger_is_no_success() -> None:
    assert not Ledger().all_kept


def test_one_broken_claim_is_enough() -> None:
    ledger = Ledger()
    ledger.claim("a", "seen", kept=True)
    assert ledger.all_kept
    ledger.claim("b", "not seen", kept=False)
    assert not ledger.all_kept


def test_the_report_holds_claims_figures_and_host(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.claim("a", "seen", kept=True)
    ledger.figures["recovery_s"] = 1.5
    path = report.write_report(tmp_path / "out", ledger, ok=True, seconds=42.123, error=None)
    content = json.loads(path.read_text())
    assert content["claims"] == [{"claimed": "a", "seen": "seen", "kept": True}]
    assert content["figures"] == {"recovery_s": 1.5}
    assert (content["ok"], content["seconds"]) == (True, 42.1)
    assert content["host"]["packages"]["numpy"]


def test_the_sheet_draws_boxes_on_the_frames_that_the_messages_name(tmp_path: Path) -> None:
    tape = Tape()
    for index in range(0, 120, 5):
        model = "faces:1.0.0" if index < 60 else "faces:1.1.0"
        tape.add(Heard(0.0, 0.0, "detections/car", message(index, model=model)))
    path = report.write_sheet(tmp_path / "out", tape, lambda wanted: {index: FRAMES[index] for index in wanted})
    assert path is not None
    sheet = cv2.imread(str(path))
    assert sheet is not None
    assert sheet.shape[1] == picture.MARGIN + picture.COLUMNS * (176 * picture.SCALE + picture.MARGIN)
    for colour in picture.COLOURS.values():
        assert (sheet == np.array(colour, np.uint8)).all(axis=2).any()


def test_without_detections_there_is_no_sheet(tmp_path: Path) -> None:
    assert report.write_sheet(tmp_path / "out", Tape(), lambda _: {}) is None


def test_a_box_is_drawn_where_the_message_says() -> None:
    drawn = picture.annotate(FRAMES[0], message(0), (0, 0, 255))
    assert tuple(drawn[190, 130]) == (0, 0, 255)
    assert tuple(drawn[100, 160]) == (128, 128, 128)


@given(st.lists(st.integers(0, 119), max_size=60), st.integers(1, 12))
def test_picked_frames_are_distinct_in_order_and_at_most_as_many_as_asked(indexes: list[int], count: int) -> None:
    picked = [one.index for one in picture.pick([message(index) for index in indexes], count)]
    assert picked == sorted(set(picked))
    assert len(picked) == min(count, len(set(indexes)))


def test_frames_without_detections_are_not_picked() -> None:
    assert picture.pick([message(3, seen=())], 5) == []


def shown(screen: Screen, out: io.StringIO) -> str:
    ledger = Ledger()
    ledger.claim("[markup] in a claim", "1 of 1", kept=True)
    ledger.claim("another", "nothing", kept=False)
    screen.stage("a stage")
    screen.say("[bold]not markup[/bold]")
    screen.verdict(kept=True, claimed="[x]", seen="[y]")
    screen.live("[z] live")
    report.show_claims(screen, ledger)
    screen.log_tail("agent", ["[dim]a line"])
    screen.close()
    return out.getvalue()


def test_plain_lines_have_no_control_characters_and_keep_brackets() -> None:
    out = io.StringIO()
    text = shown(Screen(Console(file=out)), out)
    assert "\x1b" not in text
    for part in ("a stage", "[bold]not markup[/bold]", "[x]: [y]", "[markup] in a claim", "BROKEN", "[dim]a line"):
        assert part in text


def test_rich_lines_keep_brackets_too() -> None:
    out = io.StringIO()
    text = shown(RichScreen(Console(file=out, force_terminal=True, width=120)), out)
    assert "\x1b" in text
    for part in ("[bold]not markup[/bold]", "[x]", "[markup] in a claim", "BROKEN", "[dim]a line"):
        assert part in text
