"""Reads which devices the configuration needs, and who may open them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from agent.config.schema import DeviceSource, GstreamerSource, PicameraSource
from agent.doctor.case import Case
from agent.doctor.judge.access import Node
from agent.doctor.look.people import group_of
from agent.infer.providers import CPU

CSI = ("media*", "dma_heap/*")
ACCELERATORS = ("nvidia[0-9]*", "nvidiactl", "nvhost-*gpu", "nvmap", "dri/renderD*")
CAMERAS = ("video*",)


def nodes(case: Case) -> tuple[Node, ...]:
    """Return the devices that cameras and providers of the configuration need, of those that are there."""
    if case.loaded is None:
        return ()
    config = case.loaded.config
    sources = [camera.source for camera in config.cameras.values()]
    wanted: list[Path] = [video(one.device) for one in sources if isinstance(one, DeviceSource)]
    if any(isinstance(one, PicameraSource | GstreamerSource) for one in sources):
        wanted += _matching(case.host, (*CAMERAS, *CSI))
    if any(name != CPU for name in config.inference.providers):
        wanted += _matching(case.host, ACCELERATORS)
    found = (node_at(path) for path in dict.fromkeys(wanted))
    return tuple(node for node in found if node is not None)


def video(device: str) -> Path:
    """Return the path of a V4L2 camera: of its number, or what was written."""
    return Path(f"/dev/video{device}" if device.isdecimal() else device)


def group_names(groups: Iterable[int]) -> tuple[str, ...]:
    """Return the groups' names."""
    return tuple(sorted(group_of(gid) for gid in groups))


def _matching(host: Path, patterns: Iterable[str]) -> list[Path]:
    return [path for pattern in patterns for path in sorted((host / "dev").glob(pattern))]


def node_at(path: Path) -> Node | None:
    """Return who may open a device; None where there is no device."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISCHR(found.st_mode):
        return None
    lists = any(name.startswith("system.posix_acl") for name in _attributes(path))
    return Node(
        str(path), found.st_uid, found.st_gid, group_of(found.st_gid), stat.S_IMODE(found.st_mode) & 0o777, lists
    )


def _attributes(path: Path) -> list[str]:
    try:
        return os.listxattr(path)
    except OSError:
        return []
