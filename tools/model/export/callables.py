"""A person's own code: ``module:callable`` or ``file.py:callable``, imported and called without arguments."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from agent.errors import InputError
from tools.model.export.troubles import foreign

_PATTERN = re.compile(r"^(?P<module>[^:\s]+):(?P<name>[A-Za-z_][\w.]*)$")


def looks_like_one(text: str) -> bool:
    """Say whether ``text`` is written as ``module:callable``."""
    return _PATTERN.match(text) is not None


def build(text: str) -> Any:
    """Return what the callable returns. Raises :class:`InputError`: no such module or callable, or it raised."""
    function = resolve(text)
    with foreign(f"{text} raised"):
        return function()


def resolve(text: str) -> Callable[[], Any]:
    """Return the callable. Raises :class:`InputError`."""
    match = _PATTERN.match(text)
    if match is None:
        raise InputError(f"{text}: is not module:callable, such as nets.yard:build")
    module = import_module(match["module"])
    found: Any = module
    for name in match["name"].split("."):
        if not hasattr(found, name):
            near = difflib.get_close_matches(name, dir(found), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"{text}: {match['module']} has no {name}{hint}")
        found = getattr(found, name)
    if not callable(found):
        raise InputError(f"{text}: is {type(found).__name__}, not something that can be called")
    return found  # type: ignore[no-any-return]


def import_module(name: str) -> ModuleType:
    """Import a module by its dotted name (the working folder is searched first) or by its file's path."""
    if name.endswith(".py"):
        return _import_file(Path(name))
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        known = importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):
        known = False
    if not known:
        raise InputError(f"{name}: there is no such module, neither in {here} nor installed")
    with foreign(f"importing {name} raised"):
        return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    folder = os.fspath(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # so that it finds its neighbours
    sys.modules[path.stem] = module  # what it defines may be looked up by name
    with foreign(f"importing {path} raised"):
        spec.loader.exec_module(module)
    return module
