"""Whose key signs a run, and whose keys a check trusts: the user's folder of keys, the environment, a passphrase.

A run is signed with the key that ``$GRANDMODEL_SIGNING_KEY`` names, else with the user's own, which is made at first use. A passphrase
locks it where one is to be had: from ``$GRANDMODEL_SIGNING_PASSPHRASE``, or, where the package ``keyring`` and a key store of the
system are there, a random one that the store keeps. Otherwise the file's mode (0600) protects it.
"""

from __future__ import annotations

import os
import secrets
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grandmodel.cli.output import console
from grandmodel.domain.errors import UsageError
from grandmodel.domain.paths import local_path

if TYPE_CHECKING:
    from grandmodel.journal.keys import KeyFolder, PublicKey, SigningKey

KEY_VARIABLE = "GRANDMODEL_SIGNING_KEY"
"""Environment variable with the path of a private key of `grandmodel audit key`, instead of the user's own."""
PASSPHRASE_VARIABLE = "GRANDMODEL_SIGNING_PASSPHRASE"  # noqa: S105  the variable's name
"""Environment variable with the passphrase of the key."""
_STORE_SERVICE = "grandmodel signing key"

UnsignedOption = Annotated[
    bool,
    typer.Option("--unsigned", help="Sign nothing: the run then proves only that nothing was changed by accident."),
]


def run_signer(*, unsigned: bool) -> SigningKey | None:
    """The key that signs a run; None where the user wants none. The user's own is made where there is none yet."""
    from grandmodel.journal.keys import SigningKey

    if unsigned:
        console.print("warning: this run is UNSIGNED, it proves only accidental change", style="yellow")
        return None
    named = os.environ.get(KEY_VARIABLE)
    if named:
        path = local_path(named, KEY_VARIABLE)
        return SigningKey.load(path, lambda: _passphrase(path))
    keys = _key_folder()
    try:
        key = keys.own(lambda: _passphrase(keys.own_path))
        if key is not None:
            return key
        _make_own(keys)
        key = keys.own(lambda: _passphrase(keys.own_path))
    except UsageError as error:
        raise UsageError(
            f"{error}. Runs are signed: mend that, name another key in ${KEY_VARIABLE}, or give --unsigned"
        ) from error
    if key is None:
        raise UsageError(f"{keys.own_path}: found no key, though one was made a moment ago: is something deleting it?")
    return key


def trusted_keys() -> dict[str, tuple[str, PublicKey]]:
    """The public keys that the user trusts, by id, each with its name; the key in the environment is one's own too."""
    from grandmodel.journal.keys import OWN, PublicKey

    found = _key_folder().known()
    named = os.environ.get(KEY_VARIABLE)
    if named:
        beside = local_path(f"{named}.pub", KEY_VARIABLE)
        if beside.exists():
            key = PublicKey.load(beside)
            found[key.key_id] = (OWN, key)
    return found


def own_folder() -> KeyFolder:
    """The user's folder of keys."""
    return _key_folder()


def _key_folder() -> KeyFolder:
    from grandmodel.journal.keys import KeyFolder

    folder = KeyFolder.of_user(os.environ)
    local_path(folder.folder, "XDG_CONFIG_HOME")
    return folder


def _make_own(keys: KeyFolder) -> None:
    passphrase = os.environ.get(PASSPHRASE_VARIABLE, "")
    store = _key_store()
    if not passphrase and store is not None:
        passphrase = secrets.token_urlsafe(32)
        store.set_password(_STORE_SERVICE, str(keys.own_path), passphrase)
    keys.make_own(passphrase.encode() or None)
    console.print(
        f"note: made the key that signs your runs, {keys.own_path}. Give {keys.own_path}.pub to those who check them, and keep a copy "
        "of the key: runs signed with it can be told from others only by it",
        soft_wrap=True,
    )


def _passphrase(path: Path) -> bytes | None:
    """The passphrase of the key at ``path``: from the environment, the system's key store, or the person at the terminal."""
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given:
        return given.encode()
    store = _key_store()
    kept = store.get_password(_STORE_SERVICE, str(path)) if store is not None else None
    if kept:
        return str(kept).encode()
    if sys.stdin.isatty():
        return str(typer.prompt(f"passphrase of {path}", hide_input=True, err=True)).encode()
    return None


def _key_store() -> Any | None:
    """The system's key store through the package ``keyring``; None where either is not there."""
    try:
        keyring = import_module("keyring")
    except ImportError:
        return None
    store = keyring.get_keyring()
    return store if float(store.priority) > 0 else None
