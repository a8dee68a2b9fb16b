"""Python and the packages: recent enough, and none there twice under two names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.doctor.findings import Finding, failed, ok, skipped, warning

RUNTIME = "onnxruntime"
OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")
"""Builds of one module each of which writes over the others' files."""

_BOUND = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*>=\s*([0-9][0-9.]*)")


@dataclass(frozen=True)
class Packages:
    """What is installed. ``requires``: the product's own lines; ``runtimes``: builds of ONNX Runtime."""

    python: str
    program: str
    agent: str
    requires: tuple[str, ...]
    installed: Mapping[str, str]
    runtimes: tuple[tuple[str, str], ...]


def bounds(requires: Iterable[str]) -> dict[str, str]:
    """Return package → least version, of requirements that no extra asks for."""
    matches = (_BOUND.match(line) for line in requires if "extra ==" not in line)
    return {plain(match[1]): match[2].rstrip(".") for match in matches if match}


def plain(name: str) -> str:
    """Return a package's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with, without zeros at the end."""
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    numbers = [int(number) for number in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def judge(found: Packages) -> tuple[Finding, ...]:
    """Return what is so of Python and packages, of OpenCV, and of ONNX Runtime's builds."""
    return _versions(found), _opencv(found), runtimes(found)


def _versions(found: Packages) -> Finding:
    name, least = "versions", bounds(found.requires)
    values = {"lookout": found.agent, "python": found.python}
    if not least:
        said = f"Python {found.python}; Lookout runs from a folder that was never installed"
        return skipped(name, said, f"{found.program} -m pip install .", **values)
    absent = [package for package in least if _version(found, package) is None]
    if absent:
        remedy = f"{found.program} -m pip install {' '.join(absent)}"
        return failed(name, f"missing: {', '.join(absent)}", remedy, **values)
    old = {package: (have, bound) for package, bound in least.items() if (have := _version(found, package)) and
           release(have) < release(bound)}  # fmt: skip
    if old:
        said = ", ".join(f"{package} {have} (at least {bound})" for package, (have, bound) in old.items())
        wanted = " ".join(f"'{package}>={bound}'" for package, (_, bound) in old.items())
        return warning(name, f"too old: {said}", f"{found.program} -m pip install {wanted}", **values)
    return ok(name, f"Lookout {found.agent}, Python {found.python}, {len(least)} packages recent enough", **values)


def _version(found: Packages, package: str) -> str | None:
    """Return the version of a package, or of what stands in its place."""
    if package == RUNTIME and found.runtimes:
        return found.runtimes[0][1]
    names: Sequence[str] = OPENCV if package in OPENCV else (package,)
    return next((found.installed[name] for name in names if name in found.installed), None)


def _opencv(found: Packages) -> Finding:
    name, builds = "OpenCV", [one for one in OPENCV if one in found.installed]
    shown = ", ".join(f"{build} {found.installed[build]}" for build in builds)
    if len(builds) > 1:
        remedy = (
            f"{found.program} -m pip uninstall -y {' '.join(builds)} && "
            f"{found.program} -m pip install opencv-python-headless"
        )
        return warning(name, f"{len(builds)} builds in one place, each over the other's files: {shown}", remedy)
    return ok(name, shown) if builds else skipped(name, "no build is installed by pip")


def runtimes(found: Packages) -> Finding:
    """Return whether ONNX Runtime is there once: of two builds in one place it is chance which is loaded."""
    name, builds = "ONNX Runtime", found.runtimes
    shown = ", ".join(f"{build} {version}" for build, version in builds)
    if len(builds) > 1:
        kept = next((build for build, _ in builds if build != RUNTIME), RUNTIME)
        names = " ".join(build for build, _ in builds)
        remedy = f"{found.program} -m pip uninstall -y {names}, then install the one that is meant, such as {kept}"
        said = f"{len(builds)} builds in one place, each over the other's files: {shown}"
        return failed(name, said, remedy, builds=len(builds))
    if not builds:
        return failed(
            name, "is not installed: no model can run", f"{found.program} -m pip install onnxruntime", builds=0
        )
    return ok(name, shown, builds=1)
