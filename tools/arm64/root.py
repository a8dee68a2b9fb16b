"""A small ARM system in a folder: Debian, Python, every wheel of the agent for aarch64, and a mosquitto.

Nothing in it was run to make it: packages are unpacked and wheels are laid beside one another, so that it takes no
emulation and no root. It is made anew when what it is made of has changed (:func:`_recipe`), and kept else. The agent
itself is the checkout, which is bound at the same path inside (:mod:`tools.arm64.emulator`).
"""

from __future__ import annotations

import compileall
import hashlib
import json
import shutil
import sys
from importlib import metadata
from pathlib import Path

from agent.errors import SurroundingsError
from tools.arm64 import host

SUITE = "bookworm"
PYTHON = "3.11"
"""The one of the suite."""

PACKAGES = ("python3", "libgomp1", "libstdc++6", "zlib1g", "coreutils", "dash", "mosquitto")
TEST_PACKAGES = ("pytest", "pytest-timeout", "hypothesis", "jsonschema")
PLATFORM = "aarch64-manylinux_2_34"
"""Not newer than the suite's glibc; pip would take minutes to find out what uv finds in seconds."""

ENVIRONMENT = Path("opt/lookout")
"""Where the virtual environment lies inside: as on a device."""

_PYVENV = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n"
_LOOKOUT = f"#!/{ENVIRONMENT}/bin/python\nimport sys\n\nfrom agent.cli import main\n\nsys.exit(main())\n"
_DISTRIBUTION = "lookout-agent"
_EDITABLE = "lookout.pth"


def make(folder: Path, checkout: Path, say: host.Say) -> Path:
    """Return the root below ``folder``, made or still good. Raises :class:`SurroundingsError`."""
    host.require(host.EMULATION, say)
    root, recipe = folder / "root", _recipe(checkout)
    mark = folder / "root.json"
    if root.is_dir() and mark.is_file() and mark.read_text(encoding="utf-8") == recipe:
        say(f"{root} is as it should be")
    else:
        mark.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        _debian(root, say)
        _wheels(root, say)
        _compile(root, say)
        mark.write_text(recipe, encoding="utf-8")
    _agent(root, checkout)
    return root


def _recipe(checkout: Path) -> str:
    """Return, as text, all that decides what is in the root."""
    parts = (SUITE, PYTHON, PACKAGES, PLATFORM, _requirements())
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return json.dumps({"parts": parts, "by": source, "checkout": str(checkout)}, indent=1)


def _requirements() -> list[str]:
    """Return what pip shall bring: what the agent needs, the demo's broker, and the tests' own tools."""
    wanted = []
    for line in metadata.requires(_DISTRIBUTION) or ():
        requirement, _, marker = line.partition(";")
        name = requirement.strip().split("[")[0].split(">")[0].split("=")[0]
        if not marker or "'demo'" in marker.replace('"', "'") or name in TEST_PACKAGES:
            wanted.append(requirement.strip())
    return sorted(wanted)


def _debian(root: Path, say: host.Say) -> None:
    say(f"unpacking Debian {SUITE} for arm64 into {root}")
    shutil.rmtree(root, ignore_errors=True)
    host.run(
        [
            *("mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract"),
            *(f"--include={','.join(PACKAGES)}", SUITE, str(root)),
        ],
        "mmdebstrap",
    )


def _wheels(root: Path, say: host.Say) -> None:
    say("bringing the wheels for aarch64")
    site = site_of(root)
    site.mkdir(parents=True)
    host.run(
        [
            *(str(Path(sys.executable).with_name("uv")), "pip", "install", "--target", str(site)),
            *("--python", sys.executable, "--python-version", PYTHON, "--python-platform", PLATFORM),
            *("--only-binary", ":all:", *_requirements()),
        ],
        "uv pip install for aarch64",
    )
    (root / ENVIRONMENT / "pyvenv.cfg").write_text(_PYVENV, encoding="utf-8")
    programs = root / ENVIRONMENT / "bin"
    programs.mkdir()
    (programs / f"python{PYTHON}").symlink_to(f"/usr/bin/python{PYTHON}")
    for name in ("python", "python3"):
        (programs / name).symlink_to(f"python{PYTHON}")
    lookout = programs / "lookout"
    lookout.write_text(_LOOKOUT, encoding="utf-8")
    lookout.chmod(0o755)


def _compile(root: Path, say: host.Say) -> None:
    """Write the bytecode, where this Python is the same as the one inside: emulated, it would take minutes."""
    if sys.implementation.name != "cpython" or f"{sys.version_info.major}.{sys.version_info.minor}" != PYTHON:
        return
    say("compiling its Python files")
    for folder in (root / "usr/lib" / f"python{PYTHON}", site_of(root)):
        compileall.compile_dir(folder, quiet=2, workers=0, stripdir=str(root), prependdir="/")


def _agent(root: Path, checkout: Path) -> None:
    """Have the Python inside find the checkout as an installed package: its name, version and entry points too."""
    site = site_of(root)
    (site / _EDITABLE).write_text(f"{checkout}\n", encoding="utf-8")
    files = metadata.distribution(_DISTRIBUTION).files or []
    facts = next((Path(str(one.locate())).parent for one in files if one.name == "METADATA"), None)
    if facts is None:
        raise SurroundingsError(f"{_DISTRIBUTION} is not installed in {sys.prefix}: pip install -e '{checkout}[dev]'")
    shutil.copytree(facts, site / facts.name, dirs_exist_ok=True)


def site_of(root: Path) -> Path:
    """Return the folder of its Python packages."""
    return root / ENVIRONMENT / "lib" / f"python{PYTHON}" / "site-packages"
