from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import ManifestError
from agent.process.messages import MAX_BYTES, Load
from agent.registry.manifest import (
    MAX_MANIFEST_BYTES,
    dump_manifest,
    load_manifest,
    manifest_json_schema,
    release_digest,
)
from agent.types import Digest, RunOptions
from tests.depth import examples

DIGEST = Digest("d" * 64)

# DESIGN's own example.
EXAMPLE: dict[str, Any] = {
    "schema": 1,
    "model": "yolox-nano",
    "version": "1.2.0",
    "task": "detect",
    "description": "one line",
    "license": "Apache-2.0",
    "variants": [
        {
            "providers": ["CPUExecutionProvider"],
            "precision": "int8",
            "file": {"path": "yolox-nano.int8.onnx", "sha256": "a" * 64, "size": 1234567},
            "input": {"dtype": "uint8"},
        },
        {
            "providers": ["CUDAExecutionProvider"],
            "precision": "fp16",
            "file": {"path": "gpu/yolox-nano.onnx", "sha256": "b" * 64, "size": 7654321},
            "input": {"shape": [1, 416, 416, 3], "layout": "NHWC"},
            "decoder": {"strides": [8, 16]},
        },
    ],
    "input": {
        "name": "images", "shape": [1, 3, 416, 416], "dtype": "float32", "layout": "NCHW", "color": "BGR",
        "resize": "letterbox", "anchor": "top-left", "pad": 114, "scale": 1.0, "mean": [0, 0, 0], "std": [1, 1, 1],
    },
    "decoder": {"kind": "yolox", "strides": [8, 16, 32]},
    "labels": ["person", "bicycle"],
    "thresholds": {"score": 0.35, "nms_iou": 0.5, "max_detections": 100},
    "golden": [
        {
            "image": {"path": "golden/1.jpg", "sha256": "c" * 64, "size": 99},
            "detections": [{"label": "person", "score": 0.91, "box": [1.5, 2, 30, 40]}],
        }
    ],
    "golden_tolerance": {"iou": 0.8, "score": 0.1, "min_matched": 0.9},
    "budget": {"default": {"latency_ms_p95": 150, "memory_mb": 400}, "raspberry-pi-5": {"latency_ms_p95": 60}},
    "quantization": {"method": "static", "calibration": {"images": 64, "sha256": "e" * 64}, "kept_float": ["Conv_41"]},
    "metrics": {
        "dataset": "coco128", "images": 64, "map_50_95": {"fp32": 0.31, "int8": 0.305}, "agreement": 0.88,
        "latency_ratio": 0.46, "host": "x86",
    },
    "requires": {"agent": ">=0.1", "memory_mb": 256},
}  # fmt: skip


def encoded(fields: Any) -> bytes:
    return json.dumps(fields).encode()


def changed(path: str, value: Any) -> dict[str, Any]:
    """The example with the value at a dotted path replaced; ``...`` removes it."""
    fields = copy.deepcopy(EXAMPLE)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place: Any = fields
    for step in steps:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return fields


def problems(fields: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        load_manifest(encoded(fields))
    return caught.value.message


def test_the_example_of_the_design_is_valid_and_reads_back() -> None:
    manifest = load_manifest(encoded(EXAMPLE))
    assert load_manifest(dump_manifest(manifest)) == manifest
    assert [entry.path for entry in manifest.files] == ["yolox-nano.int8.onnx", "gpu/yolox-nano.onnx", "golden/1.jpg"]
    assert manifest.total_bytes == 1234567 + 7654321 + 99
    budget = manifest.budget_for("raspberry-pi-5")
    assert budget is not None
    assert budget.latency_ms_p95 == 60
    default = manifest.budget_for("toaster")
    assert default == manifest.budget_for(None)
    assert default is not None
    assert default.memory_mb == 400


def test_a_variant_overrides_parts_of_input_and_decoder() -> None:
    manifest = load_manifest(encoded(EXAMPLE))
    first, second = manifest.spec(0, DIGEST), manifest.spec(1, DIGEST)
    assert first.release.digest == DIGEST
    assert (first.input.dtype, first.input.layout, first.decoder.params) == ("uint8", "NCHW", {"strides": [8, 16, 32]})
    assert (second.input.dtype, second.input.layout) == ("float32", "NHWC")
    assert (second.input.width, second.input.height) == (416, 416)
    assert second.decoder.params == {"strides": [8, 16]}
    assert (first.num_classes, first.nms_iou, first.max_detections) == (2, 0.5, 100)


def test_another_kind_of_decoder_starts_from_no_parameters() -> None:
    manifest = load_manifest(encoded(changed("variants.1.decoder", {"kind": "plain", "normalised": True})))
    decoder = manifest.spec(1, DIGEST).decoder
    assert (decoder.kind, decoder.params) == ("plain", {"normalised": True})


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("schema", 2, "schema: input should be 1, got 2"),
        ("schema", ..., "schema: is missing"),
        ("modle", "x", "modle: unknown key; did you mean 'model'?"),
        ("variants.0.file.sise", 1, "variants.0.file.sise: unknown key; did you mean 'size'?"),
        ("budget.default.latency_ms_p59", 1, "did you mean 'latency_ms_p95'?"),
        ("variants.0.input.dtyp", "uint8", "did you mean 'dtype'?"),
        ("golden.0.detections.0.lable", "x", "did you mean 'label'?"),
        ("model", "Yolox", "model: string should match pattern"),
        ("version", "1.2", "version: must be a semantic version like 1.2.0, got '1.2'"),
        ("version", "1.0.0\n", "version: must be a semantic version"),
        ("task", "segment", "task: input should be 'detect' or 'classify'"),
        ("variants", [], "variants: tuple should have at least 1 item"),
        ("variants.0.providers", [], "variants.0.providers: tuple should have at least 1 item"),
        ("variants.0.precision", "int4", "variants.0.precision"),
        ("variants.0.file.path", "/etc/passwd", "must be relative"),
        ("variants.0.file.path", "../../etc/passwd", "must be relative, without '..'"),
        ("variants.0.file.path", "a/../../b", "must be relative, without '..'"),
        ("variants.0.file.path", "a\\b", "backslash"),
        ("variants.0.file.path", "a\x00b", "control character"),
        ("variants.0.file.path", "a//b", "empty steps"),
        ("variants.0.file.path", "", "must have 1 to 255 characters"),
        ("golden.0.image.path", "..", "must be relative"),
        ("variants.0.file.sha256", "A" * 64, "variants.0.file.sha256: string should match pattern"),
        ("variants.0.file.sha256", "a" * 63, "variants.0.file.sha256"),
        ("variants.0.file.size", 0, "variants.0.file.size: input should be greater than or equal to 1"),
        ("variants.0.file.size", "12", "variants.0.file.size: input should be a valid integer, got '12'"),
        ("variants.0.file.size", 10**15, "variants.0.file.size"),
        ("input.shape", [2, 3, 416, 416], "input.shape: must begin with a batch of 1"),
        ("input.shape", [1, 3, 0, 416], "input.shape: must have sides"),
        ("input.shape", [1, 1, 416, 416], "has 1 channels in layout NCHW; 3 are needed"),
        ("variants.1.input.layout", "NCHW", "variants.1: input.shape"),
        ("input.std", [1, 0, 1], "input.std: must not hold 0"),
        ("input.pad", 256, "input.pad"),
        ("decoder.kind", ..., "decoder.kind: is missing"),
        ("decoder.strides", {"a": 1}, "decoder.strides: must be a number, a text"),
        ("decoder.Strides", [8], "'Strides' is no name of a parameter"),
        ("decoder.table", ["x" * 900] * 20, "must have parameters of at most"),
        ("labels", [], "labels: tuple should have at least 1 item"),
        ("labels", ["a", "a"], "labels: must not hold 'a' twice"),
        ("labels", ["a", " "], "labels: must not hold a blank text"),
        ("thresholds.score", 1.5, "thresholds.score: input should be less than or equal to 1"),
        ("thresholds.max_detections", 10**6, "thresholds.max_detections"),
        ("golden.0.detections.0.label", "persn", "'persn' is not among labels; did you mean 'person'?"),
        ("golden.0.detections.0.box", [10, 0, 5, 5], "must be [x1, y1, x2, y2] in pixels"),
        ("golden.0.detections.0.box", [0, 0, float("nan"), 5], "finite"),
        ("golden.0.detections.0.box", [0, 0, 5], "golden.0.detections.0.box.3: is missing"),
        ("golden.0.detections", ..., "golden.0: must have 'detections'"),
        ("golden.0.classes", [], "golden.0: must have 'detections', and nothing else"),
        ("golden.0.image.path", "yolox-nano.int8.onnx", "is named twice with different sha256 or size"),
        ("golden.0.image.sha256", "a" * 64, "two files have one sha256 and different sizes"),
        ("budget.default.memory_mb", -1, "budget.default.memory_mb"),
        ("quantization.calibration.images", 0, "quantization.calibration.images"),
        ("metrics.recall", [1, 2], "metrics.recall: must be a number, a text, true, false, or a mapping"),
        ("metrics.recall", {"a": {"b": 1}}, "metrics.recall: must be"),
        ("requires.agent", "newest", "requires.agent: must be a range of versions"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_path_and_what_would_be_right(path: str, value: Any, says: str) -> None:
    message = problems(changed(path, value))
    assert says in message
    assert "1 problem:" in message


def test_every_problem_is_listed_at_once() -> None:
    fields = changed("version", "1")
    fields["labels"] = []
    fields["thresholds"]["score"] = "high"
    del fields["input"]["name"]
    message = problems(fields)
    assert "4 problems" in message
    assert all(path in message for path in ("version", "labels", "thresholds.score", "input.name"))


def test_a_flood_of_problems_is_cut_short() -> None:
    message = problems({**EXAMPLE, **{f"key{n}" + "x" * 1000: 1 for n in range(300)}})
    assert "more" in message
    assert len(message.encode()) < MAX_BYTES


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1e999}'])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        load_manifest(data)


def test_a_huge_manifest_is_refused_unread() -> None:
    with pytest.raises(ManifestError, match="at most"):
        load_manifest(b" " * (MAX_MANIFEST_BYTES + 1))


def test_the_largest_decoder_still_fits_a_message() -> None:
    manifest = load_manifest(encoded(changed("decoder.table", ["é" * 600] * 4)))
    load = Load(manifest.spec(0, DIGEST), "/x" * 2000, ("CPUExecutionProvider",), RunOptions(1), 0.1)
    assert len(msgspec.msgpack.encode(load)) < MAX_BYTES


def test_the_digest_is_that_of_the_bytes_and_not_of_the_meaning() -> None:
    data = encoded(EXAMPLE)
    assert release_digest(data) != release_digest(data + b"\n")
    assert load_manifest(data) == load_manifest(data + b"\n")


def test_the_json_schema_names_every_key() -> None:
    schema = manifest_json_schema()
    assert set(EXAMPLE) == set(schema["properties"])
    assert schema["additionalProperties"] is False


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix, *(path for key, inner in items for path in paths(inner, (*prefix, key)))]


@given(st.one_of(json_values.map(encoded), st.binary(max_size=100)))
def test_any_json_is_a_manifest_or_a_manifest_error(data: bytes) -> None:
    with pytest.raises(ManifestError):
        load_manifest(data)


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(paths(EXAMPLE)[1:]), json_values)
def test_any_value_anywhere_in_a_manifest_is_taken_or_a_manifest_error(path: tuple[Any, ...], value: Any) -> None:
    fields = copy.deepcopy(EXAMPLE)
    place: Any = fields
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    try:
        manifest = load_manifest(encoded(fields))
    except ManifestError:
        return
    assert load_manifest(dump_manifest(manifest)) == manifest
    for variant in range(len(manifest.variants)):
        msgspec.msgpack.encode(manifest.spec(variant, DIGEST))


shares = st.floats(0, 1)
hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
labels = st.lists(st.text(min_size=1, max_size=8).filter(str.strip), min_size=1, max_size=5, unique=True)
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)
metrics = st.dictionaries(st.text(max_size=5), scalars | st.dictionaries(st.text(max_size=3), scalars), max_size=3)


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    named = draw(labels)
    corner = st.floats(0, 100)
    boxes = st.builds(lambda x, y, w, h: [x, y, x + w + 1, y + h + 1], corner, corner, corner, corner)
    sight = st.fixed_dictionaries({"label": st.sampled_from(named), "score": shares, "box": boxes})
    files = iter(range(100))

    def file() -> dict[str, Any]:
        number = next(files)
        return {"path": f"f/{number}.bin", "sha256": f"{number:064x}", "size": draw(st.integers(1, 10**9))}

    variants = [
        {
            "providers": ["CPUExecutionProvider"],
            "precision": draw(st.sampled_from(["fp32", "fp16", "int8"])),
            "file": file(),
            **draw(st.sampled_from([{}, {"input": {"scale": 0.5}}, {"decoder": {"reg_max": 7}}])),
        }
        for _ in range(draw(st.integers(1, 3)))
    ]
    golden = [
        {"image": file(), "detections": draw(st.lists(sight, max_size=3))} for _ in range(draw(st.integers(0, 2)))
    ]
    names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "kind")
    return {
        "schema": 1,
        "model": "m",
        "version": draw(st.sampled_from(["0.0.1", "1.2.3-rc.1", "10.20.30+x"])),
        "task": "detect",
        "variants": variants,
        "input": {"name": "x", "shape": [1, 3, draw(st.integers(1, 8192)), draw(st.integers(1, 8192))]},
        "decoder": {"kind": "k", **draw(st.dictionaries(names, scalars, max_size=3))},
        "labels": named,
        "thresholds": {"score": draw(shares), "nms_iou": draw(shares)},
        "golden": golden,
        "metrics": draw(metrics),
    }  # fmt: skip


@settings(max_examples=examples(50), suppress_health_check=[HealthCheck.too_slow])
@given(manifests())
def test_a_valid_manifest_reads_back_what_it_writes(fields: dict[str, Any]) -> None:
    manifest = load_manifest(encoded(fields))
    assert load_manifest(dump_manifest(manifest)) == manifest
    assert json.loads(dump_manifest(manifest))["metrics"] == fields["metrics"]
