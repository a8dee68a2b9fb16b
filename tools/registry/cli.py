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
from tools.registry.output import models_facts, models_table, passphrases, progress_bar, status_facts, status_tables
from tools.terminal import console, log_to_stderr, print_json, reporting

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


@app.command(
    epilog="Example: lookout registry yank registry faces:1.1.0 --reason 'misses people in the rain' --keys keys; "
    "and back: lookout registry yank registry faces:1.1.0 --undo --keys keys"
)
def yank(
    registry: RegistryDir,
    reference: Annotated[str, typer.Argument(metavar="MODEL:VERSION")],
    keys: KeysDir,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; devices and people are shown it.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="The version is good again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Mark a version as one that nobody should take any more.

    It stays in the registry. No device resolves to it any more; one that runs it warns or rolls back (deploy.on_yank).
    """
    from tools.registry.maintain import yank as yank_version

    with reporting():
        named = parse_reference(reference)
        if named.kind != "version":
            raise InputError(f"{reference!r} names no version; write MODEL:VERSION, e.g. faces:1.1.0")
        if undo is (reason is not None):
            raise InputError("give either --reason WHY or --undo")
        index = yank_version(registry, Keys(keys, passphrases()), named.model, named.value, reason)
    if as_json:
        print_json(models_facts((index,)))
        return
    console.print(f"{named} is good again." if undo else f"{named} is yanked.")
    for name, version in index.channels.items():
        if version == named.value and not undo:
            console.print(
                f"warning: channel {name} points to it; move it: lookout registry channel {escape(str(registry))} "
                f"{named.model}@{name} VERSION --keys {escape(str(keys))}",
                style="yellow",
            )


@app.command(
    epilog="Example: lookout registry rotate registry --keys keys (only a longer life); or "
    "lookout registry rotate registry --role timestamp --role snapshot --keys keys; or "
    "lookout registry rotate registry --role root --root-keys 3 --root-threshold 2 --keys keys"
)
def rotate(
    registry: RegistryDir,
    keys: KeysDir,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="Give this role new keys: root, targets, snapshot or timestamp; may be repeated."),
    ] = None,
    root_keys: Annotated[int | None, typer.Option(help="With --role root: how many root keys to make.")] = None,
    root_threshold: Annotated[int | None, typer.Option(help="With --role root: how many of them must sign.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sign a new root: new keys for roles, or only a longer life for the root.

    Needs enough of the old root keys. Devices follow by themselves, from any older root; nothing is provisioned anew.
    """
    from tools.registry.rotate import rotate as rotate_roles

    with reporting():
        done = rotate_roles(
            registry, Keys(keys, passphrases()), role or (), root_keys=root_keys, root_threshold=root_threshold
        )
    if as_json:
        print_json(asdict(done))
        return
    what = f"new keys for {', '.join(done.roles)}" if done.roles else "a longer life"
    console.print(f"Root {done.version} is signed ({what}); it ends {done.expires:%Y-%m-%d %H:%M} UTC.")
    for path in done.retired:
        console.print(f"No role names {escape(str(path))} any more: destroy it once the registry is in place.")


@app.command(epilog="Example: lookout registry export registry /media/usb/registry --valid-for 60d --keys online-keys")
def export(
    registry: RegistryDir,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; empty, or an earlier export.")],
    keys: KeysDir,
    valid_for: Annotated[str, typer.Option("--valid-for", help="How long it must be good for: 12h, 60d, 8w.")],
    as_json: AsJson = False,
) -> None:
    """Copy the registry to a USB stick, with the same trust, signed for as long as the journey takes.

    On the device: registry.url: file:///media/usb/registry. A device that has seen a newer registry refuses the stick.
    """
    from tools.registry.export import export as export_registry
    from tools.registry.export import parse_duration

    with reporting():
        done = export_registry(registry, Keys(keys, passphrases()), folder, parse_duration(valid_for))
    if as_json:
        print_json(asdict(done))
    else:
        console.print(
            f"{escape(str(folder))} holds {done.releases} releases ({done.copied_bytes / 1e6:.1f} MB copied), good "
            f"until {done.valid_until:%Y-%m-%d %H:%M} UTC."
        )


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
