"""Building the image: with Docker's buildx where an engine answers, else with buildah, which needs none.

Both leave a file in Docker's archive format (``docker load -i``, ``podman load -i``). With buildah the base image is
pulled; where its registry cannot be reached, a Debian of the same release takes its place (:func:`_stand_in`), under
the base's very name: a good check of ``Dockerfile.arm64`` in a closed network, and told so, but not what is published.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from agent.errors import SurroundingsError
from tools.arm64 import binfmt, host
from tools.arm64.cpus import A76
from tools.arm64.root import PYTHON, SUITE

TAG = "lookout:arm64"
DOCKERFILE = "Dockerfile.arm64"
PULL_TIMEOUT_S = 120
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
STAND_IN_PACKAGES = ("python3", "ca-certificates")


@dataclass(frozen=True)
class Built:
    """An image in a file. ``base``: what it stands on, in words."""

    archive: Path
    builder: str
    base: str


def build(checkout: Path, folder: Path, arguments: Mapping[str, str], say: host.Say) -> Built:
    """Build the image and return it. Raises :class:`SurroundingsError`."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "lookout-arm64.tar"
    archive.unlink(missing_ok=True)
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    if _docker_answers():
        say("building with docker buildx")
        command = ["docker", "buildx", "build", "--platform", "linux/arm64", "--load", "--tag", TAG, *words]
        host.run([*command, "--file", str(checkout / DOCKERFILE), str(checkout)], "docker buildx build")
        host.run(["docker", "save", "--output", str(archive), TAG], "docker save")
        return Built(archive, "docker", base_of(checkout))
    host.require(host.BUILDING, say)
    if os.geteuid() != 0:
        raise SurroundingsError("no Docker engine answers, and building with buildah needs root: sudo make image")
    return _with_buildah(checkout, folder, archive, words, say)


def base_of(checkout: Path) -> str:
    """Return the name of the image that the result stands on."""
    lines = (checkout / DOCKERFILE).read_text(encoding="utf-8").splitlines()
    return [line.split()[1] for line in lines if line.startswith("FROM ")][-1]


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "buildx", "ls"], capture_output=True, check=False)
    engine = subprocess.run(["docker", "info"], capture_output=True, check=False)
    return asked.returncode == engine.returncode == 0


def _with_buildah(checkout: Path, folder: Path, archive: Path, words: Sequence[str], say: host.Say) -> Built:
    buildah = [
        *("buildah", "--root", str(folder / "containers"), "--runroot", str(folder / "containers-run")),
        *("--storage-driver", "overlay"),
    ]
    with ExitStack() as stack:
        if platform.machine() != "aarch64":
            stack.enter_context(binfmt.registered(say))
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lookout-image-")))
        base = _base(buildah, base_of(checkout), folder, say)
        say(f"building with buildah on {base}")
        command = [
            *(*buildah, "build", "--isolation", "chroot", "--format", "docker", "--platform", "linux/arm64"),
            *("--pull=never", "--layers", "--tag", TAG, *words, *_settings(work)),
            *("--file", str(checkout / DOCKERFILE), str(checkout)),
        ]
        host.run(_beside_a_board(command, work), "buildah build")
        host.run([*buildah, "push", TAG, f"docker-archive:{archive}:{TAG}"], "buildah push")
    return Built(archive, "buildah", base)


def _beside_a_board(command: Sequence[str], work: Path) -> list[str]:
    """Return the command in a view of the file system in which this machine's processor is an ARM board's."""
    if platform.machine() == "aarch64":
        return list(command)
    fake = work / "cpuinfo"
    fake.write_text(A76.cpuinfo(), encoding="ascii")
    script = 'mount --bind "$1" /proc/cpuinfo && shift && exec "$@"'
    return ["env", f"QEMU_CPU={A76.qemu}", "unshare", "--mount", "sh", "-c", script, "sh", str(fake), *command]


def _settings(work: Path) -> list[str]:
    """Have pip inside use this machine's index and certificates during the build; neither is in the result."""
    told = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    wanted = {"index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout", "proxy"}
    lines = ["[global]"]
    for line in told.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in wanted and "file:" not in value:
            lines.append(f"{name.removeprefix('default-')} = {value.strip(chr(39))}")
    words: list[str] = []
    if CERTIFICATES.is_file():
        lines.append(f"cert = {CERTIFICATES}")
        words += ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    settings = work / "pip.conf"
    settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [*words, "--volume", f"{settings}:/etc/pip.conf:ro"]


def _base(buildah: Sequence[str], name: str, folder: Path, say: host.Say) -> str:
    """Have the base image under its name and return what it is, in words."""
    full = name if "/" in name else f"docker.io/library/{name}"
    stand_in = f"a Debian that stands in for {name}"
    if _is_there(buildah, full):
        return stand_in if (folder / "stand-in").exists() else name
    say(f"pulling {name}")
    pull = [*buildah, "pull", "--platform", "linux/arm64", full]
    try:
        pulled = subprocess.run(pull, capture_output=True, timeout=PULL_TIMEOUT_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        pulled = False
    if pulled:
        (folder / "stand-in").unlink(missing_ok=True)
        return name
    say(f"{full.split('/')[0]} cannot be reached: making {stand_in}")
    _stand_in(buildah, full)
    (folder / "stand-in").touch()
    return stand_in


def _is_there(buildah: Sequence[str], name: str) -> bool:
    asked = [*buildah, "images", "--quiet", name]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def _stand_in(buildah: Sequence[str], name: str) -> None:
    """Make an image of Debian with its own Python 3.11, where the real one has Python's below /usr/local."""
    with tempfile.TemporaryDirectory(prefix="lookout-base-") as work:
        root = Path(work) / "root"
        include = f"--include={','.join(STAND_IN_PACKAGES)}"
        made = ["mmdebstrap", "--quiet", "--arch=arm64", "--variant=minbase", "--skip=check/qemu", include, SUITE]
        host.run([*made, str(root)], "mmdebstrap")
        _python(root / "usr/local")
        container = host.run([*buildah, "from", "--arch", "arm64", "scratch"], "buildah from").strip()
        host.run([*buildah, "add", container, str(root), "/"], "buildah add")
        path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        told = ["--arch", "arm64", "--env", path, "--env", "LANG=C.UTF-8", "--cmd", "python3"]
        host.run([*buildah, "config", *told, container], "buildah config")
        host.run([*buildah, "commit", "--format", "docker", "--rm", container, name], "buildah commit")


def _python(local: Path) -> None:
    """Have Python and pip where the real base has them; Debian's own pip would bring much that is slow to set up."""
    packages = local / f"lib/python{PYTHON}/dist-packages"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(packages), "pip"]
    host.run(install, "pip install pip")
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to(f"/usr/bin/python{PYTHON}")
    pip = local / "bin/pip"
    pip.write_text(
        "#!/usr/local/bin/python\nimport sys\n\nfrom pip import main\n\nsys.exit(main())\n", encoding="utf-8"
    )
    pip.chmod(0o755)
