"""PyTorch for real: parity of torchvision's models, of a recurrent net, of every kind of file; operators named."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import onnx
import pytest

from agent import atomic

from .conftest import NETS

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300)]

LIMIT = 1e-4
SMALL = ("--input-shape", "1,3,64,64", "--count", "1")


# --- parity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "exporter", "options"),
    [
        ("resnet18", "dynamo", ()),
        ("mobilenet_v3_small", "dynamo", ()),
        ("shufflenet_v2_x1_0", "dynamo", ()),
        ("squeezenet1_1", "dynamo", ()),
        ("ssdlite320_mobilenet_v3_large", "TorchScript", ()),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "TorchScript", ("--option", "box_score_thresh=0.0")),
    ],
)
def test_torchvisions_models_answer_alike_on_photographs(run, shared, name, exporter, options):
    pictures = shared / "data/coco128/images"
    done = run(f"torchvision:{name}", "--images", pictures, *options)
    assert done.code == 0, done.stderr + done.stdout
    assert exporter in done.facts["exporter"]
    assert done.worst <= LIMIT
    assert all(one["compared"] for one in done.facts["parity"]["outputs"]), "nothing was compared"
    if exporter == "TorchScript":
        assert any("torch.export cannot capture" in note for note in done.facts["notes"])


def test_a_recurrent_net_keeps_its_lstm(run):
    done = run(f"{NETS}:lstm")
    assert done.code == 0, done.stderr
    assert done.worst <= LIMIT
    model = onnx.load(done.out)
    assert "LSTM" in {node.op_type for node in model.graph.node}
    assert [value.name for value in model.graph.input] == ["series"]


def test_shapes_are_static_unless_dynamic_ones_are_asked_for(run):
    static = onnx.load(run("torchvision:squeezenet1_1").out)
    done = run("torchvision:squeezenet1_1", "--dynamic")
    assert done.code == 0, done.stderr
    dynamic = onnx.load(done.out)
    assert sizes(static.graph.input[0]) == [1, 3, 224, 224]
    assert sizes(static.graph.output[0]) == [1, 1000]
    assert sizes(dynamic.graph.input[0]) == ["batch", 3, "height", "width"]
    assert "a batch three times as large" in done.facts["parity"]["on"]


def sizes(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_the_exported_file_names_no_path_of_the_machine_and_keeps_the_layers(run):
    done = run(f"{NETS}:lstm")
    data = done.out.read_bytes()
    assert str(NETS.parent).encode() not in data
    assert sys.prefix.encode() not in data
    assert any("lstm" in entry.value for node in onnx.load(done.out).graph.node for entry in node.metadata_props)


def test_an_opset_below_the_newer_exporters_lowest_takes_the_older_one_and_says_why(run):
    done = run("torchvision:squeezenet1_1", "--opset", "17")
    assert done.code == 0, done.stderr
    assert done.facts["opset"] == 17
    assert any("opset 17 is below 18" in note for note in done.facts["notes"])
    refused = run("torchvision:squeezenet1_1", "--opset", "17", "--exporter", "dynamo", as_json=False)
    assert refused.code == 2
    assert "18 and above" in refused.stderr


def test_two_inputs_and_named_outputs_are_kept_and_said_to_be_too_many_for_a_device(run):
    done = run(f"{NETS}:two")
    assert done.code == 0, done.stderr
    model = onnx.load(done.out)
    assert [value.name for value in model.graph.input] == ["left", "right"]
    assert [value.name for value in model.graph.output] == ["sum", "difference"]
    assert any("2 inputs" in note for note in done.facts["notes"])


def test_data_dependent_branches_fall_back_to_tracing_with_a_warning(run):
    done = run(f"{NETS}:branching")
    assert done.code == 0, done.stderr
    assert any("keeps the branches that the example took" in note for note in done.facts["notes"])
    refused = run(f"{NETS}:branching", "--exporter", "dynamo")
    assert refused.code == 2
    assert "data-dependent" in refused.stderr


def test_a_model_that_answers_otherwise_is_not_written_and_exits_1(run):
    done = run(f"{NETS}:lying")
    assert done.code == 1
    assert not done.facts["parity"]["passed"]
    assert done.facts["written"] is None
    assert not done.out.exists()
    assert "was not written" in run(f"{NETS}:lying", as_json=False).stderr
    assert run(f"{NETS}:lying", "--tolerance", "1").code == 0


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small net as every kind of file that PyTorch writes."""
    import torch
    from torch import nn

    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    example = torch.rand(1, 3, 8, 8)
    folder = tmp_path_factory.mktemp("files")
    torch.jit.script(net).save(folder / "scripted.pt")
    torch.jit.trace(net, example).save(folder / "traced.pt")
    torch.export.save(torch.export.export(net, (example,)), folder / "program.pt2")
    torch.save(net, folder / "pickled.pt")
    torch.save(net.state_dict(), folder / "weights.pt")
    (folder / "no.pt2").write_bytes(b"no archive")
    return folder


@pytest.mark.parametrize("name", ["scripted.pt", "traced.pt"])
def test_torchscript_goes_through_the_older_exporter(run, files, name):
    done = run(files / name, "--input-shape", "1,3,8,8")
    assert done.code == 0, done.stderr
    assert done.worst <= LIMIT
    assert any("the file is TorchScript" in note for note in done.facts["notes"])
    assert "give --input-shape" in run(files / name).stderr


def test_an_exported_program_brings_its_shapes(run, files):
    done = run(files / "program.pt2")
    assert done.code == 0, done.stderr
    assert done.worst <= LIMIT
    assert "the example input" in done.facts["parity"]["on"]
    assert "its shapes are fixed" in run(files / "program.pt2", "--input-shape", "1,3,9,9").stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pickled.pt", "pickled module"),
        ("weights.pt", "weights and no model"),
        ("no.pt2", "torch.export cannot load it"),
    ],
)
def test_a_file_of_the_wrong_kind_is_told(run, files, name, words):
    done = run(files / name)
    assert done.code == 2
    assert words in done.stderr


def test_weights_come_from_a_file_and_decide_the_answer(run, tmp_path):
    import torch
    import torchvision

    torch.manual_seed(5)
    net = torchvision.models.squeezenet1_1(weights=None, num_classes=3)
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": net.state_dict()}, path)
    done = run("torchvision:squeezenet1_1", "--weights", path, "--option", "num_classes=3")
    assert done.code == 0, done.stderr
    assert sizes(onnx.load(done.out).graph.output[0]) == [1, 3]
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(done.out).graph.initializer}
    kernel = net.state_dict()["classifier.1.weight"].numpy()
    assert any(array.shape == kernel.shape and (array == kernel).all() for array in stored.values())
    refused = run("torchvision:squeezenet1_1", "--weights", path)
    assert refused.code == 2
    assert "does not fit the model: size mismatch for classifier.1.weight" in refused.stderr


def test_the_seed_decides_random_weights(run, tmp_path):
    def weights(seed):
        done = run("torchvision:squeezenet1_1", "--seed", seed, *SMALL, out=tmp_path / f"{seed}.onnx")
        return {one.name: one.SerializeToString() for one in onnx.load(done.out).graph.initializer}

    first = weights(1)
    assert weights(1) == first
    assert weights(2) != first


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["torchvision:resnet"], "near it: resnet"),
        (["torchvision:resnet18", "--input-shape", "1,1,224,224"], "one input, such as 1,3,224,224"),
        (["torchvision:resnet18", "--option", "depth=3"], "unexpected keyword argument"),
        (["torchvision:resnet18", "--option", "weights=DEFAULT"], "would download"),
        (["torchvision:resnet18", "--weights", "/nowhere.pth"], "no such file"),
        (["torchvision:r3d_18"], "more than one picture"),
        ([f"{NETS}:shapeless"], "give --input-shape"),
        ([f"{NETS}:shapeless", "--input-shape", "1,4,8,8"], "does not run on [1, 4, 8, 8]"),
        ([f"{NETS}:raising"], "no such backbone"),
        ([f"{NETS}:a_number"], "returned int"),
        ([f"{NETS}:not_callable"], "not something that can be called"),
        ([f"{NETS}:lstm", "--images", "."], "leave --images out"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(run, arguments, words):
    done = run(*arguments)
    assert done.code == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.out.exists()


def test_every_unsupported_operator_is_named_with_its_layers_and_what_to_do(run):
    done = run(f"{NETS}:unsupported")
    assert done.code == 2
    assert "2 operators that ONNX does not have" in done.stderr
    bessel, twist = (line for line in done.stderr.splitlines() if line.startswith("  "))
    assert "prims.bessel_j0 in odd (Bessel)" in bessel
    assert "--exporter torchscript" in bessel
    assert "yard.twist in first_twist (Twist), second_twist (Twist)" in twist
    assert "CompositeImplicitAutograd" in twist


def test_the_older_exporter_names_its_unsupported_operator_too(run):
    done = run(f"{NETS}:unsupported", "--exporter", "torchscript")
    assert done.code == 2
    assert "aten::special_bessel_j0" in done.stderr


def test_a_full_disk_leaves_what_was_there(run, tmp_path, monkeypatch):
    out = tmp_path / "folder" / "model.onnx"
    out.parent.mkdir()
    out.write_bytes(b"yesterday's")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    done = run(f"{NETS}:lstm", out=out)
    assert done.code == 1
    assert "No space left on device" in done.stderr
    assert [path.name for path in out.parent.iterdir()] == ["model.onnx"]
    assert out.read_bytes() == b"yesterday's"


# --- Ultralytics -----------------------------------------------------------------------------------------------------


def test_an_ultralytics_checkpoint_goes_through_its_own_exporter(run, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    ultralytics = pytest.importorskip("ultralytics", reason="pip install --no-deps ultralytics: AGPL, not in an extra")
    checkpoint = tmp_path / "yolo.pt"
    net = ultralytics.YOLO("yolov8n.yaml")
    net.ckpt = {"model": net.model}
    net.save(str(checkpoint))
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run(checkpoint, "--input-shape", "1,3,160,160")
    assert done.code == 0, done.stderr
    assert done.worst <= LIMIT
    assert sizes(onnx.load(done.out).graph.output[0])[:2] == [1, 84]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "out") == before


def test_an_ultralytics_checkpoint_without_the_package_is_told(run, tmp_path, monkeypatch):
    import zipfile

    path = Path(tmp_path / "y.pt")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("y/data.pkl", b"cultralytics.nn.tasks\nDetectionModel")
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, _=None: None if name == "ultralytics" else object())
    done = run(path)
    assert done.code == 2
    assert "pip install ultralytics" in done.stderr
