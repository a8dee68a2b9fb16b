"""``python -m tools.arm64``."""

from tools.arm64.cli import app

if __name__ == "__main__":
    app()
