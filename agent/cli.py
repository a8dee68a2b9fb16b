"""The command ``lookout``. Thin: every command imports what it needs when it runs, and prints what it is told.

Nothing heavy may be imported here, because this module is loaded into the agent's own process. Exit codes: 0 fine,
1 failed, 2 usage or bad input, 3 degraded, 130 interrupted. Facts go to stdout, complaints to stderr.
"""

from __future__ import annotations

import enum
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from agent.errors import ConfigError, InputError, LookoutError
from agent.groups import LazyGroup

if TYPE_CHECKING:
    from agent.config.layers import Loaded

FAILED, BAD_INPUT, DEGRADED, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    name="lookout",
    cls=LazyGroup,
    help="Keeps signed, INT8 object detection alive on cameras nobody can walk up to.",
    epilog="Example: lookout check -c agent.yaml && lookout run -c agent.yaml",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[Path, typer.Option("-c", "--config", help="The configuration file.", show_default=False)]
OptionalConfig = Annotated[
    Path | None, typer.Option("-c", "--config", help="The agent's configuration file.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class LogLevel(str, enum.Enum):
    """What may be said for a level."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def main() -> None:
    """Run the command; the console script ``lookout``."""
    try:
        app(prog_name="lookout")
    except LookoutError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(FAILED)


def _fail(error: LookoutError) -> NoReturn:
    if isinstance(error, ConfigError):
        count = len(error.problems)
        typer.echo(f"{count} problem{'s' if count != 1 else ''} in the configuration:", err=True)
        for problem in error.problems:
            typer.echo(f"  {_printable(str(problem))}", err=True)
    else:
        typer.echo(_printable(error.message), err=True)
    sys.exit(BAD_INPUT if isinstance(error, InputError) else FAILED)


def _printable(text: str) -> str:
    """Return a text that cannot steer the terminal: it may quote anything."""
    return "".join(char if char.isprintable() or char == "\n" else "·" for char in text)


def _load(config: Path) -> Loaded:
    from agent.config.layers import load

    return load(config, os.environ)


@app.command()
def run(config: ConfigOption) -> None:
    """Run the agent in the foreground, until SIGTERM or Ctrl-C.

    Example: lookout run -c /etc/lookout/agent.yaml
    """
    from agent import lean  # before anything that imports structlog: it keeps Rich and asyncio out

    lean.share_one_arena()
    from agent.app import run as run_agent

    raise typer.Exit(run_agent(config))


@app.command()
def check(
    config: OptionalConfig = None,
    explain: Annotated[
        str | None, typer.Option("--explain", metavar="KEY", help="Explain a key instead, such as mqtt.port.")
    ] = None,
    json: Json = False,
) -> None:
    """Check a configuration file and say everything that is wrong with it; or explain a key.

    Examples: lookout check -c agent.yaml · lookout check --explain pipelines.*.score
    """
    from agent.config import present

    if (config is None) == (explain is None):
        raise typer.BadParameter("give a file with -c, or a key with --explain")
    if explain is not None:
        raise typer.Exit(present.explain(explain, as_json=json))
    assert config is not None
    raise typer.Exit(present.check(config, os.environ, as_json=json))


@app.command()
def status(
    config: OptionalConfig = None,
    socket: Annotated[Path | None, typer.Option("--socket", help="The agent's socket.", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again, until q is pressed.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.2, max=3600, help="Seconds between two looks.")] = 1.0,
    json: Json = False,
) -> None:
    """Show what the running agent does; exit 3 when it is degraded, 1 when none answers.

    Examples: lookout status · lookout status --watch · lookout status -c agent.yaml --json
    """
    from agent.supervise import present

    path = socket or present.socket_path(os.environ, None if config is None else _load(config))
    if watch:
        from agent.supervise.presentwatch import watch as watch_on

        raise typer.Exit(watch_on(path, every_s=every, as_json=json))
    raise typer.Exit(present.status(path, as_json=json))


@app.command()
def doctor(config: OptionalConfig = None, json: Json = False) -> None:
    """Look at all that the device needs, and say what to do; exit 3 when something does not work.

    Examples: sudo lookout doctor · lookout doctor -c agent.yaml --json
    """
    from agent.doctor.command import doctor as look

    raise typer.Exit(look(config, os.environ, as_json=json))


@app.command()
def logs(
    config: OptionalConfig = None,
    socket: Annotated[Path | None, typer.Option("--socket", help="The agent's socket.", show_default=False)] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is logged from now on.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, max=1000, help="Most lines that were kept.")] = 50,
    level: Annotated[LogLevel, typer.Option("--level", help="Least level that is shown.")] = LogLevel.DEBUG,
    part: Annotated[
        str | None, typer.Option("--part", help="Only this part of the agent, or this child.", show_default=False)
    ] = None,
    grep: Annotated[
        str | None, typer.Option("--grep", help="Only records with this text in them.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Show what the running agent logged of late; older lines are in the journal or in logs.file.

    Examples: lookout logs -f --level warning · lookout logs --part deploy --json
    """
    from agent.supervise import present, presentlogs

    path = socket or present.socket_path(os.environ, None if config is None else _load(config))
    asked = presentlogs.Asked(lines, level.value, part, grep, follow)
    raise typer.Exit(presentlogs.logs(path, asked, as_json=json))


@app.command()
def provision(
    root: Annotated[
        Path, typer.Option("--root", help="The registry's root.json, got in a way that you trust.", show_default=False)
    ],
    config: OptionalConfig = None,
    state: Annotated[Path | None, typer.Option("--state", help="The agent's state folder.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the root of another registry.")] = False,
) -> None:
    """Tell this device which registry to trust.

    Example: lookout provision --root root.json -c /etc/lookout/agent.yaml
    """
    if (config is None) == (state is None):
        raise typer.BadParameter("give the agent's file with -c, or its state folder with --state")
    from agent.config.places import places
    from agent.registry.provision import provision as install

    folder = state if state is not None else places(os.environ, _load(config) if config else None).state
    done = install(root, folder, force=force)
    verb = "trusts" if done.changed else "already trusts"
    typer.echo(
        f"This device {verb} root version {done.version} ({done.threshold} of {done.keys} keys, "
        f"until {done.expires:%Y-%m-%d}): {done.path}"
    )


@app.command()
def version(json: Json = False) -> None:
    """Print the version of the agent, and of what it stands on.

    Example: lookout version --json
    """
    from agent.versions import versions

    found = versions()
    if json:
        import json as encoder

        typer.echo(encoder.dumps(found))
    else:
        typer.echo("\n".join(f"{name} {number}" for name, number in found.items()))
