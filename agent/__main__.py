"""``python -m agent`` is ``lookout``."""

from agent.cli import main

if __name__ == "__main__":
    main()
