"""Several variants of one release, on a device of real processes: the fastest serves, and that is remembered."""

from __future__ import annotations

import hashlib
import os
import signal
from typing import Any

from agent.deploy.records import PassedOver
from tests.fakes.deploying import make_release
from tests.fakes.models import TINY_LABELS, fragment, nan_model, slow_model, tiny_detector, tiny_spec
from tests.zoo.conftest import MAIN, RED_BOX, Park, picture, png

CPU = ["CPUExecutionProvider"]


def publish(park: Park, version: str, **models: bytes) -> None:
    """A release with one variant a model, in this order."""
    blobs = {hashlib.sha256(data).hexdigest(): data for data in (*models.values(), png(picture()))}

    def entry(path: str, data: bytes) -> dict[str, Any]:
        return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}

    manifest, _ = make_release(
        version,
        **{
            **fragment(tiny_spec()),
            "labels": list(TINY_LABELS),
            "variants": [
                {"providers": CPU, "precision": "int8", "file": entry(f"{name}.onnx", data)}
                for name, data in models.items()
            ],
            "golden": [
                {
                    "image": entry("golden/1.png", png(picture())),
                    "detections": [{"label": "red", "score": 1.0, "box": RED_BOX}],
                }
            ],
        },
    )
    park.registry._remember(manifest, blobs)


def test_the_fastest_variant_serves_from_its_optimised_copy_and_the_choice_is_remembered(park: Park) -> None:
    folder = park.root
    slow = slow_model(folder / "slow.onnx", steps=8).read_bytes()
    fast = tiny_detector(folder / "fast.onnx").read_bytes()
    bad = nan_model(folder / "bad.onnx").read_bytes()
    publish(park, "1.1.0", slow=slow, bad=bad, fast=fast)
    answered = len(park.results)

    outcome = park.deploy("1.1.0")
    assert outcome.ok, outcome
    assert outcome.current is not None
    assert outcome.current.variant == 2
    assert outcome.receipt is not None
    trial = outcome.receipt.trial
    assert trial is not None
    assert [one.variant for one in trial.variants] == [0, 2]
    assert trial.variants[0].latency_ms.p50 > trial.variants[1].latency_ms.p50
    assert trial.passed_over == (PassedOver(1, trial.passed_over[0].problem),)
    assert "not finite" in trial.passed_over[0].problem
    assert [one.state.value for one in park.statuses if one.reference == "faces:1.1.0"].count("trial") >= 1
    park.wait(lambda: len(park.workers.living()) == 1, "the losers' workers have ended")
    assert park.pipeline.statistics().lost == 0
    assert len(park.results) > answered, "current went on meanwhile"

    # Its worker dies and is brought back: the same variant, from the copy that ONNX Runtime left at the trial.
    started = len(list((park.root / "cache").glob("*.ort")))
    assert started >= 2
    os.kill(park.workers.living()[0].pid, signal.SIGKILL)
    park.wait(lambda: park.last.degraded is not None, "the death is told")
    park.wait(lambda: park.last.degraded is None and park.last.serving is not None, "it serves again")
    assert park.last.serving is not None
    assert park.last.serving.variant == 2

    again = park.deployer.deploy(MAIN, "faces:1.1.0", force=True, on_done=park._done)
    assert again.pipeline == MAIN
    park.wait(lambda: len(park.outcomes) > 2, "deployed again")
    outcome = park.outcomes[-1]
    assert outcome.ok, outcome
    assert outcome.receipt is not None
    assert outcome.receipt.trial is not None
    assert outcome.receipt.trial.remembered
    assert outcome.receipt.trial.variants == trial.variants


def test_a_release_that_no_variant_of_passes_leaves_current_alone(park: Park) -> None:
    serving = park.last.serving
    bad = nan_model(park.root / "bad.onnx").read_bytes()
    publish(park, "1.2.0", bad=bad, broken=bad[:-2000])
    outcome = park.deploy("1.2.0")
    assert not outcome.ok
    assert "not finite" in (outcome.reason or "")
    assert park.last.serving == serving
    park.wait(lambda: len(park.workers.living()) == 1, "nothing is left behind")
