"""The choice of execution providers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.infer.providers import ALIASES, CPU, choose_providers

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
NAMES = st.lists(st.sampled_from([*ALIASES, *ALIASES.values(), "NobodysExecutionProvider"]), max_size=6)


def test_the_configs_order_is_kept_and_the_cpu_comes_last():
    choice = choose_providers([TENSORRT, CPU, CUDA], [CUDA, TENSORRT, CPU])
    assert choice.providers == (TENSORRT, CUDA, CPU)
    assert choice.warnings == ()


def test_a_missing_provider_is_named_with_what_there_is_what_runs_and_what_would_bring_it():
    choice = choose_providers([CUDA], ["AzureExecutionProvider", CPU])
    assert choice.providers == (CPU,)
    (warning,) = choice.warnings
    assert warning == (
        "CUDAExecutionProvider is not in this ONNX Runtime (available: AzureExecutionProvider, CPUExecutionProvider): "
        "running on CPUExecutionProvider; install onnxruntime-gpu (on a Jetson: NVIDIA's build for its JetPack) "
        "in its place"
    )


def test_short_names_and_their_case_do_not_matter():
    assert choose_providers(["TRT", "Cuda", "cpu", CUDA], [CUDA, TENSORRT, CPU]).providers == (TENSORRT, CUDA, CPU)


@settings(deadline=None)
@given(wanted=NAMES, available=NAMES)
def test_the_cpu_is_always_last_nothing_unavailable_is_chosen_and_each_missing_one_is_warned_of(wanted, available):
    choice = choose_providers(wanted, available)
    assert choice.providers[-1] == CPU
    assert choice.providers.count(CPU) == 1
    assert set(choice.providers[:-1]) <= set(available)
    wished = {ALIASES.get(name, name) for name in wanted} - {CPU}
    assert {warning.split()[0] for warning in choice.warnings} == wished - set(available)
