"""The page is written from the records alone, between its marks, and hides nothing."""

from __future__ import annotations

import msgspec
import pytest

from agent.errors import InputError
from tools.bench import performance, record, words
from tools.bench.case import Bench, CannotRun, Case, Figure, Outcome, TextTable, Wanted
from tools.bench.host import VNNI, Host, describe
from tools.bench.registry import MODULES, load_all
from tools.bench.running import run, run_all

HOST = Host(
    "box", "x86_64", "Some CPU", 2, 8000, ("AVX2",), None, "6.1", True, {"python": "3.11", "onnxruntime": "1.32.0"}
)


class Settings(msgspec.Struct, frozen=True):
    """One option."""

    rounds: int = 3


def made(name="swap", *figures, host=HOST, **more):
    return record.Record(
        schema=1,
        case=name,
        title=f"About {name}",
        at="2026-11-29T00:00:00.000Z",
        took_s=12.0,
        quick=False,
        host=host,
        load=0.1,
        others_cores=more.pop("others_cores", 0.02),
        settings=Settings(),
        figures=figures,
        **more,
    )


def page(tmp_path, text=f"before\n{performance.BEGIN}\nold\n{performance.END}\nafter\n"):
    path = tmp_path / "performance.md"
    path.write_text(text)
    return path


def test_only_what_stands_between_the_marks_is_replaced(tmp_path):
    path = page(tmp_path)
    performance.write(path, [made("swap", Figure("gap", 1.5, "ms"))], tmp_path)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| gap | 1.50 ms |" in text
    performance.write(path, [made("swap", Figure("gap", 2.5, "ms"))], tmp_path)
    assert "1.50" not in path.read_text()


@pytest.mark.parametrize("text", ["", "no marks", performance.BEGIN])
def test_a_page_without_marks_is_refused_and_left_alone(tmp_path, text):
    path = page(tmp_path, text)
    with pytest.raises(InputError, match="no marks"):
        performance.write(path, [made()], tmp_path)
    assert path.read_text() == text


def test_no_records_are_refused(tmp_path):
    with pytest.raises(InputError, match="run lookout bench all first"):
        performance.write(page(tmp_path), [], tmp_path)


def test_the_page_names_the_host_its_load_and_all_versions():
    text = performance.render(
        [made("swap"), made("mqtt", host=msgspec.structs.replace(HOST, versions={"ncnn": "1.0"}))]
    )
    for said in (
        "Some CPU",
        "2 cores",
        "AVX2",
        f"no {VNNI}",
        "the kernel tells none",
        "ncnn 1.0",
        "onnxruntime 1.32.0",
    ):
        assert said in text
    assert "2026-11-29" in text


def test_a_busy_machine_a_missed_bound_and_a_case_that_could_not_run_are_told():
    missed = Figure("slow thing", 2.0, "ms", wanted=Wanted(1.0, "at_most"))
    text = performance.render([
        made("swap", missed, others_cores=0.7),
        made("mqtt", lacking="mosquitto is absent: apt-get install mosquitto"),
        made("still", failed="TimeoutError: waited 60 s"),
    ])  # fmt: skip
    assert "**missed**: slow thing: 2.00 ms, wanted ≤ 1.00 ms" in text
    assert "MISSED" in text
    assert "too much" in text
    assert "Not measured: mosquitto is absent" in text
    assert "Not measured: TimeoutError" in text


def test_a_bound_for_other_processors_is_no_promise_here():
    figure = Figure("int8", 0.8, "x", wanted=Wanted(0.92, "at_least", where=VNNI))
    here, there = made("peers", figure), made("peers", figure, host=msgspec.structs.replace(HOST, features=(VNNI,)))
    assert not here.missed
    assert words.verdict(here, figure) == "missed; not promised for this processor"
    assert there.missed == (figure,)
    assert "Of 1 bounds 0 were kept and 0 missed; 1 more" in performance.render([here])


def test_a_bar_in_a_cell_does_not_break_the_table():
    table = TextTable("a table", ("one", "two"), (("x|y", "1"),))
    assert "| x\\|y | 1 |" in performance.render([made("peers", tables=(table,))])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.25, "ms", "0.250 ms"), (6.54, "ms", "6.54 ms"), (12.34, "ms", "12.3 ms"), (0.953, "x", "0.953 x"),
     (1.234, "x", "1.23 x"), (151.26, "fps", "151.3 fps"), (245.4, "MB", "245 MB"), (7.26, "%", "7.3 %"), (3, "", "3")],
)  # fmt: skip
def test_a_value_has_as_many_digits_as_mean_something(value, unit, text):
    assert words.quantity(value, unit) == text


def test_one_round_has_no_spread():
    assert words.spread([1.0], "ms") == ""
    assert words.spread([2.0, 1.0], "ms") == "1.00 to 2.00"


def case(name, run_, **more):
    return Case(name=name, title=name, help=name, settings=Settings(), quick=Settings(rounds=1), run=run_, **more)


def test_a_case_that_cannot_run_or_breaks_off_does_not_stop_the_others(tmp_path):
    def cannot(*_):
        raise CannotRun("mosquitto is absent")

    def breaks(*_):
        raise TimeoutError("waited 60 s")

    cases = [case("one", cannot), case("two", breaks), case("three", lambda *_: Outcome((Figure("x", 1.0),), None))]
    told = []
    bench = Bench(tmp_path, tmp_path / "out", lambda _: None)
    found = run_all(cases, lambda *_: bench, quick=True, done=told.append)
    assert (found[0].lacking, found[1].failed) == ("mosquitto is absent", "TimeoutError: waited 60 s")
    assert [one.case for one in told] == ["one", "two", "three"]
    assert all(one.quick for one in found)
    kept = record.read_all(tmp_path / "out", ["three", "one"])
    assert [one.case for one in kept] == ["three", "one"]
    assert msgspec.convert(kept[0].settings, Settings) == Settings(rounds=1)


def test_what_a_case_needs_is_looked_for_before_it_starts(tmp_path):
    bench = Bench(tmp_path, tmp_path / "out", lambda _: None)
    with pytest.raises(InputError, match=r"plaza\.avi is absent"):
        run(case("one", lambda *_: pytest.fail("it ran"), needs=("plaza.avi",)), bench, Settings())


@pytest.mark.parametrize("text", ["{", '{"case": "x"}'])
def test_a_file_that_is_no_record_is_named(tmp_path, text):
    (tmp_path / "swap.json").write_text(text)
    with pytest.raises(InputError, match=r"swap\.json: is no report"):
        record.read_all(tmp_path, ["swap"])


def test_every_case_of_the_table_is_whole():
    for one in load_all():
        assert MODULES[one.name]
        assert type(one.quick) in (type(one.settings), type(None))


def test_this_host_is_described():
    host = describe({"ncnn": "1"})
    assert host.cores >= 1
    assert host.versions["ncnn"] == "1"
    assert {"python", "onnxruntime", "numpy"} <= host.versions.keys()
