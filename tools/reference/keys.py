"""The page of all keys of the configuration. Pure."""

from __future__ import annotations

from agent.config import describe
from agent.config.describe import Key
from tools.reference.text import table

_HEAD = """\
# Every key of the configuration

Made from the schema by `make docs`. [`configuration.md`](configuration.md) says how these keys reach a device, what
*applies* and *remote* mean, and what becomes of a change; `lookout check --explain KEY` says the same of one key at the
terminal. `*` stands for a name of your own. For editors there is a JSON Schema:
[`schemas/config.json`](schemas/config.json).
"""

TABLE = describe.keys()


def key_page() -> str:
    """Return ``docs/config-keys.md``: a table for each section."""
    found: dict[str, list[Key]] = {}
    for key in TABLE:
        found.setdefault(key.place[0], []).append(key)
    return _HEAD + "".join(_section(name, keys) for name, keys in found.items())


def _section(name: str, keys: list[Key]) -> str:
    rows = [_row(key) for key in keys if not key.section or len(keys) == 1 or key.place[-1] != name]
    first = keys[0]
    said = f"{first.description}\n\n" if first.section else ""
    return f"\n## {name}\n\n{said}{table(('key', 'what it is for', 'type', 'default', 'applies', 'remote'), rows)}"


def _row(key: Key) -> tuple[str, ...]:
    kinds = f" ({', '.join(key.kinds)})" if key.kinds else ""
    bounds = bounds_of(key)
    return (
        f"`{key.path}`{kinds}",
        key.description,
        f"{key.type}, {bounds}" if bounds else key.type,
        "" if key.section else key.default,
        key.applies,
        "yes" if key.remote else "",
    )


def bounds_of(key: Key) -> str:
    """Return the bounds of a key's numbers and of its number of entries; not those of texts, nor the form of names."""
    low, high, rest = "", "", []
    for part in key.bounds.split(", "):
        if part.startswith("≥ ") and part[2:].replace(".", "").isdigit():
            low = part[2:]
        elif part.startswith("≤ ") and part[2:].replace(".", "").isdigit():
            high = part[2:]
        elif part.startswith(("> ", "≥ ", "≤ ")) and not part.endswith("characters"):
            rest.append(part)
    both = f"{low} to {high}" if low and high else f"≤ {high}" if high else f"≥ {low}" if low else ""
    return ", ".join(filter(None, (*rest, both)))
