from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import onnx
import pytest

from agent import errors
from agent.errors import InputError, ManifestError, ModelError, TrustError
from agent.registry.bring import bring
from agent.registry.manifest import load_manifest
from tests.fakes.models import nan_model, tiny_detector
from tests.fakes.registry import Shop, release_folder
from tools.registry import repository
from tools.registry.keys import Keys
from tools.registry.maintain import refresh, set_channel
from tools.registry.publish import publish
from tools.registry.repository import Lifetimes
from tools.registry.status import status


def manifest_of(shop: Shop, digest: str) -> Path:
    return next((shop.registry / "targets").rglob(f"{digest}.manifest.json"))


def snapshot_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_hashes_and_sizes_are_filled_in(shop: Shop) -> None:
    published = shop.publish(check=True)
    manifest = load_manifest(manifest_of(shop, published.digest).read_bytes())
    file = manifest.variants[0].file
    assert file.size == (shop.folder / "drafts/1.0.0/model.onnx").stat().st_size
    assert published.size_bytes == manifest.total_bytes
    assert published.warnings == ()


def test_hashes_and_sizes_that_are_given_must_be_right(shop: Shop) -> None:
    draft = release_folder(shop.folder / "draft")
    fields = json.loads(draft.read_text())
    fields["variants"][0]["file"] |= {"sha256": "0" * 64, "size": 7}
    draft.write_text(json.dumps(fields))
    with pytest.raises(ManifestError, match=r"(?s)variants\.0\.file\.sha256.*variants\.0\.file\.size"):
        publish(shop.registry, shop.keys, draft)


@pytest.mark.parametrize(
    ("fields", "kind", "says"),
    [
        ({"version": "one"}, ManifestError, "version: must be a semantic version"),
        ({"modle": 1}, ManifestError, "did you mean 'model'"),
        ({"labels": ["just-one"]}, ManifestError, "'red' is not among labels"),
        ({"labels": ["red", "green"]}, ModelError, "with 2 labels"),
        ({"variants": []}, ManifestError, "variants"),
        ({"variants": [{"file": {"path": "../other.onnx"}}]}, ManifestError, "must be relative"),
        ({"variants": [{"file": {"path": "absent.onnx"}}]}, ManifestError, "absent.onnx cannot be read"),
        ({"variants": "none"}, ManifestError, "variants"),
        ({"decoder": {"kind": "unheard-of"}}, ModelError, "unheard-of"),
        ({"input": {"name": "x", "shape": [1, 3, 64, 64]}}, ModelError, "input.name 'x'"),
        ({"input": {"name": "images", "shape": [1, 3, 96, 96]}}, ModelError, "input.shape"),
    ],
)
def test_a_release_that_is_not_what_it_says_is_refused_and_nothing_changes(
    shop: Shop, fields: dict[str, object], kind: type[errors.LookoutError], says: str
) -> None:
    before = snapshot_of(shop.registry)
    draft = release_folder(shop.folder / "draft", **fields)  # type: ignore[arg-type]
    with pytest.raises(kind) as caught:
        publish(shop.registry, shop.keys, draft)
    assert says in caught.value.message
    assert snapshot_of(shop.registry) == before


def test_what_is_no_model_is_refused(shop: Shop) -> None:
    draft = release_folder(shop.folder / "draft", write=lambda path: path.write_bytes(b"no model"))
    with pytest.raises(ModelError, match=r"model\.onnx"):
        publish(shop.registry, shop.keys, draft, golden=False)


def test_what_a_devices_inspection_refuses_is_not_signed_even_where_onnx_runtime_takes_it(shop: Shop) -> None:
    draft = release_folder(shop.folder / "draft")
    path = draft.parent / "model.onnx"
    model = onnx.load(path)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        publish(shop.registry, shop.keys, draft, golden=False)


def test_golden_images_are_run_unless_told_not_to(shop: Shop) -> None:
    def blind(path: Path) -> Path:
        return tiny_detector(path, constant=[(40, 40, 60, 60, 0.9, 0)])

    with pytest.raises(ModelError, match=r"golden/1\.png.*expected red 1\.00"):
        shop.publish(check=True, write=blind)
    assert shop.publish(write=blind).version == "1.0.0"


def test_a_model_that_answers_nan_passes_only_without_golden_images(shop: Shop) -> None:
    with pytest.raises(ModelError, match="not finite"):
        shop.publish(check=True, write=nan_model)
    assert shop.publish(write=nan_model).version == "1.0.0"


def test_a_golden_image_that_is_none_is_refused(shop: Shop) -> None:
    draft = release_folder(shop.folder / "draft")
    (draft.parent / "golden/1.png").write_bytes(b"no picture")
    with pytest.raises(ManifestError, match=r"golden\.0\.image.*no picture"):
        publish(shop.registry, shop.keys, draft)


def test_a_version_is_never_overwritten_and_the_next_one_is_named(shop: Shop) -> None:
    shop.publish("1.0.0")
    shop.publish("1.0.1")
    before = snapshot_of(shop.registry)
    with pytest.raises(InputError, match=r"tiny:1\.0\.0 is published already.*set 'version' to 1\.0\.2"):
        shop.publish("1.0.0", description="another")
    assert snapshot_of(shop.registry) == before


def test_a_channel_may_be_set_at_once_and_later(shop: Shop) -> None:
    shop.publish("1.0.0", channel="stable")
    shop.publish("1.1.0", channel="beta")
    set_channel(shop.registry, shop.keys, "tiny", "stable", "1.1.0")
    assert status(shop.registry).models[0].channels == {"stable": "1.1.0", "beta": "1.1.0"}
    for model, channel, version, says in [
        ("tiny", "stable", "7.0.0", "does not exist"),
        ("ghost", "stable", "1.0.0", "no model 'ghost'; there is tiny"),
        ("tiny", "^1", "1.0.0", "is no name of a channel"),
    ]:
        with pytest.raises(errors.ReferenceError) as caught:
            set_channel(shop.registry, shop.keys, model, channel, version)
        assert says in caught.value.message


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("steps", range(9))
def test_a_publish_killed_at_any_write_leaves_the_old_registry_and_can_be_repeated(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    shop.publish("1.0.0", channel="stable")
    real, count = repository.atomic.write_bytes, iter(range(100))

    def write(target: Path, data: bytes, *, mode: int = 0o644) -> None:
        if next(count) == steps:
            raise Killed
        real(target, data, mode=mode)

    monkeypatch.setattr(repository.atomic, "write_bytes", write)
    killed = False
    try:
        shop.publish("1.1.0", channel="stable")
    except Killed:
        killed = True
    monkeypatch.undo()
    assert killed == (steps < 5)  # manifest, index, targets, snapshot, timestamp
    fetched = bring(shop.access(), "tiny@stable", lambda _: None)
    assert fetched.version == ("1.0.0" if killed else "1.1.0")
    if killed:
        shop.publish("1.1.0", channel="stable")
        assert bring(shop.access(), "tiny@stable", lambda _: None).version == "1.1.0"


def test_a_registry_changed_by_somebody_is_never_signed_again(shop: Shop) -> None:
    shop.publish()
    index = next((shop.registry / "targets").rglob("*.index.json"))
    index.write_bytes(index.read_bytes().replace(b"1.0.0", b"6.6.6"))
    with pytest.raises(TrustError, match="is not what was signed"):
        shop.publish("1.1.0")
    targets = shop.registry / "metadata" / "2.targets.json"
    targets.write_bytes(targets.read_bytes().replace(b"tiny", b"tinx"))
    with pytest.raises(TrustError, match="not signed by this registry's keys"):
        refresh(shop.registry, shop.keys)


def test_a_damaged_blob_is_written_again_by_the_next_publish_of_the_same_file(shop: Shop) -> None:
    blob = shop.blob(shop.publish())
    blob.write_bytes(b"damaged")
    shop.publish("1.1.0")
    assert bring(shop.access(), "tiny:1.0.0", lambda _: None).version == "1.0.0"


def test_refresh_needs_only_the_online_keys_and_says_when_it_cannot_help(shop: Shop) -> None:
    shop.publish()
    for name in ("root", "targets"):
        (shop.keys.folder / f"{name}.pem").rename(shop.folder / f"{name}.pem")
    until = refresh(shop.registry, shop.keys)
    assert until == {role.role: role.expires for role in status(shop.registry).roles}["timestamp"]
    (shop.folder / "targets.pem").rename(shop.keys.folder / "targets.pem")
    shop.lifetimes = Lifetimes(targets=timedelta(days=-1))
    shop.publish("1.1.0")
    with pytest.raises(InputError, match=r"the role 'targets'.*lookout registry publish"):
        refresh(shop.registry, shop.keys)


def test_a_folder_that_is_no_registry_is_told(shop: Shop) -> None:
    draft = release_folder(shop.folder / "draft")
    with pytest.raises(InputError, match="is no registry; make one with"):
        publish(shop.folder, shop.keys, draft)
    with pytest.raises(InputError, match="cannot be read"):
        publish(shop.registry, shop.keys, shop.folder / "nothing.json")
    (shop.folder / "broken.json").write_text("{")
    with pytest.raises(ManifestError, match="is no JSON"):
        publish(shop.registry, shop.keys, shop.folder / "broken.json")
    with pytest.raises(InputError, match="does not exist; give the folder"):
        publish(shop.registry, Keys(shop.folder / "no-keys", lambda _: None), draft)


def test_looking_at_a_registry_loads_no_onnx_runtime() -> None:
    code = "import sys, tools.registry.cli, tools.registry.serve; assert 'onnxruntime' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_real_model_goes_through_with_its_golden_image(shop: Shop, shared: Path) -> None:
    from tests.fakes.models import coco_labels, fragment, yolox_spec

    image = sorted((shared / "data/coco128/images").iterdir())[0]
    folder = shop.folder / "yolox"
    folder.mkdir()
    (folder / "model.onnx").write_bytes((shared / "models/yolox_nano.onnx").read_bytes())
    (folder / "1.jpg").write_bytes(image.read_bytes())
    fields = {
        "schema": 1,
        "model": "yolox-nano",
        "version": "1.0.0",
        "task": "detect",
        "variants": [{"providers": ["CPUExecutionProvider"], "precision": "fp32", "file": {"path": "model.onnx"}}],
        "labels": coco_labels(shared),
        "golden": [{"image": {"path": "1.jpg"}, "detections": []}],
        **fragment(yolox_spec(), score=0.999),
        "golden_tolerance": {"score": 0.0},
    }
    (folder / "manifest.json").write_text(json.dumps(fields))
    published = publish(shop.registry, shop.keys, folder / "manifest.json")
    assert bring(shop.access(), "yolox-nano:1.0.0", lambda _: None).digest == published.digest
