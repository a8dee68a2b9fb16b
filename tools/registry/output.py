"""What the registry's commands print: tables, facts, progress while bytes count."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from agent.registry.index import Index
from tools.registry.keys import Passphrase, passphrase_from_environment
from tools.registry.status import RegistryStatus
from tools.terminal import console, errors

SOON_DAYS = 7


def passphrases() -> Passphrase:
    """Ask for the passphrase of an encrypted key, once, where the environment holds none and a person is there."""
    asked: list[bytes] = []

    def ask(path: Path) -> bytes | None:
        found = passphrase_from_environment(path)
        if found is not None or not console.is_terminal:
            return found
        if not asked:
            asked.append(str(typer.prompt(f"Passphrase of {path}", hide_input=True)).encode())
        return asked[0]

    return ask


@contextlib.contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show what is being done, with a bar while bytes count; nothing where ``quiet`` or no terminal is there."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=errors, transient=True, disable=quiet or not errors.is_terminal) as bar:
        task = bar.add_task("checking", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield show


def status_tables(found: RegistryStatus) -> Iterator[Table]:
    """Yield the tables of ``registry status``."""
    roles = Table(title="roles", title_justify="left")
    for column in ("role", "version", "expires (UTC)", "days left", "keys", "threshold"):
        roles.add_column(column, justify="left" if column in ("role", "expires (UTC)") else "right")
    for role in found.roles:
        style = "red" if role.days_left <= 0 else "yellow" if role.days_left < SOON_DAYS else None
        expires = role.expires.strftime("%Y-%m-%d %H:%M")
        days = f"{role.days_left:.1f}" if role.days_left > 0 else "expired"
        cells = (role.role, str(role.version), expires, days, str(role.keys), str(role.threshold))
        roles.add_row(*cells, style=style)
    yield roles
    yield models_table(found.models)


def models_table(models: tuple[Index, ...]) -> Table:
    """Return the table of models, newest version first."""
    table = Table(title="models", title_justify="left")
    for column in ("model", "version", "published", "channels", "yanked"):
        table.add_column(column)
    for index in models:
        for version in index.newest_first():
            entry = index.versions[version]
            channels = ", ".join(sorted(name for name, points in index.channels.items() if points == version))
            table.add_row(index.model, version, entry.published, channels, entry.yanked or "")
        table.add_section()
    return table


def status_facts(found: RegistryStatus) -> dict[str, Any]:
    """Return the facts of ``registry status --json``."""
    roles = {
        role.role: {
            "version": role.version,
            "expires": role.expires,
            "days_left": round(role.days_left, 2),
            "keys": role.keys,
            "threshold": role.threshold,
        }
        for role in found.roles
    }
    return {"roles": roles, "models": models_facts(found.models)}


def models_facts(models: tuple[Index, ...]) -> dict[str, Any]:
    """Return models, versions and channels for a program."""
    return {
        index.model: {
            "versions": {
                version: {"published": index.versions[version].published, "yanked": index.versions[version].yanked}
                for version in index.newest_first()
            },
            "channels": dict(sorted(index.channels.items())),
        }
        for index in models
    }
