"""The page's own files: what lies in the package's folder ``static``, and nothing else.

The names that are served are those that were there at the start; a path is looked up among them and never joined to a
folder. Nothing in them is secret. Each comes with a strong ETag, and is asked for again at each use.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from agent.errors import LookoutError

FOLDER = Path(__file__).parent / "static"

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


class NoFile(LookoutError):
    """There is no such file."""

    code = "not_found"


class StaticFiles:
    """See the module."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in KINDS
        }

    def read(self, name: str) -> tuple[bytes, str, str]:
        """Return a file's bytes, kind and ETag; reads the disk. Raises :class:`NoFile`."""
        path = self._files.get(name)
        if path is None:
            raise NoFile(f"there is no file {name[:64]!r} here")
        try:
            data = path.read_bytes()
        except OSError as error:  # taken away while the agent runs: an upgrade is under way
            raise NoFile(f"the file {name} cannot be read: {error.strerror}") from error
        return data, KINDS[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"'
