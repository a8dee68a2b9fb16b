"""``python -m tools.reference``: make the reference pages from the code; ``--check`` only tells which are stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent.errors import LookoutError
from tools.reference.pages import stale

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Return 0; with ``--check`` 1 where a page is stale; 2 where a page cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    wanted = parser.parse_args(arguments)
    try:
        wrong = stale(wanted.root)
    except (LookoutError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for path, text in sorted(wrong.items()):
        print(f"{'stale' if wanted.check else 'made'}: {path.relative_to(wanted.root)}")
        if not wanted.check:
            _bring(path, text)
    return 1 if wrong and wanted.check else 0


def _bring(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
