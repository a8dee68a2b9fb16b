"""Reading a container image: what it says, how large it is, what its files are once its layers lie over one another."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from agent.errors import InputError
from tools.arm64 import checking
from tools.arm64.archive import Image, read, sizes_mb, unpack

GOOD = {
    "User": "990:990",
    "Healthcheck": {"Test": ["CMD", "python", "-m", "agent.supervise.alive"]},
    "Entrypoint": ["tini", "--"],
    "Cmd": ["lookout", "run"],
    "Env": ["PATH=/usr/bin", "ORT_DISABLE_TELEMETRY=1"],
    "Volumes": {"/var/lib/lookout": {}},
    "Labels": {"org.opencontainers.image.version": "1.2.3"},
}


def layer(**files: bytes | None) -> bytes:
    """A layer; None deletes a file of a layer below."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, data in files.items():
            path = Path(name.replace("__", "/"))
            entry = tarfile.TarInfo(str(path if data is not None else path.with_name(f".wh.{path.name}")))
            entry.size = len(data or b"")
            tar.addfile(entry, io.BytesIO(data or b""))
    return held.getvalue()


def archive(path: Path, *layers: bytes, settings: dict | None = None, history: tuple[str, ...] = ()) -> Path:
    steps = [{"created_by": step, "empty_layer": step.startswith("ARG")} for step in history]
    said = {"architecture": "arm64", "config": GOOD if settings is None else settings, "history": steps}
    config = json.dumps(said).encode()
    names = [f"{number}.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": "config.json", "Layers": names}]).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in (("manifest.json", manifest), ("config.json", config), *zip(names, layers, strict=True)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def claims(image: Image) -> dict[str, bool]:
    return {claim.what: claim.kept for claim in checking.described(image)}


def test_layers_lie_over_one_another_and_take_away_what_they_say(tmp_path: Path) -> None:
    below = layer(etc__a=b"old", etc__b=b"kept", usr__bin__gcc=b"compiler")
    above = layer(etc__a=b"new", usr__bin__gcc=None)
    image = read(archive(tmp_path / "image.tar", below, above))
    unpack(image, tmp_path / "root")
    assert (tmp_path / "root/etc/a").read_bytes() == b"new"
    assert (tmp_path / "root/etc/b").read_bytes() == b"kept"
    assert not (tmp_path / "root/usr/bin/gcc").exists()


def test_sizes_are_those_of_the_packed_layers_and_of_the_files(tmp_path: Path) -> None:
    image = read(archive(tmp_path / "image.tar", layer(a=b"\0" * 3_000_000), layer(b=os.urandom(1_000_000))))
    packed, unpacked = sizes_mb(image, image.layers)
    assert unpacked == 4.0
    assert 1.0 < packed < 1.1


def test_what_lies_over_the_base_is_told_apart(tmp_path: Path) -> None:
    layers, steps = (layer(a=b"1"), layer(b=b"2"), layer(c=b"3")), ("base", "ARG A", "base too", "ARG VERSION=0", "RUN")
    assert read(archive(tmp_path / "image.tar", *layers, history=steps)).own_layers == ("2.tar",)
    assert read(archive(tmp_path / "image.tar", *layers)).own_layers == ("0.tar", "1.tar", "2.tar")


def test_a_good_image_keeps_every_claim(tmp_path: Path) -> None:
    seen = claims(read(archive(tmp_path / "image.tar", layer())))
    assert seen
    assert all(seen.values())


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"User": ""}, "it does not run as root"),
        ({"Healthcheck": None}, "it has a health check"),
        ({"Entrypoint": None}, "process 1 is tini"),
        ({"Env": ["PATH=/usr/bin"]}, "ONNX Runtime phones nobody"),
        ({"Volumes": None}, "its state is a volume"),
        ({"Labels": None}, "it says its version"),
    ],
)
def test_each_thing_that_is_missing_is_told(tmp_path: Path, change: dict, broken: str) -> None:
    seen = claims(read(archive(tmp_path / "image.tar", layer(), settings={**GOOD, **change})))
    assert [what for what, kept in seen.items() if not kept] == [broken]


def test_a_compiler_and_caches_are_found(tmp_path: Path) -> None:
    found = dict.fromkeys(("usr__bin__gcc", "root__.cache__pip", "var__lib__apt__lists__deb_Packages"), b"x")
    unpack(read(archive(tmp_path / "image.tar", layer(**found))), tmp_path / "root")
    seen = {claim.what: claim for claim in checking.contents(tmp_path / "root")}
    assert (seen["no compiler is in it"].kept, seen["no compiler is in it"].seen) == (False, "usr/bin/gcc")
    assert not seen["no cache was left"].kept
    assert not seen["the agent is compiled to bytecode"].kept


@pytest.mark.parametrize("data", [b"", b"no archive"])
def test_a_file_that_is_no_image_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.tar"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"other\.tar"):
        read(path)
