"""``grandmodel audit``: is a run's journal what was written, and does running it again give the same records?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grandmodel.cli.output import (
    AgentsFromOption,
    JsonFlag,
    RunArgument,
    TrustOption,
    console,
    print_json,
    print_table,
    run_folder,
    say,
    stdout,
    time_text,
    trusted_agents,
)
from grandmodel.cli.signing import own_folder, trusted_keys
from grandmodel.cli.sources import FromOption, ToOption
from grandmodel.domain.errors import UsageError
from grandmodel.domain.time import NEVER_NS, ns_from_text

if TYPE_CHECKING:
    from grandmodel.journal.replay import ReplayReport
    from grandmodel.journal.verification import VerifyReport
    from grandmodel.runtime.story import (
        Decision,
        OrderEvent,
        OrderLine,
        OrderList,
        OrderStory,
        RefusedLine,
        RefusedList,
    )

app = typer.Typer(
    help="Integrity of a run's journal, running it again, and why each order was sent or refused.", no_args_is_help=True
)


@app.command("verify")
def verify_command(
    run: RunArgument,
    public_key: Annotated[
        Path | None,
        typer.Option(
            "--public-key",
            "--key",
            help="PEM file: everything must be signed with its private half. Default: any key that you trust (`audit key`).",
        ),
    ] = None,
    expect: Annotated[
        str | None, typer.Option(help="RECORDS:ROOT kept from an earlier check; the run must begin with it.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check every byte of a run: changes, gaps, a cut tail, checkpoints, signatures, the seal, the files beside the journal.

    Exit code 0: as it was written, signed by a key that you trust; 1: something was changed, or nobody that you trust says that
    nothing was (unsigned, an unknown key, a summary, page or latencies that are not sealed); 2: there is nothing to check.
    """
    from grandmodel.journal.keys import PublicKey
    from grandmodel.journal.verification import Expected, verify_run
    from grandmodel.runtime.feeds import StoreResolver

    known = trusted_keys()
    with console.status("verifying"):
        report = verify_run(
            run_folder(run),
            public_key=None if public_key is None else PublicKey.load(public_key),
            known={key_id: key for key_id, (_, key) in known.items()},
            expected=None if expect is None else Expected.parse(expect),
            resolver=StoreResolver(),
        )
    if as_json:
        print_json(report)
    else:
        _show_verified(report, {key_id: name for key_id, (name, _) in known.items()})
    raise typer.Exit(0 if report.is_proven else 1)


@app.command("replay")
def replay_command(
    run: RunArgument,
    trust_agents: TrustOption = False,
    agents_from: AgentsFromOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a journal again and compare every record byte for byte. Exit code 1 where one differs."""
    from grandmodel import __version__
    from grandmodel.journal.format import JournalReader
    from grandmodel.journal.replay import replay
    from grandmodel.runtime.feeds import StoreResolver
    from grandmodel.runtime.inputs import InputEngine

    folder = run_folder(run)
    engine = InputEngine(trusted_agents(trust=trust_agents, folder=agents_from))
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


@app.command("show")
def show_command(
    run: RunArgument,
    order: Annotated[int | None, typer.Option(help="Tell this order from the wish to its end.")] = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="List what was not let through, and which check did it.")
    ] = False,
    start: FromOption = None,
    end: ToOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Why was this order sent or refused, and what became of it? Without --order and --refused: all orders, in a table."""
    from grandmodel.runtime.story import load_order, load_orders, load_refused

    if order is not None and (refused or start or end):
        raise UsageError(
            "found --order with --refused, --from or --to, expected --order alone: it tells one order whole"
        )
    folder = run_folder(run)
    start_ns, end_ns = _time(start, "--from", -NEVER_NS), _time(end, "--to", NEVER_NS)
    with _damage_explained(folder):
        if order is not None:
            told: OrderStory | RefusedList | OrderList = load_order(folder, order)
        elif refused:
            told = load_refused(folder, start_ns, end_ns)
        else:
            told = load_orders(folder, start_ns, end_ns)
    _warn_if_changed(folder)
    if as_json:
        print_json(told)
    else:
        _show_told(told)


@app.command("prove")
def prove_command(
    run: RunArgument,
    number: Annotated[int, typer.Argument(help="The record's number.")],
    records: Annotated[
        int | None,
        typer.Option(help="Lead to the root over so many records: those of a checkpoint, or of a kept root."),
    ] = None,
    as_json: JsonFlag = True,
) -> None:
    """Print, as JSON (with --json or without), one record and the hashes that show that it is in a run, for one who has only the run's root."""
    from grandmodel.journal.proofs import prove_record

    del as_json  # taken so that a program may say --json to every command
    folder = run_folder(run)
    with _damage_explained(folder):
        proof = prove_record(folder, number, records)
    # What is proven is this record under this root; the rest of the journal may still not be what was written.
    _warn_if_changed(folder)
    print_json(proof)


@app.command("check-proof")
def check_proof_command(
    file: Annotated[Path, typer.Argument(help="A proof that `audit prove` printed.")],
    expect: Annotated[str, typer.Option(help="RECORDS:ROOT that you trust.")],
    as_json: JsonFlag = False,
) -> None:
    """Check a proof against a root that you trust; needs no run. Exit code 1 where it does not hold."""
    import msgspec

    from grandmodel.domain.files import read_document
    from grandmodel.journal.proofs import RecordProof, is_proven
    from grandmodel.journal.verification import Expected

    trusted = Expected.parse(expect)
    try:
        proof = msgspec.json.decode(read_document(file, "proof"), type=RecordProof)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: expected a proof as `audit prove` prints it ({error})") from error
    holds = is_proven(proof) and (proof.records, proof.root) == (trusted.records, trusted.root)
    if as_json:
        print_json(
            {"run": proof.run, "record": proof.number, "proven": holds, "records": proof.records, "root": proof.root}
        )
    else:
        say(f"record {proof.number} of run {proof.run}: " + ("proven" if holds else "not proven by this root"))
    raise typer.Exit(0 if holds else 1)


@app.command("key")
def key_command(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Make a key here; the public half goes beside it, as .pub. Default: show the keys that you have."
        ),
    ] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="With FILE: ask for a passphrase that locks the new key.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make an Ed25519 key for signing runs, or show the one that signs yours and those that you trust."""
    from grandmodel.journal.keys import SigningKey

    if file is not None:
        asked = typer.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True) if passphrase else ""
        key = SigningKey.create(file, str(asked).encode() or None)
        made = {"key": key.key_id, "private": str(file), "public": f"{file}.pub"}
        if as_json:
            print_json(made)
        else:
            say(f"key {key.key_id}: private {file} (mode 0600), public {file}.pub")
        return
    keys = own_folder()
    known = {key_id: name for key_id, (name, _) in trusted_keys().items()}
    if as_json:
        print_json({"folder": str(keys.folder), "trusted": known})
        return
    if not known:
        say(
            f"found no key in {keys.folder}: your own is made when you run something, others come by `grandmodel audit trust`"
        )
    for key_id, name in known.items():
        say(f"{key_id}  {name}")


@app.command("trust")
def trust_command(
    file: Annotated[Path, typer.Argument(help="PEM file with the public key of someone who makes runs.")],
    name: Annotated[str, typer.Option(help="Whose it is.")],
    as_json: JsonFlag = False,
) -> None:
    """Trust a key from now on: runs that it signed are proven by it. Be sure whose it is: compare its id with its owner."""
    from grandmodel.journal.keys import PublicKey

    key = PublicKey.load(file)
    kept = own_folder().trust(name, key)
    if as_json:
        print_json({"key": key.key_id, "name": name, "file": str(kept)})
    else:
        say(f"key {key.key_id} is trusted as {name}: {kept}")


def _time(text: str | None, option: str, default: int) -> int:
    if text is None:
        return default
    try:
        return ns_from_text(text)
    except ValueError as error:
        raise UsageError(
            f"{option}: found {text!r}, expected a day (2024-07-10) or a time with its zone (2024-07-10T14:00Z)"
        ) from error


@contextmanager
def _damage_explained(folder: Path, *, outside: bool = False) -> Iterator[None]:
    """What goes wrong while a changed journal is read becomes a message that names the change; the rest goes on as it was.

    ``outside``: also hold rows that a store keeps for the journal against their hashes.
    """
    from grandmodel.journal.errors import JournalDamagedError

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
            soft_wrap=True,
        )


def _first_finding(folder: Path, *, outside: bool) -> str:
    """What ``audit verify`` would name first, and how many more; empty where the journal is intact."""
    from grandmodel.journal.verification import text_of_finding, verify_run
    from grandmodel.runtime.feeds import StoreResolver

    with console.status("verifying"):
        report = verify_run(folder, resolver=StoreResolver() if outside else None)
    if report.intact:
        return ""
    more = f" (and {report.findings_total - 1} more)" if report.findings_total > 1 else ""
    return text_of_finding(report.findings[0]) + more


def _show_verified(report: VerifyReport, names: dict[str, str]) -> None:
    from rich.text import Text

    verdict = (
        ("changed", "bold red")
        if not report.intact
        else ("intact, not proven", "yellow")
        if report.doubts
        else ("intact", "green")
    )
    stdout.print(Text.assemble(f"run {report.run}: ", verdict, f", {'ended' if report.ended else 'not ended'}"))
    for doubt in report.doubts:
        stdout.print(doubt, style="bold yellow", soft_wrap=True)
    stdout.print(
        f"  {report.inputs} inputs, {report.records} records, {report.contents} contents, {report.checkpoints} checkpoints"
    )
    if report.signed_by:
        signers = ", ".join(f"{key} ({names.get(key, 'given')})" for key in report.signed_by.split(", "))
        stdout.print(f"  every checkpoint is signed by {signers}", soft_wrap=True)
    for one in report.findings:
        place = one.where if one.number is None else f"{one.where} {one.number}"
        stdout.print(Text.assemble("  ", (one.kind.value, "red"), f" {place}: {one.text}"), soft_wrap=True)
    if report.findings_total > len(report.findings):
        stdout.print(f"  and {report.findings_total - len(report.findings)} more")
    as_sealed = [name for name in report.sealed_files if name not in {one.where for one in report.findings}]
    if as_sealed:
        stdout.print(f"  as sealed beside the journal: {', '.join(as_sealed)}", soft_wrap=True)
    if report.unsealed_files:
        text = f"  not sealed, nothing is said of: {', '.join(report.unsealed_files)}"
        stdout.print(text, style="yellow", soft_wrap=True)
    for note in report.notes:
        stdout.print(f"  note: {note}", soft_wrap=True)
    stdout.print(f"  keep elsewhere: --expect {report.records}:{report.root}", soft_wrap=True)


def _show_replayed(report: ReplayReport) -> None:
    from rich.text import Text

    if report.difference is None:
        same = f": {report.inputs} inputs gave the same {report.records} records, byte for byte"
        stdout.print(Text.assemble(("equal", "green"), same))
        if report.unfinished:
            stdout.print(
                "the run has not ended: its journal stops inside the last input, and `--resume` writes the records after it"
            )
        return
    import msgspec

    found = report.difference
    where = f" at record {found.record}, {found.field}; {report.records} before it are equal"
    stdout.print(Text.assemble(("different", "bold red"), where))
    for name, side in (("journalled", found.journalled), ("replayed", found.replayed)):
        text = "none" if side is None else msgspec.json.format(bytes(side), indent=2).decode()
        stdout.print(f"{name}:", text, soft_wrap=True)


def _show_told(told: OrderStory | RefusedList | OrderList) -> None:
    from grandmodel.runtime.story import OrderList, OrderStory

    if isinstance(told, OrderStory):
        _show_order(told)
    elif isinstance(told, OrderList):
        _show_orders(told)
    else:
        _show_refused(told)


def _show_orders(told: OrderList) -> None:
    print_table(
        f"{len(told.orders):,} {'order' if len(told.orders) == 1 else 'orders'} of run {told.run}, times in UTC",
        ["order", "time", "instrument", "side", "lots", "type", "price", "tag", "agent", "filled", "mean price", "status"],
        [
            [
                str(line.order), time_text(line.ts), line.instrument, line.side, str(line.lots), line.order_type.replace("_", " "),
                _price_text(line), line.tag, _who(line), str(line.filled), _text(line.mean_price), _status_text(line),
            ]
            for line in told.orders
        ],
        right={"order", "lots", "filled", "mean price"},
    )  # fmt: skip
    if told.booked_fills:
        stdout.print(
            f"and {told.booked_fills} fills that no order led to: contract rolls, final settlements, and exits before bad stretches"
        )


def _show_refused(told: RefusedList) -> None:
    print_table(
        f"{len(told.refused):,} {'refusal' if len(told.refused) == 1 else 'refusals'} in run {told.run}, times in UTC",
        ["time", "record", "agent", "wish", "what", "order", "check", "value", "limit", "reason"],
        [
            [
                time_text(line.ts), str(line.record), _who(line), line.wish, line.what, _text(line.order),
                line.check.name if line.check else "", line.check.value_text if line.check else "",
                line.check.limit_text if line.check else "", line.reason,
            ]
            for line in told.refused
        ],
        right={"record", "order", "value", "limit"},
    )  # fmt: skip


def _show_order(told: OrderStory) -> None:
    line = told.order
    if line is None:
        say(f"order {told.id} of run {told.run}: refused ({told.decisions[0].reason}), never sent")
    else:
        terms = " ".join(filter(None, [line.order_type.replace("_", " "), _price_text(line)]))
        say(
            f"order {told.id} of run {told.run}: {line.side} {line.lots} {line.instrument}, {terms}, "
            f"{line.time_in_force.upper()}, {line.tag or 'no tag'}"
        )
    for place, decision in enumerate(told.decisions):
        _show_decision(decision, "decided" if place == 0 else "change asked")
    if told.same_intent:
        say(f"other orders of the same wish: {', '.join(map(str, told.same_intent))}")
    if line is None:
        return
    if line.parent is not None:
        say(f"starts when order {line.parent} fills")
    for event in told.events:
        say(f"{time_text(event.ts_event)}  {_event_text(event)}")
    say(f"end state: {_status_text(line)}; {_filled_text(line)}")


def _show_decision(decision: Decision, what: str) -> None:
    verdict = decision.verdict + (f" ({decision.reason})" if decision.reason else "")
    say(f"{what} in record {decision.record} at {time_text(decision.ts)}: {verdict}")
    say(f"  agent {_who(decision)}, intent {decision.intent}: {decision.wish}")
    say(f"  reasons: {', '.join(decision.reasons) or 'none given'}")
    print_table(
        "",
        ["check", "outcome", "value", "limit", "reason"],
        [[one.name, one.outcome, one.value_text, one.limit_text, one.reason] for one in decision.checks],
        right={"value", "limit"},
    )


def _event_text(event: OrderEvent) -> str:
    from grandmodel.domain.instruments import currency_text

    parts = [event.what.replace("_", " ")]
    if event.lots:
        parts.append(f"{event.lots} lots")
    if event.stop_price is not None:
        parts.append(f"stop {event.stop_price}")
    if event.price is not None:
        parts.append(f"{'at' if event.what == 'trade' else 'limit'} {event.price}")
    if event.what == "trade":
        parts.append(f"fee {currency_text(event.fee_micros, event.currency)}")
        parts.append("maker" if event.maker else "taker")
        parts += _cost_parts(event)
    if event.what not in {"sent", "cancel_asked", "change_asked"}:
        parts.append(f"{event.filled} filled, {event.leaves} open")
    if event.ts_init != event.ts_event:
        parts.append(f"known at {time_text(event.ts_init)}")
    if event.asked_by:
        parts.append(f"by {event.asked_by}")
    if event.reason:
        parts.append(f"reason {event.reason}")
    return ", ".join(parts) + f" (record {event.record})"


_REFERENCE_WORDS = {"trigger": "trigger", "limit": "limit", "quote": "quote at arrival", "mark": "mark at arrival"}


def _cost_parts(event: OrderEvent) -> list[str]:
    """What a fill cost beside its fee."""
    from grandmodel.domain.instruments import currency_text

    if event.slippage_micros is None:
        return ["slippage not known (the venue does not tell what the order met)"]
    reference = f"{_REFERENCE_WORDS[event.slippage_reference]} {event.slippage_from}"
    parts = [
        f"slippage {event.slippage_price} a lot against the {reference}, {currency_text(event.slippage_micros, event.currency)}"
    ]
    if event.delay_micros is not None:
        parts.append(
            f"delay {event.delay_price} a lot from the mark {event.decision_price} at the decision, "
            f"{currency_text(event.delay_micros, event.currency)}"
        )
    return parts


def _filled_text(line: OrderLine) -> str:
    from grandmodel.domain.instruments import currency_text

    if not line.filled:
        return "nothing filled"
    text = f"{line.filled} of {line.lots} lots filled at a mean of {line.mean_price}, fees {currency_text(line.fees_micros, line.currency)}"
    if line.slippage_micros is not None:
        text += f", slippage {currency_text(line.slippage_micros, line.currency)}"
    if line.delay_micros is not None:
        text += f", delay {currency_text(line.delay_micros, line.currency)}"
    return text


def _status_text(line: OrderLine) -> str:
    text = line.status.replace("_", " ")
    if not line.ended:
        return f"{text}, still open"
    return f"{text} ({line.status_reason})" if line.status_reason else text


def _who(line: Decision | OrderLine | RefusedLine) -> str:
    """The agent, and the account that it trades for where that is not the run's own."""
    return f"{line.agent} for {line.account}" if line.account else line.agent


def _price_text(line: OrderLine) -> str:
    if line.stop_price is None:
        return _text(line.price)
    return f"{line.stop_price} limit {line.price}" if line.price is not None else str(line.stop_price)


def _text(value: object) -> str:
    return "" if value is None else str(value)
