"""The pictures that a release is timed on. Blocks: job lanes only."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import StorageError
from agent.registry.store import StoredRelease
from agent.types import InputSpec


@contextmanager
def timing_pictures(stored: StoredRelease, variant: int) -> Iterator[list[Path]]:
    """Lend a release's golden images or, without any, a black picture."""
    with tempfile.TemporaryDirectory(prefix="lookout-trial-") as folder:
        spec = stored.manifest.spec(variant, stored.id.digest)
        pictures = [stored.path(one.image) for one in stored.manifest.golden]
        yield pictures or [black_picture(Path(folder), spec.input)]


def black_picture(folder: Path, model_input: InputSpec) -> Path:
    """Write a black picture of the model's input size (PPM: no library is needed). Raises :class:`StorageError`."""
    path = folder / "black.ppm"
    header = f"P6 {model_input.width} {model_input.height} 255\n".encode()
    try:
        path.write_bytes(header + bytes(3 * model_input.width * model_input.height))
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}; free disk space") from error
    return path
