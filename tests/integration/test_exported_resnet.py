"""ResNet-18 the whole way: from PyTorch to ONNX, to INT8, into a signed release, and its classes on MQTT."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.infer.detector import Detector
from agent.infer.preprocess import Preprocessor
from agent.infer.session import Session
from agent.types import DecoderSpec, InputSpec, ModelSpec
from tests.fakes.models import fragment, release_id
from tests.fakes.registry import Shop
from tools.model.clean import clean
from tools.model.quantize.static import quantize
from tools.registry.serve import RegistryServer

from .conftest import World
from .device import CAMERA, LOOKOUT, PIPELINE

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300)]

LABELS = ("apron", "bench", "crane", "door", "engine")
RESNET = "resnet18:1.0.0"
INPUT = InputSpec(
    name="x",
    shape=(1, 3, 224, 224),
    color="RGB",
    resize="stretch",
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
)
SPEC = ModelSpec(
    release=release_id("resnet18"),
    task="classify",
    input=INPUT,
    decoder=DecoderSpec(kind="classify", params={"softmax": True, "top": 3}),
    num_classes=len(LABELS),
)


def tensor(path: Path) -> np.ndarray:
    """What the device would feed the model for a picture."""
    preprocessor = Preprocessor(INPUT)
    buffer = preprocessor.buffer()
    preprocessor(cv2.imread(str(path)), buffer)
    return buffer.tensor


def classes(model: Path, picture: Path) -> list[tuple[str, float]]:
    """What the device would answer for a picture."""
    session = Session.load(model, providers=("CPUExecutionProvider",), threads=1, spin=False)
    answer = Detector(SPEC, session, score_floor=0.0)(cv2.imread(str(picture))).classes
    return [(LABELS[int(class_id)], float(score)) for score, class_id in answer]


@pytest.fixture(scope="module")
def resnet(tmp_path_factory, shared) -> tuple[Path, Path, Path]:
    """A folder of three photographs, ResNet-18 as float and as INT8."""
    folder = tmp_path_factory.mktemp("resnet")
    pictures = folder / "pictures"
    pictures.mkdir()
    every = sorted((shared / "data/coco128/images").glob("*.jpg"))
    for path in every[:3]:
        shutil.copy(path, pictures)
    raw, fp32, int8 = (folder / name for name in ("raw.onnx", "fp32.onnx", "int8.onnx"))
    command = [LOOKOUT, "model", "export", "torchvision:resnet18", "--option", f"num_classes={len(LABELS)}"]
    command += ["--images", pictures, "--pixels", "imagenet", "--seed", "7", "-o", raw, "--json"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["parity"]["passed"]
    assert facts["parity"]["on"].startswith("3 pictures")
    assert [one["name"] for one in facts["inputs"]] == [INPUT.name]
    clean(raw, fp32, input_shape=INPUT.shape)
    quantize(fp32, int8, [tensor(path) for path in every[3:35]])
    return pictures, fp32, int8


def test_int8_keeps_the_answers_and_a_third_of_the_bytes(resnet):
    pictures, fp32, int8 = resnet
    assert int8.stat().st_size < fp32.stat().st_size / 3
    for picture in pictures.iterdir():
        float_answer, int8_answer = classes(fp32, picture), classes(int8, picture)
        assert int8_answer[0][0] == float_answer[0][0]
        assert int8_answer[0][1] == pytest.approx(float_answer[0][1], abs=0.05)


def test_a_device_serves_the_release_and_its_classes_are_seen_on_mqtt(resnet, tmp_path, broker):
    pictures, _, int8 = resnet
    shop = Shop(tmp_path / "shop")
    shop.publish(
        model="resnet18",
        write=partial(shutil.copyfile, int8),
        golden=False,
        check=True,
        task="classify",
        labels=list(LABELS),
        variants=[{"providers": ["CPUExecutionProvider"], "precision": "int8", "file": {"path": "model.onnx"}}],
        **fragment(SPEC, score=0.0),
    )
    with ExitStack() as stack:
        registry = stack.enter_context(RegistryServer(shop.registry))
        world = World(tmp_path, registry, shop.made.root, stack)
        device = world.device(
            port=broker.port,
            start=False,
            cameras={CAMERA: {"source": {"path": str(pictures), "fps": 5}}},
            pipelines={PIPELINE: {"model": RESNET}},
        )
        person = world.person(broker.port, device)
        device.start()
        device.wait_status(lambda seen: seen.pipelines[0].deployment == "committed", 60)
        frames = person.sees(RESNET, 6)
    wanted = [classes(int8, path) for path in sorted(pictures.iterdir())]
    tops = {answer[0][0] for answer in wanted}
    for frame in frames:
        assert "detections" not in frame
        seen = [(one["label"], one["score"]) for one in frame["classes"]]
        assert len(seen) == 3
        assert seen[0][0] in tops
        assert any(
            [label for label, _ in answer] == [label for label, _ in seen]
            and all(abs(a - b) < 0.01 for (_, a), (_, b) in zip(answer, seen, strict=True))
            for answer in wanted
        ), (seen, wanted)
