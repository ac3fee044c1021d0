"""``grandmodel audit``: is a run's journal what was written, and does running it again give the same records?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grandmodel.cli.output import JsonFlag, console, print_json, stdout
from grandmodel.domain.errors import UsageError

if TYPE_CHECKING:
    from grandmodel.compliance.verification import VerifyReport
    from grandmodel.runtime.replay import ReplayReport

app = typer.Typer(help="Integrity of a run's journal, and running it again.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or its name under runs/.")]


@app.command("verify")
def verify_command(
    run: RunArgument,
    public_key: Annotated[
        Path | None, typer.Option(help="PEM file: every checkpoint must be signed with its private half.")
    ] = None,
    expect: Annotated[
        str | None, typer.Option(help="RECORDS:ROOT kept from an earlier check; the run must begin with it.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check every byte of a run's journal: changes, gaps, a cut tail, checkpoints, the seal. Exit code 1 where found."""
    from grandmodel.compliance.keys import PublicKey
    from grandmodel.compliance.verification import Expected, verify_run
    from grandmodel.runtime.feeds import StoreResolver

    with console.status("verifying"):
        report = verify_run(
            _folder(run),
            public_key=None if public_key is None else PublicKey.load(public_key),
            expected=None if expect is None else Expected.parse(expect),
            resolver=StoreResolver(),
        )
    if as_json:
        print_json(report)
    else:
        _show_verified(report)
    raise typer.Exit(0 if report.intact else 1)


@app.command("replay")
def replay_command(run: RunArgument, as_json: JsonFlag = False) -> None:
    """Run a journal again and compare every record byte for byte. Exit code 1 where one differs."""
    from grandmodel import __version__
    from grandmodel.compliance.journal_file import JournalReader
    from grandmodel.runtime.feeds import StoreResolver
    from grandmodel.runtime.inputs import InputEngine
    from grandmodel.runtime.replay import replay

    folder = _folder(run)
    engine = InputEngine()
    with (
        _damage_explained(folder, outside=True),
        JournalReader.open(folder, StoreResolver()) as reader,
        console.status("replaying"),
    ):
        report = replay(reader, engine)
    if not report.inputs and not report.records and report.equal:
        raise UsageError(f"{folder}: found a journal without an input and without a record, there is nothing to replay")
    if engine.begin is not None and engine.begin.code_version != __version__:
        console.print(f"note: the run was made by version {engine.begin.code_version}, this is {__version__}")
    if not report.equal:
        _warn_if_changed(folder, outside=True)
    if as_json:
        print_json(report)
    else:
        _show_replayed(report)
    raise typer.Exit(0 if report.equal else 1)


@app.command("prove")
def prove_command(
    run: RunArgument,
    number: Annotated[int, typer.Argument(help="The record's number.")],
    records: Annotated[
        int | None,
        typer.Option(help="Lead to the root over so many records: those of a checkpoint, or of a kept root."),
    ] = None,
) -> None:
    """Print, as JSON, one record and the hashes that show that it is in a run, for one who has only the run's root."""
    from grandmodel.compliance.proofs import prove_record

    folder = _folder(run)
    with _damage_explained(folder):
        proof = prove_record(folder, number, records)
    # What is proven is this record under this root; the rest of the journal may still not be what was written.
    _warn_if_changed(folder)
    print_json(proof)


@app.command("check-proof")
def check_proof_command(
    file: Annotated[Path, typer.Argument(help="A proof that `audit prove` printed.")],
    expect: Annotated[str, typer.Option(help="RECORDS:ROOT that you trust.")],
) -> None:
    """Check a proof against a root that you trust; needs no run. Exit code 1 where it does not hold."""
    import msgspec

    from grandmodel.compliance.proofs import RecordProof, is_proven
    from grandmodel.compliance.verification import Expected

    trusted = Expected.parse(expect)
    try:
        proof = msgspec.json.decode(file.read_bytes(), type=RecordProof)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: expected a proof as `audit prove` prints it ({error})") from error
    holds = is_proven(proof) and (proof.records, proof.root) == (trusted.records, trusted.root)
    typer.echo(f"record {proof.number} of run {proof.run}: " + ("proven" if holds else "not proven by this root"))
    raise typer.Exit(0 if holds else 1)


@app.command("key")
def key_command(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; the public one goes beside it, as .pub.")],
) -> None:
    """Make an Ed25519 key for signing checkpoints."""
    from grandmodel.compliance.keys import SigningKey

    key = SigningKey.create(file)
    typer.echo(f"key {key.key_id}: private {file} (mode 0600), public {file}.pub")


def _folder(run: str) -> Path:
    named = Path(run)
    places = [named] if named.is_absolute() or len(named.parts) > 1 else [named, Path("runs") / run]
    for folder in places:
        if folder.is_dir():
            return folder
    looked = " and no ".join(str(place) for place in places)
    raise UsageError(f"found no folder {looked}, expected the folder of a run")


@contextmanager
def _damage_explained(folder: Path, *, outside: bool = False) -> Iterator[None]:
    """What goes wrong while a changed journal is read becomes a message that names the change; the rest goes on as it was.

    ``outside``: also hold rows that a store keeps for the journal against their hashes.
    """
    from grandmodel.compliance.errors import JournalDamagedError

    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        changed = _first_finding(folder, outside=outside)
        if not changed:
            raise
        text = f"the journal does not verify, `grandmodel audit verify {folder}` finds {changed}; it led to: {error}"
        raise JournalDamagedError(text) from error


def _warn_if_changed(folder: Path, *, outside: bool = False) -> None:
    changed = _first_finding(folder, outside=outside)
    if changed:
        console.print(
            f"warning: this journal does not verify, `grandmodel audit verify {folder}` finds {changed}",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


def _first_finding(folder: Path, *, outside: bool) -> str:
    """What ``audit verify`` would name first, and how many more; empty where the journal is intact."""
    from grandmodel.compliance.verification import text_of_finding, verify_run
    from grandmodel.runtime.feeds import StoreResolver

    with console.status("verifying"):
        report = verify_run(folder, resolver=StoreResolver() if outside else None)
    if report.intact:
        return ""
    more = f" (and {report.findings_total - 1} more)" if report.findings_total > 1 else ""
    return text_of_finding(report.findings[0]) + more


def _show_verified(report: VerifyReport) -> None:
    verdict = "[green]intact[/]" if report.intact else "[bold red]changed[/]"
    stdout.print(f"run {report.run}: {verdict}, {'ended' if report.ended else 'not ended'}")
    stdout.print(
        f"  {report.inputs} inputs, {report.records} records, {report.contents} contents, {report.checkpoints} checkpoints"
    )
    if report.signed_by:
        stdout.print(f"  every checkpoint is signed by {report.signed_by}")
    for one in report.findings:
        place = one.where if one.number is None else f"{one.where} {one.number}"
        stdout.print(f"  [red]{one.kind.value}[/] {place}: {one.text}", soft_wrap=True)
    if report.findings_total > len(report.findings):
        stdout.print(f"  and {report.findings_total - len(report.findings)} more")
    for note in report.notes:
        stdout.print(f"  note: {note}", soft_wrap=True)
    stdout.print(f"  keep elsewhere: --expect {report.records}:{report.root}", soft_wrap=True)


def _show_replayed(report: ReplayReport) -> None:
    if report.difference is None:
        stdout.print(f"[green]equal[/]: {report.inputs} inputs gave the same {report.records} records, byte for byte")
        return
    import msgspec

    found = report.difference
    stdout.print(
        f"[bold red]different[/] at record {found.record}, {found.field}; {report.records} before it are equal"
    )
    for name, side in (("journalled", found.journalled), ("replayed", found.replayed)):
        text = "none" if side is None else msgspec.json.format(bytes(side), indent=2).decode()
        stdout.print(f"{name}:", text, markup=False, soft_wrap=True)
