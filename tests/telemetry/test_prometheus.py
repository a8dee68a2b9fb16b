"""What Prometheus scrapes can be parsed, is named as Prometheus wants it, and has every row."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from agent.link.discovery import Facts, announcement
from agent.settings import host_rows, pipeline_rows
from agent.telemetry.histogram import Histogram
from agent.telemetry.host import host_probes
from agent.telemetry.look import Look
from agent.telemetry.medium import Medium
from agent.telemetry.message import Windows, build
from agent.telemetry.names import BASES, metric_name
from agent.telemetry.probes import Probe, Probes
from agent.telemetry.processes import Processes
from agent.telemetry.prometheus import CONTENT_TYPE, MODEL_METRIC, STAGE_METRIC, render
from agent.telemetry.rows import SCOPES, GovernorRow, LinkRow, ProcessRow, QueueRow, columns
from agent.telemetry.writing import Writing
from tests.telemetry.hosts import HOSTS, ORIN, make
from tests.telemetry.looking import look, statistics, worker


def page(seen: Look, rows: tuple[Probe, ...] = ()) -> dict[str, Metric]:
    text = render(seen, [row.column for row in rows], device="gate-7", version="0.9.0").decode()
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """Return the one sample of this name that has these labels."""
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


class Busy(Processes):
    """Processes whose time has been measured."""

    def own(self) -> ProcessRow:
        return ProcessRow(55.5, 2.5)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Metric]:
    """A page of a host that has all there is, with two pipelines."""
    root = tmp_path_factory.mktemp("host")
    for host in (ORIN, *HOSTS.values()):  # a Jetson, and what the others have besides
        for name, said in host.files.items():
            if not (root / name).exists() and not (root / name).is_symlink():
                make(type(host)({name: said}, host.device), root)
    run = Histogram()
    for number in range(1, 1001):
        run.add(number / 10)
    processes = Busy()
    writing = Writing(processes, Medium(root, sys=root / "sys", device=ORIN.device))
    probes = Probes(host_probes(root, writing=writing, processes=processes, sys=root / "sys", proc=root / "proc"))
    seen = look(
        statistics(run), statistics(Histogram(), pipeline="other"),
        host=probes.read(), link=LinkRow(connected=1, sent=5, dropped=2), queues=QueueRow(outbox=3),
        processes={"agent": ProcessRow(55.5, 2.5), "worker-1": ProcessRow(97.0, None)}, workers=(worker(),),
        governor=GovernorRow(2, "hot", 5.0),
    )  # fmt: skip
    return page(seen, probes.rows)


def test_names_units_and_help_are_as_prometheus_wants_them(everything):
    for family in everything.values():
        assert re.fullmatch(r"lookout_[a-z][a-z0-9_]*", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(ms|mb|kb|percent|milliseconds|megabytes|total|count|sum|bucket)$", family.name)
        for sample in family.samples:
            assert sample.labels["device"] == "gate-7"
            assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in sample.labels)
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name


def test_values_are_in_base_units(everything):
    assert value(everything, "lookout_temperature_celsius") == 52.34
    assert value(everything, "lookout_disk_life_used_ratio") == 0.3
    assert value(everything, "lookout_memory_available_bytes") == 6_144_000_000
    assert value(everything, "lookout_network_received_bytes_total") > 0
    assert value(everything, "lookout_process_memory_bytes", process="worker-1") == 97_000_000
    assert value(everything, "lookout_process_cpu_ratio", process="agent") == 0.025
    assert value(everything, "lookout_uptime_seconds") == 3.1
    assert value(everything, "lookout_camera_frames_per_second", camera="front") == 9.99
    assert value(everything, "lookout_pipeline_skipped_frames_total", pipeline="main") == 2
    assert value(everything, "lookout_model_memory_bytes", model="yolox:1.0.0") == 97_000_000
    assert value(everything, "lookout_queue_outbox_messages") == 3
    assert value(everything, "lookout_link_connected") == 1
    assert value(everything, "lookout_governor_max_frames_per_second") == 5
    assert value(everything, "lookout_camera_health", camera="front", health="streaming") == 1
    assert value(everything, "lookout_build_info", version="0.9.0") == 1


def test_histograms_are_cumulative_and_agree_with_their_samples(everything):
    family = everything[STAGE_METRIC]
    mine = [s for s in family.samples if s.labels.get("pipeline") == "main" and s.labels.get("stage") == "run"]
    buckets = [(float(s.labels["le"]), s.value) for s in mine if s.name.endswith("_bucket")]
    assert family.type == "histogram"
    assert buckets == sorted(buckets)
    assert [count for _, count in buckets] == sorted(count for _, count in buckets)
    assert buckets[-1] == (float("inf"), 1000)
    assert value(everything, f"{STAGE_METRIC}_count", pipeline="main", stage="run") == 1000
    assert value(everything, f"{STAGE_METRIC}_sum", pipeline="main", stage="run") == pytest.approx(50.05)
    for bound, count in buckets[:-1]:
        assert count == pytest.approx(min(1000, bound * 10_000), abs=1.01)
    assert value(everything, f"{MODEL_METRIC}_count", pipeline="main", model="yolox:1.0.0") == 1000


@given(st.lists(st.floats(0, 700_000), max_size=50))
def test_every_bound_of_a_histogram_counts_exactly(samples):
    histogram = Histogram()
    for sample in samples:
        histogram.add(sample)
    for bound, count in histogram.snapshot().cumulative():
        assert count == sum(sample <= bound for sample in samples)


def test_every_row_is_a_metric_and_every_name_its_own(everything, tmp_path):
    names = [metric_name(scope, column) for scope, struct in SCOPES.items() for column in columns(struct)
             if column.kind != "window"]  # fmt: skip
    names += [metric_name("", row.column) for row in host_probes(tmp_path)]
    assert len(set(names)) == len(names)
    told = {sample.name for family in everything.values() for sample in family.samples}
    assert set(names) - told == {"lookout_written_per_day_bytes", "lookout_disk_written_per_day_bytes"}, (
        "which take ten minutes"
    )


def test_a_row_that_is_added_is_in_the_message_in_prometheus_and_in_home_assistant():
    row = Probe("moons", "", lambda: 2.0, "moons that are up", name="moons", shown=True)
    probes = Probes([row])
    seen = look(host=probes.read())
    assert build(seen, Windows()).host == {"moons": 2.0}
    assert value(page(seen, probes.rows), "lookout_moons") == 2.0
    facts = Facts("gate-7", "lookout/gate-7/", "pi", "1", rows=host_rows(probes.had()))
    assert announcement(facts).cmps["host.moons"].val_tpl == "{{ value_json.host.moons }}"


def test_the_shown_rows_of_a_pipeline_are_in_home_assistant():
    facts = Facts("gate-7", "lookout/gate-7/", "pi", "1", pipelines=("main",), pipeline_rows=pipeline_rows())
    found = announcement(facts).cmps
    assert found["pipeline.main.fps"].val_tpl == "{{ value_json.loop.get('main', {}).get('fps') }}"
    assert found["pipeline.main.latency_p95_ms"].unit_of_meas == "ms"
    assert "pipeline.main.in_flight" not in found


def test_keys_end_in_their_unit(tmp_path):
    rows = [row.column for row in host_probes(tmp_path)]
    rows += [column for struct in SCOPES.values() for column in columns(struct)]
    for column in rows:
        assert column.unit not in BASES or column.key.endswith(BASES[column.unit].ending), column.key
        assert column.description


def test_names_with_quotes_and_a_page_without_a_pipeline_can_be_parsed():
    text = render(look(), [], device='a"b\\c\nd', version="1").decode()
    families = list(text_string_to_metric_families(text))
    assert families[0].samples[0].labels["device"] == 'a"b\\c\nd'
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_the_librarys_own_registry_is_left_alone():
    before = {metric.name for metric in REGISTRY.collect()}
    page(look(statistics(Histogram())))
    assert {metric.name for metric in REGISTRY.collect()} == before


def test_an_agent_that_serves_no_metrics_does_not_load_the_library():
    code = "import sys, agent.app; sys.exit('prometheus_client' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
