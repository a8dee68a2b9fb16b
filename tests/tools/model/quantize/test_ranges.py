from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from agent.errors import InputError
from tools.model.quantize.ranges import METHODS, choose, observe


def identity() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"], name="neg")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 100, 100])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 100, 100])],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def bell(outlier: float, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(1, 1, 100, 100)).astype(np.float32)
    values[0, 0, 0, 0] = outlier
    return values


def test_minmax_is_exact_and_always_holds_zero() -> None:
    tensor = np.full((1, 1, 100, 100), 3.0, np.float32)
    (seen,) = observe(identity(), [[tensor]])
    assert choose(seen, "minmax") == {"x": (0.0, 3.0), "y": (-3.0, 0.0)}


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_one_outlier_does_not_stretch_the_range(method: str) -> None:
    (seen,) = observe(identity(), [[bell(100.0)]])
    low, high = choose(seen, method, percentile=99.9)["x"]  # type: ignore[arg-type]
    assert 2.0 < high < 40.0
    assert -6.0 < low < -2.0
    assert choose(seen, "minmax")["x"][1] == pytest.approx(100.0)


@pytest.mark.parametrize("method", METHODS)
def test_no_range_is_wider_than_what_was_seen(method: str) -> None:
    (seen,) = observe(identity(), [[bell(4.0)]])
    low, high = choose(seen, method)["x"]  # type: ignore[arg-type]
    assert seen.low[0] - 1e-6 <= low <= 0 <= high <= seen.high[0] + 1e-6


def test_mse_is_no_worse_than_minmax_in_squares() -> None:
    values = bell(60.0)
    (seen,) = observe(identity(), [[values]])

    def error(bounds: tuple[float, float]) -> float:
        low, high = bounds
        step = (high - low) / 255
        return float(np.square(np.round((np.clip(values, low, high) - low) / step) * step + low - values).mean())

    assert error(choose(seen, "mse")["x"]) <= error(choose(seen, "minmax")["x"])


def test_two_sets_added_are_as_if_seen_together() -> None:
    one, two = observe(identity(), [[bell(5.0, 1)], [bell(9.0, 2)]])
    (both,) = observe(identity(), [[bell(5.0, 1), bell(9.0, 2)]])
    assert choose(one + two, "percentile") == choose(both, "percentile")


def test_a_floor_raises_the_lower_end_only_of_what_it_names() -> None:
    (seen,) = observe(identity(), [[bell(9.0)]])
    raised = choose(seen, "minmax", floors={"x": -1.0})
    assert raised["x"][0] == -1.0
    assert raised["y"] == choose(seen, "minmax")["y"]


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(InputError, match="no images"):
        observe(identity(), [[]])
