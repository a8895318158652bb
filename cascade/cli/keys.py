"""`cascade keys new|ls|rm`: the keys of those who may use the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from cascade.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Keys for `cascade serve`.\n\nExample: cascade keys new --tenant acme --expires-in 90d",
)

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST_S = 100 * 366 * 86_400

_File = Annotated[Path, typer.Option("--keys", "-k", help="File of keys.")]
_DEFAULT = Path("keys.json")


@app.command("new")
def new_command(
    tenant: Annotated[
        str | None, typer.Option(help="Whose asks come with it: budgets and limits are theirs.")
    ] = None,
    ladder: Annotated[
        list[str] | None, typer.Option(help="Name of a ladder it may ask. Default: all.")
    ] = None,
    name: Annotated[str, typer.Option(help="What it is for; shown in lists.")] = "",
    expires_in: Annotated[
        str | None, typer.Option(help="When it expires: 90d, 12h, 30m. Default: never.")
    ] = None,
    keys: _File = _DEFAULT,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Make a key and print it. It is shown this once: the file keeps a digest.

    Running servers take it up within a second.

    Example: cascade keys new --tenant acme --ladder support --expires-in 90d
    """
    from cascade.server.keys import change_keys, new_key

    secret, key = new_key(
        tenant=tenant,
        ladders=ladder or (),
        name=name,
        expires_in_s=None if expires_in is None else _seconds(expires_in),
    )
    change_keys(keys, lambda present: (*present, key))
    if json:
        print(msgspec.json.encode({"key": secret, "id": key.id, "expires": key.expires}).decode())
    else:
        print(secret)


@app.command("ls")
def ls_command(
    keys: _File = _DEFAULT,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a key.")] = False,
) -> None:
    """List the keys.

    Example: cascade keys ls
    """
    from cascade.server.keys import read_keys

    found = read_keys(keys)
    if json:
        for key in found:
            told = {k: v for k, v in msgspec.to_builtins(key).items() if k != "sha256"}
            print(msgspec.json.encode(told).decode())
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "name", "tenant", "ladders", "created", "expires"):
        table.add_column(column)
    for key in found:
        table.add_row(
            key.id,
            key.name or "-",
            key.tenant or "-",
            ", ".join(key.ladders) or "all",
            key.created[:10],
            "never" if key.expires is None else key.expires[:16].replace("T", " "),
        )
    Console(width=None if Console().is_terminal else 200).print(table)


@app.command("rm")
def rm_command(
    ids: Annotated[list[str], typer.Argument(help="Ids of keys, as `cascade keys ls` shows them.")],
    keys: _File = _DEFAULT,
) -> None:
    """Revoke keys. Running servers refuse them within a second.

    Example: cascade keys rm 3f2a91c0b7de
    """
    from cascade.server.keys import Key, change_keys

    def without(present: tuple[Key, ...]) -> list[Key]:
        missing = sorted(set(ids) - {key.id for key in present})
        if missing:
            raise ConfigError(f"{keys}: no key {missing[0]!r:.40}; nothing was removed")
        return [key for key in present if key.id not in ids]

    change_keys(keys, without)
    print(f"{len(set(ids)):,} {'key' if len(set(ids)) == 1 else 'keys'} removed")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    seconds = int(found.group(1)) * _SECONDS[found.group(2)] if found else 0
    if not 0 < seconds <= _LONGEST_S:
        raise ConfigError(f"--expires-in: {text!r:.40} given; allowed: such as 90d, 12h, 30m")
    return seconds
