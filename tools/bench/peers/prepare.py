"""The models of the comparison, made once: cleaned, quantized, converted for ncnn, and one that Ultralytics reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from agent.errors import InputError
from agent.types import DecoderSpec, Digest, InputSpec, ModelName, ModelSpec, ReleaseId
from tools.bench.case import Bench
from tools.bench.models import NANODET_M, YOLOX_NANO, BenchModel
from tools.bench.peers.convert import to_ncnn
from tools.bench.peers.launch import MAKING_S, RUNNERS, RunnerFailed, call
from tools.bench.peers.lineup import FLOAT_RUNNERS, INT8_RUNNERS, ULTRALYTICS_RUNNERS, PeerModel, Venv
from tools.bench.peers.matching import FLOAT, INT8
from tools.bench.prepared import float_of, int8_of

TITLES = {YOLOX_NANO.file: "YOLOX-Nano 416", NANODET_M.file: "NanoDet-m 320"}
KEYS = {"yolox": YOLOX_NANO, "nanodet": NANODET_M}
NAMES = ("yolox", "yolox-int8", "nanodet", "nanodet-int8", "yolov8n")

NCNN_ONLY_FLOAT = "reads no INT8 of another quantizer"
SIDE = 320
EXPORT = f"{RUNNERS}.ultralytics_export"

YOLOV8N = ModelSpec(
    release=ReleaseId(ModelName("yolov8n"), "1.0.0", Digest("2" * 64)),
    task="detect",
    input=InputSpec(name="images", shape=(1, 3, SIDE, SIDE), color="RGB", anchor="center", scale=1 / 255),
    decoder=DecoderSpec(kind="yolov8"),
    num_classes=80,
    nms_iou=0.7,
    max_detections=300,
)


def models(
    bench: Bench, names: Sequence[str], pythons: dict[Venv, Path], film: Path
) -> tuple[list[PeerModel], dict[str, str]]:
    """Return these models, ready, and why others could not be made.

    Raises :class:`~agent.errors.InputError` for a name that is none.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise InputError(f"{unknown[0]}: is no model of this case; there are {', '.join(NAMES)}")
    made, lacking = [], {}
    for name in names:
        try:
            made.append(_model(bench, name, pythons, film))
        except RunnerFailed as error:
            lacking[name] = reason_of(error.message)
    return made, lacking


def absent(venv: Venv) -> str:
    """Return what installs an environment."""
    return f"not installed here: make bench-{venv}"


def reason_of(message: str, venv: Venv = "peers") -> str:
    """Return why something cannot run: a package that is not there is told by what installs it."""
    return absent(venv) if "No module named" in message or "cannot be started" in message else message


def _model(bench: Bench, name: str, pythons: dict[Venv, Path], film: Path) -> PeerModel:
    if name == "yolov8n":
        return _yolov8n(bench, pythons, film)
    family, _, precision = name.partition("-")
    return _int8(bench, name, KEYS[family]) if precision else _float(bench, name, KEYS[family], pythons)


def _float(bench: Bench, name: str, model: BenchModel, pythons: dict[Venv, Path]) -> PeerModel:
    cleaned = float_of(bench, model)
    outputs, shapes = interface(cleaned)
    found = PeerModel(
        key=name,
        title=f"{TITLES[model.file]}, float",
        precision="float",
        spec=model.spec,
        files={"onnx": str(cleaned.resolve())},
        outputs=outputs,
        shapes=shapes,
        tolerance=FLOAT,
        runners=FLOAT_RUNNERS | ({"same": (*FLOAT_RUNNERS["same"], "roboflow")} if model is YOLOX_NANO else {}),
    )
    try:
        bench.progress(f"{name}: converting for ncnn")
        converted = to_ncnn(
            pythons["peers"].with_name("pnnx"), cleaned, model.spec.input.shape, cleaned.with_suffix("")
        )
    except RunnerFailed as error:
        return dataclasses.replace(found, lacking={"ncnn": reason_of(error.message)})
    return dataclasses.replace(found, files=found.files | converted)


def _int8(bench: Bench, name: str, model: BenchModel) -> PeerModel:
    quantized = int8_of(bench, model)
    outputs, shapes = interface(quantized)
    return PeerModel(
        key=name,
        title=f"{TITLES[model.file]}, INT8",
        precision="int8",
        spec=model.spec,
        files={"onnx": str(quantized.resolve())},
        outputs=outputs,
        shapes=shapes,
        tolerance=INT8,
        runners=INT8_RUNNERS,
        lacking={"ncnn": NCNN_ONLY_FLOAT},
    )


def _yolov8n(bench: Bench, pythons: dict[Venv, Path], film: Path) -> PeerModel:
    """Return YOLOv8n as Ultralytics exports it. Raises :class:`RunnerFailed`."""
    target = bench.cache / f"yolov8n_{SIDE}.onnx"
    if not target.is_file():
        bench.progress("yolov8n: Ultralytics makes and exports it, once")
        arguments = [str(target.resolve()), str(film), str(SIDE)]
        call(pythons["peers"], EXPORT, arguments, bench.cache / "ultralytics", timeout_s=MAKING_S)
    outputs, shapes = interface(target)
    return PeerModel(
        key="yolov8n",
        title=f"YOLOv8n {SIDE}, float",
        precision="float",
        spec=YOLOV8N,
        files={"onnx": str(target.resolve())},
        outputs=outputs,
        shapes=shapes,
        tolerance=FLOAT,
        runners=ULTRALYTICS_RUNNERS,
    )


def interface(file: Path) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Return names and shapes of an ONNX file's outputs."""
    import onnx  # here: listing the cases must not load it

    outputs = onnx.load(file).graph.output
    shapes = tuple(tuple(one.dim_value for one in output.type.tensor_type.shape.dim) for output in outputs)
    return tuple(output.name for output in outputs), shapes
