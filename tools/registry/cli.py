"""``lookout registry``: a thin layer over the functions of this package."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from agent.errors import InputError
from agent.registry.reference import parse_reference
from tools.registry.keys import PASSPHRASE_VARIABLE, Keys
from tools.registry.output import (
    console,
    log_to_stderr,
    models_facts,
    models_table,
    passphrases,
    print_json,
    progress_bar,
    reporting,
    status_facts,
    status_tables,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

RegistryDir = Annotated[Path, typer.Argument(metavar="REGISTRY_DIR", help="Folder of the registry.")]
KeysDir = Annotated[
    Path,
    typer.Option("--keys", metavar="KEYS_DIR", help=f"Folder of private keys. {PASSPHRASE_VARIABLE} decrypts them."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


@app.callback()
def registry_commands() -> None:
    """Make, fill and serve a registry of signed models."""
    log_to_stderr()


@app.command(epilog="Example: lookout registry init registry --keys keys --root-keys 3 --root-threshold 2")
def init(
    registry: RegistryDir,
    keys: KeysDir,
    root_keys: Annotated[int, typer.Option(help="How many root keys to make.")] = 1,
    root_threshold: Annotated[int, typer.Option(help="How many of them must sign a root.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Make keys and an empty registry, and the root.json that devices are provisioned with."""
    from tools.registry.init import init_registry

    with reporting():
        made = init_registry(registry, Keys(keys, passphrases()), root_keys=root_keys, root_threshold=root_threshold)
        if as_json:
            print_json(asdict(made))
            return
        console.print(
            f"Registry in {escape(str(registry))}, keys in {escape(str(keys))} (keep root and targets offline)."
        )
        console.print(f"On each device: lookout provision --root {escape(str(made.root))}")


@app.command(
    epilog="Example: lookout registry publish registry --keys keys --manifest out/manifest.json --channel stable"
)
def publish(
    registry: RegistryDir,
    keys: KeysDir,
    manifest: Annotated[Path, typer.Option("--manifest", help="manifest.json, its files beside it.")],
    channel: Annotated[str | None, typer.Option(help="Let this channel point to the release.")] = None,
    golden: Annotated[bool, typer.Option("--golden/--no-golden", help="Run the golden images.")] = True,
    as_json: AsJson = False,
) -> None:
    """Check a release and publish it; a version is never overwritten."""
    from tools.registry.publish import publish as publish_release

    with reporting(), progress_bar(quiet=as_json) as show:
        done = publish_release(
            registry, Keys(keys, passphrases()), manifest, channel=channel, golden=golden, on_progress=show
        )
    if as_json:
        print_json(asdict(done))
        return
    for warning in done.warnings:
        console.print(f"warning: {escape(warning)}", style="yellow")
    where = f", channel {done.channel}" if done.channel else ""
    console.print(f"Published {done.model}:{done.version} ({done.size_bytes / 1e6:.1f} MB, {done.digest[:12]}){where}.")


@app.command(epilog="Example: lookout registry channel registry faces@stable 1.1.0 --keys keys")
def channel(
    registry: RegistryDir,
    reference: Annotated[str, typer.Argument(metavar="MODEL@CHANNEL")],
    version: Annotated[str, typer.Argument(metavar="VERSION")],
    keys: KeysDir,
    as_json: AsJson = False,
) -> None:
    """Let a channel point to a version."""
    from tools.registry.maintain import set_channel

    with reporting():
        named = parse_reference(reference)
        if named.kind != "channel":
            raise InputError(f"{reference!r} names no channel; write MODEL@CHANNEL, e.g. faces@stable")
        index = set_channel(registry, Keys(keys, passphrases()), named.model, named.value, version)
    if as_json:
        print_json(models_facts((index,)))
    else:
        console.print(f"{named} is now {version}.")


@app.command(epilog="Example: lookout registry refresh registry --keys online-keys")
def refresh(registry: RegistryDir, keys: KeysDir, as_json: AsJson = False) -> None:
    """Sign snapshot and timestamp anew, so that the registry does not expire; needs only their keys."""
    from tools.registry.maintain import refresh as refresh_registry

    with reporting():
        until = refresh_registry(registry, Keys(keys, passphrases()))
    if as_json:
        print_json({"valid_until": until})
    else:
        console.print(f"Signed anew; the first role ends {until:%Y-%m-%d %H:%M} UTC.")


@app.command(epilog="Example: lookout registry status registry")
def status(registry: RegistryDir, as_json: AsJson = False) -> None:
    """Show roles with the days they are still good for, models, versions and channels."""
    from tools.registry.status import status as registry_status

    with reporting():
        found = registry_status(registry)
    if as_json:
        print_json(status_facts(found))
    else:
        console.print(*status_tables(found), sep="\n")


@app.command(epilog="Example: lookout registry ls registry faces")
def ls(
    registry: RegistryDir,
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    as_json: AsJson = False,
) -> None:
    """List models, versions and channels."""
    from tools.registry.status import status as registry_status

    with reporting():
        models = registry_status(registry).models
        if model is not None:
            there = ", ".join(index.model for index in models) or "none"
            models = tuple(index for index in models if index.model == model)
            if not models:
                raise InputError(f"{registry} has no model {model!r}; there is {there}")
    if as_json:
        print_json(models_facts(models))
    else:
        console.print(models_table(models))


@app.command(epilog="Example: lookout registry serve registry --port 8080 --refresh --keys keys")
def serve(
    registry: RegistryDir,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8080,
    refresh: Annotated[bool, typer.Option("--refresh", help="Sign anew every few hours (needs --keys).")] = False,
    keys: Annotated[Path | None, typer.Option("--keys", metavar="KEYS_DIR", help="Folder of private keys.")] = None,
) -> None:
    """Serve a registry on loopback, for development; in production any static web server does."""
    from tools.registry.serve import RegistryServer

    with reporting():
        if refresh and keys is None:
            raise InputError("--refresh signs, so it needs --keys KEYS_DIR")
        signing = Keys(keys, passphrases()) if refresh and keys is not None else None
        server = RegistryServer(registry, port=port, keys=signing)
    with server:
        console.print(f"Serving {escape(str(registry))} at {server.url}; press Ctrl-C to stop.")
        try:
            server.wait()
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
