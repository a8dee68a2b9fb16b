"""Small ext4 file systems of a test's own: one that is filled and goes read-only, one on a drive that loses power.

**How a power cut is made.** :class:`FragileDisk` is a real ext4, journal and all, on a loop device on the drive of
:mod:`tests.faults.drive`, which answers ``/dev/fuse`` and keeps what is written in a cache until it is told to flush.
So two layers forget, as they do on a device: what no one synced is in the kernel's page cache and never reaches the
drive (ext4 commits by itself only every 300 s here, and neither orders data before names nor saves a file that was
renamed without a sync: ``commit=300,data=writeback,noauto_da_alloc``), and what ext4 wrote and did not flush reaches
the medium in any part or not at all. A cut freezes the medium at that instant, in the middle of an fsync if need be.
Names are lost as ext4 loses them: together and in order. A file system that forgets a name in a folder though a later
sync succeeded elsewhere would be harsher still; Linux has none.

All of it needs root, ``/dev/fuse`` and loop devices; where these are absent, tests are skipped with the reason.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

SIZE_BYTES = 24_000_000
FRAGILE_BYTES = 64 << 20
HARSH = "loop,commit=300,data=writeback,noauto_da_alloc,errors=remount-ro"
END_S = 5.0


def try_to(*command: str) -> None:
    """Run a command of root's; the test is skipped where it does not work."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is absent")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no file system can be mounted here: {error.stderr.strip()}")


class Disk:
    """A small ext4 of its own, on a file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._filler = folder, folder / "filler"
        self._image = folder.with_suffix(".img")

    def mount(self) -> None:
        self.folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        try_to("mkfs.ext4", "-q", str(self._image))
        try_to("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.folder))

    def remount(self, how: str) -> None:
        """``abort`` is what the kernel does by itself at an error of the medium: read-only, whatever is open."""
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.folder)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)

    def fill(self) -> None:
        """Take everything that is left, to the last byte."""
        fd = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for piece in (1 << 20, 4096, 1):
                while True:
                    try:
                        os.write(fd, b"x" * piece)
                    except OSError:
                        break
        finally:
            os.close(fd)

    def free(self) -> None:
        self._filler.unlink()


class FragileDisk:
    """An ext4 whose drive can lose its power, and can be made slow.

    ``folder`` is where it is mounted while it has power. It keeps what survived from one life to the next.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = folder.with_suffix(".img")
        self._file = folder.with_suffix(".drive")
        self._drive: subprocess.Popen[str] | None = None
        self._lives = 0
        self.folder.mkdir()
        self._file.touch()
        with self.image.open("wb") as file:
            file.truncate(FRAGILE_BYTES)
        try_to("mkfs.ext4", "-q", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0", str(self.image))

    def power_on(self) -> None:
        """Mount what survived; ext4 replays its journal."""
        assert self._drive is None
        self._drive = subprocess.Popen(
            [sys.executable, "-S", "-E", str(Path(__file__).with_name("drive.py")), str(self.image), str(self._file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        mount = ("mount", "-o", HARSH, str(self._file), str(self.folder))
        if self._lives:  # it works here: whatever fails now is a failure
            assert self._heard() == "ready"
            subprocess.run(mount, check=True)
        else:
            if self._heard() != "ready":
                said = self._drive.communicate()[1].strip().splitlines()
                pytest.skip(f"no drive can be served from here: {said[-1:]}")
            try_to(*mount)
        self._lives += 1

    def cut(self, seed: int) -> None:
        """Freeze the medium. To be called as soon as the signals are sent that end all who use it."""
        self._tell(f"cut {seed}")

    def slow(self, low_s: float, high_s: float) -> None:
        """Let every flush take that long from now on, and every write of the drive a tenth of it."""
        self._tell(f"slow {low_s} {high_s}")

    def power_off(self) -> None:
        """Unmount, once nobody uses it any more; after a cut nothing of that reaches the medium."""
        if self._drive is None:
            return
        drive, self._drive = self._drive, None
        for mounted in (self.folder, self._file):
            # Lazily: where the device had a mount namespace of its own, the kernel takes that down a little later.
            subprocess.run(["umount", "--lazy", str(mounted)], check=False, capture_output=True)
        assert drive.stdin is not None
        assert drive.stdout is not None
        assert drive.stderr is not None
        with contextlib.suppress(subprocess.TimeoutExpired):  # somebody's namespace holds a copy of the mount
            drive.wait(END_S)
        drive.kill()
        drive.wait()
        for stream in (drive.stdin, drive.stdout, drive.stderr):
            stream.close()

    def check(self) -> None:
        """Replay the journal and look that the file system is sound, as a device does at its boot."""
        done = subprocess.run(["e2fsck", "-f", "-p", str(self.image)], check=False, capture_output=True, text=True)
        assert done.returncode in (0, 1), f"ext4 itself is damaged: {done.stdout}"  # 1: orphans were freed

    def unmount(self) -> None:
        """End everything, whatever the test has left behind."""
        self.slow(0, 0)
        self.power_off()

    def _tell(self, command: str) -> None:
        if self._drive is None:
            return
        assert self._drive.stdin is not None
        self._drive.stdin.write(command + "\n")
        self._drive.stdin.flush()
        assert self._heard() == "done"

    def _heard(self) -> str:
        assert self._drive is not None
        assert self._drive.stdout is not None
        return self._drive.stdout.readline().strip()
