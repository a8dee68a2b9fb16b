"""TensorFlow for real: parity of Keras and TFLite models, from every kind of source; operators named."""

from __future__ import annotations

import onnx
import pytest

from .conftest import HERE

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(300)]

NETS = HERE / "keras_nets.py"
LIMIT = 1e-4


def sizes(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The small nets as every kind of file that TensorFlow writes."""
    import tensorflow as tf

    from tools.model.export.callables import resolve

    folder = tmp_path_factory.mktemp("files")
    for name in ("cnn", "lstm"):
        net = resolve(f"{NETS}:{name}")()
        net.save(folder / f"{name}.keras")
        net.export(folder / f"{name}_saved", verbose=False)
    resolve(f"{NETS}:unsupported")().save(folder / "unsupported.keras")
    lite = tf.lite.TFLiteConverter.from_saved_model(str(folder / "cnn_saved"))
    (folder / "cnn.tflite").write_bytes(lite.convert())
    small = tf.lite.TFLiteConverter.from_saved_model(str(folder / "cnn_saved"))
    small.optimizations = [tf.lite.Optimize.DEFAULT]
    small.representative_dataset = lambda: ([tf.random.uniform((1, 64, 64, 3))] for _ in range(8))
    (folder / "int8.tflite").write_bytes(small.convert())
    singular = resolve(f"{NETS}:singular").get_concrete_function()
    custom = tf.lite.TFLiteConverter.from_concrete_functions([singular])
    custom.allow_custom_ops = True
    (folder / "custom.tflite").write_bytes(custom.convert())
    (folder / "no.keras").write_bytes(b"no archive")
    (folder / "no.tflite").write_bytes(b"no flatbuffer")
    (folder / "empty_saved").mkdir()
    return folder


# --- parity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["cnn.keras", "cnn_saved", "cnn.tflite", "callable"])
def test_a_keras_cnn_answers_alike_on_photographs_from_every_kind_of_source(run, files, shared, source):
    text = f"{NETS}:cnn" if source == "callable" else files / source
    done = run(text, "--images", shared / "data/coco128/images")
    assert done.code == 0, done.stderr + done.stdout
    assert done.worst <= LIMIT
    assert done.facts["opset"] == 17
    graph = onnx.load(done.out).graph
    assert sizes(graph.input[0]) == [1, 64, 64, 3]
    assert sizes(graph.output[0]) == [1, 10]
    assert [value.name for value in graph.output] == ["output"]


@pytest.mark.parametrize("source", ["lstm.keras", "lstm_saved"])
def test_a_keras_lstm_answers_alike_and_becomes_an_lstm(run, files, source):
    done = run(files / source)
    assert done.code == 0, done.stderr
    assert done.worst <= LIMIT
    graph = onnx.load(done.out).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("LSTM") == 2
    assert "Loop" not in kinds
    assert (sizes(graph.input[0]), sizes(graph.output[0])) == ([1, 20, 8], [1, 4])


def test_another_loop_stays_one_and_is_told(run):
    done = run(f"{NETS}:looping")
    assert done.code == 0, done.stderr
    assert done.worst <= LIMIT
    assert any("stayed a Loop" in note for note in done.facts["notes"])


def test_the_batch_is_open_on_request(run, files):
    for source in ("cnn.keras", "cnn.tflite"):
        done = run(files / source, "--dynamic")
        assert done.code == 0, done.stderr
        batch, *rest = sizes(onnx.load(done.out).graph.input[0])
        assert isinstance(batch, str)
        assert rest == [64, 64, 3]
        assert "a batch three times as large" in done.facts["parity"]["on"]


def test_a_tf_function_keeps_its_inputs_name(run):
    done = run(f"{NETS}:function")
    assert done.code == 0, done.stderr
    graph = onnx.load(done.out).graph
    assert [value.name for value in graph.input] == ["row"]
    assert len(graph.output) == 2


def test_a_quantized_tflite_is_said_to_be_one(run, files):
    done = run(files / "int8.tflite", "--tolerance", "0.2")
    assert done.code == 0, done.stderr + done.stdout
    assert any("quantized already" in note for note in done.facts["notes"])


# --- bad input -------------------------------------------------------------------------------------------------------


def test_every_unsupported_operator_is_named_with_its_layer_and_what_to_do(run):
    done = run(f"{NETS}:unsupported")
    assert done.code == 2
    assert "2 operators that ONNX does not have" in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    assert any("BesselJ0 in" in line and "/odd" in line and "--opset" in line for line in lines)
    assert any("Svd in" in line and "/strange" in line and "linear algebra" in line for line in lines)
    assert not done.out.exists()


def test_a_custom_operator_of_a_tflite_file_is_named(run, files):
    done = run(files / "custom.tflite")
    assert done.code == 2
    assert "Svd" in done.stderr
    assert not done.out.exists()


def test_a_custom_layer_needs_its_module(run, files):
    done = run(files / "unsupported.keras", "--import", NETS)
    assert "2 operators that ONNX does not have" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no.keras"], "Keras cannot load it"),
        (["no.tflite"], "is not a TFLite file"),
        (["empty_saved"], "is not a kind of model"),
        (["cnn.keras", "--input-shape", "1,32,32,3"], "takes [None, 64, 64, 3]"),
        (["cnn.keras", "--input-shape", "1,64,64,3", "--input-shape", "1,4"], "2 times for 1 inputs"),
        (["cnn.keras", "--opset", "12"], "17 to 18 can be written"),
        (["cnn.keras", "--exporter", "dynamo"], "is PyTorch's"),
        (["cnn.keras", "--weights", "w.pth"], "is for torchvision:NAME"),
        (["lstm.keras", "--images", "."], "leave --images out"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(run, files, arguments, words):
    done = run(files / arguments[0], *arguments[1:])
    assert done.code == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.out.exists()


@pytest.mark.parametrize(("name", "words"), [("open_sides", "leaves sizes open"), ("raising", "no such backbone")])
def test_a_callable_that_is_not_enough_is_told(run, name, words):
    done = run(f"{NETS}:{name}")
    assert done.code == 2
    assert words in done.stderr


def test_open_sides_are_closed_by_the_option(run):
    done = run(f"{NETS}:open_sides", "--input-shape", "1,16,24,3")
    assert done.code == 0, done.stderr
    assert sizes(onnx.load(done.out).graph.input[0]) == [1, 16, 24, 3]
