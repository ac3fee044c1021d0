"""``grandmodel audit``: reports, exit codes, and what it refuses."""

import json
import re
import shutil
import sqlite3

import msgspec
import pytest

from grandmodel.cli.main import main
from grandmodel.cli.signing import own_folder
from grandmodel.domain.events import MarketData
from grandmodel.domain.time import text_from_ns
from grandmodel.journal.format import JOURNAL_NAME, pack
from grandmodel.journal.keys import SigningKey
from grandmodel.journal.writer import Durability, Journal
from grandmodel.risk.checks import CHECK_NAMES
from grandmodel.runtime.settings import Mode, RunSettings
from tools.real_engine import build_begin, build_blocks, build_end, build_engine
from tools.small_engine import take

TRUST = "--trust-agents"
"""These runs were decided by an agent of the tests."""


@pytest.fixture
def audit(root, monkeypatch, capfd):
    """Runs the command in ``root``; the result is its exit status, stdout and stderr."""

    def run(*arguments):
        monkeypatch.chdir(root)
        monkeypatch.setenv("COLUMNS", "300")
        monkeypatch.setattr("sys.argv", ["grandmodel", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capfd.readouterr()

    return run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with runs/good, signed and sealed, made by the real engine, and runs/bad, whose record 5 was changed."""
    root = tmp_path_factory.mktemp("root")
    key = SigningKey.create(root / "key.pem")
    for name in ("good", "bad"):
        folder = root / "runs" / name
        with Journal.create(folder, run="run", durability=Durability.OS, checkpoint_every=8, signer=key) as journal:
            engine = build_engine()
            take(journal, engine, [build_begin("run"), *build_blocks(1, 25)])
            take(journal, engine, [build_end(engine)])
            journal.seal()
    database = sqlite3.connect(root / "runs" / "bad" / JOURNAL_NAME)
    database.execute(
        "UPDATE records SET body = CAST(replace(body, '\"position\":', '\"position\":7') AS BLOB) WHERE number = 5"
    )
    database.commit()
    database.close()
    return root


def test_an_intact_run_verifies_with_its_key(audit, root):
    status, out, err = audit("verify", "good", "--public-key", root / "key.pem.pub", "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert (report["intact"], report["ended"], report["findings"]) == (True, True, [])
    assert report["signed_by"]
    status, out, _ = audit("verify", "runs/good", "--expect", f"{report['records']}:{report['root']}")
    assert status == 0
    assert "intact, ended" in out
    assert f"--expect {report['records']}:{report['root']}" in out
    status, out, _ = audit("verify", "good", "--expect", f"{report['records']}:{'0' * 64}")
    assert status == 1
    assert "unexpected" in out


def test_a_run_that_nobody_we_trust_signed_ends_with_1_and_says_so(audit, root):
    shutil.copytree(root / "runs" / "good", root / "runs" / "theirs")
    status, out, _ = audit("verify", "theirs")
    assert status == 1
    assert "intact, not proven, ended" in out
    key = SigningKey.load(root / "key.pem")
    assert f"SIGNED BY AN UNKNOWN KEY: {key.key_id}" in out
    assert audit("trust", "key.pem.pub", "--name", "ann")[0] == 0
    status, out, _ = audit("verify", "theirs")
    assert (status, f"every checkpoint is signed by {key.key_id} (ann)" in out) == (0, True)
    assert f"{key.key_id}  ann" in audit("key")[1]
    assert json.loads(audit("key", "--json")[1])["trusted"][key.key_id] == "ann"
    (own_folder().folder / "known" / "ann.pub").unlink()


def test_an_unsigned_run_ends_with_1_and_says_loudly_what_it_does_not_prove(audit, root):
    with Journal.create(root / "runs" / "unsigned", run="run", durability=Durability.OS) as journal:
        take(journal, build_engine(), [build_begin("run")])
        journal.seal()
    status, out, _ = audit("verify", "unsigned")
    assert status == 1
    assert "UNSIGNED: proves only accidental change" in out
    status, out, _ = audit("verify", "unsigned", "--json")
    assert (status, json.loads(out)["signature"]) == (1, "unsigned")


def test_a_run_decided_by_code_of_its_own_imports_none_of_it_unasked(audit, root):
    status, out, err = audit("replay", "good")
    assert (status, out) == (2, "")
    assert "found code that the settings name and nobody asked for, so it was not imported" in err
    assert "--trust-agents" in err
    status, _, err = audit("replay", "good", "--agents-from", ".")
    assert (status, "without --trust-agents" in err) == (2, True)


def test_a_changed_run_fails_and_the_record_is_named(audit, root):
    status, out, _ = audit("verify", "bad")
    assert status == 1
    assert "changed_record record 5" in out
    status, out, _ = audit("verify", "bad", "--json")
    assert status == 1
    finding = json.loads(out)["findings"][0]
    assert (finding["kind"], finding["where"], finding["number"]) == ("changed_record", "record", 5)


def test_replay_is_equal_or_names_the_first_difference_with_both_records(audit, root):
    status, out, _ = audit("replay", TRUST, "good")
    assert (status, out.split(":")[0]) == (0, "equal")
    status, out, _ = audit("replay", TRUST, "bad")
    assert status == 1
    assert "different at record 5, position; 5 before it are equal" in out
    assert "journalled:" in out
    assert "replayed:" in out
    assert '"position": 75,' in out
    status, out, _ = audit("replay", TRUST, "bad", "--json")
    report = json.loads(out)
    assert (status, report["equal"], report["difference"]["record"]) == (1, False, 5)
    assert report["difference"]["replayed"]["number"] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "absent"], "found no folder absent"),
        (["verify", "."], "expected the folder of a run"),
        (["replay", "."], "expected the folder of a run"),
        (["verify", "good", "--expect", "x"], "expected RECORDS:ROOT"),
        (["verify", "good", "--public-key", "key.pem"], "expected a PEM file with a public key"),
        (["key", "key.pem"], "a key is never overwritten"),
        (["verify"], "Missing argument"),
    ],
)
def test_misuse_ends_with_2_and_says_what_to_change(audit, arguments, message):
    status, out, err = audit(*arguments)
    assert (status, out) == (2, "")
    assert message in err


def test_a_key_can_be_made(audit, root):
    status, out, _ = audit("key", "second.pem")
    assert status == 0
    assert (root / "second.pem.pub").exists()
    assert out.startswith("key ")


def test_one_record_is_proven_to_an_outsider(audit, root):
    _, out, _ = audit("verify", "good", "--json")
    whole = json.loads(out)
    for records in (whole["records"], 16):
        status, out, _ = audit("prove", "good", 7, "--records", records)
        assert status == 0
        proof = json.loads(out)
        assert json.loads(proof["record"])["number"] == 7
        (root / "proof.json").write_text(out)
        status, _, _ = audit("check-proof", "proof.json", "--expect", f"{records}:{proof['root']}")
        assert status == 0
        (root / "proof.json").write_text(out.replace("2024", "2025").replace("position", "pozition"))
        status, said, _ = audit("check-proof", "proof.json", "--expect", f"{records}:{proof['root']}")
        assert (status, "not proven" in said) == (1, True)
    assert whole["root"] != proof["root"]
    (root / "proof.json").write_text(out)
    assert audit("check-proof", "proof.json", "--expect", f"16:{whole['root']}")[0] == 1
    assert audit("check-proof", "key.pem", "--expect", f"16:{whole['root']}")[0] == 2
    status, _, err = audit("prove", "good", whole["records"])
    assert (status, "expected one of the" in err) == (2, True)


@pytest.fixture
def damaged(root):
    """Copies runs/good and changes its journal with the given statements; the result is the copy's name."""

    def make(name, *statements):
        shutil.copytree(root / "runs" / "good", root / "runs" / name, dirs_exist_ok=True)
        database = sqlite3.connect(root / "runs" / name / JOURNAL_NAME)
        for statement in statements:
            database.execute(*statement) if isinstance(statement, tuple) else database.execute(statement)
        database.commit()
        database.close()
        return name

    return make


def test_a_journal_into_which_nothing_was_written_has_nothing_to_check(audit, root):
    Journal.create(root / "runs" / "empty", run="run", durability=Durability.OS, checkpoint_every=8).close()
    for command, message in (("verify", "there is nothing to check"), ("replay", "there is nothing to replay")):
        status, out, err = audit(command, "empty")
        assert (status, out) == (2, "")
        assert message in err


def test_a_journal_that_lost_all_its_rows_is_a_finding_where_something_knows_of_them(audit, damaged):
    name = damaged("emptied", "DELETE FROM inputs", "DELETE FROM records", "DELETE FROM contents")
    status, out, _ = audit("verify", name)
    assert status == 1
    assert "cut_tail" in out


def test_an_empty_journal_of_which_records_are_expected_is_a_finding(audit, root):
    Journal.create(root / "runs" / "bare", run="run", durability=Durability.OS, checkpoint_every=8).close()
    status, out, _ = audit("verify", "bare", "--expect", f"3:{'0' * 64}")
    assert (status, "cut_tail" in out) == (1, True)


def flipped_block(root, place=30):
    """A statement that stores one block as zstd with one byte of it changed."""
    database = sqlite3.connect(root / "runs" / "good" / JOURNAL_NAME)
    number, size, encoding, packed = database.execute(
        "SELECT number, size, encoding, bytes FROM contents ORDER BY number LIMIT 1 OFFSET 4"
    ).fetchone()
    database.close()
    assert encoding == ""
    wide = packed * 10
    encoding, packed = pack(wide)
    assert encoding == "zstd"
    broken = bytearray(packed)
    broken[0] ^= 0xFF  # The frame's magic number: no decompressor takes it.
    return number, (
        "UPDATE contents SET size = ?, encoding = 'zstd', bytes = ? WHERE number = ?",
        (size, bytes(broken), number),
    )


def test_replay_of_a_damaged_block_is_a_message_that_names_what_verify_finds(audit, root, damaged):
    number, statement = flipped_block(root)
    name = damaged("flipped", statement)
    status, out, err = audit("replay", TRUST, name)
    assert (status, out) == (1, "")
    assert f"audit verify runs/{name}" in err
    assert f"changed_content content {number}" in err
    assert "cannot be decompressed" in err
    assert "Traceback" not in err
    assert f"changed_content content {number}" in audit("verify", name)[1]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE inputs SET body = CAST('{' AS BLOB) WHERE number = 3",
        'UPDATE inputs SET body = CAST(replace(body, \'"count":1\', \'"count":1,"x":1\') AS BLOB) WHERE number = 3',
        'UPDATE inputs SET body = CAST(replace(body, \'"seed":\', \'"seed":"x","y":\') AS BLOB) WHERE number = 0',
        "DELETE FROM inputs WHERE number = 0",
        "DELETE FROM contents WHERE number = 3",
        "UPDATE contents SET bytes = zeroblob(3), size = 3 WHERE number = 3",
        "UPDATE records SET body = CAST('{' AS BLOB) WHERE number = 4",
        "UPDATE records SET body = x'FF00' WHERE number = 4",
    ],
)
def test_replay_of_any_damage_is_a_message_and_1(audit, damaged, statement):
    status, _, err = audit("replay", TRUST, damaged("any", statement))
    assert status == 1
    assert "audit verify runs/any` finds " in err
    assert "Traceback" not in err


def test_an_error_that_no_damage_explains_is_not_hidden(audit, root, monkeypatch):
    def fail(*_):
        raise ValueError("a defect")

    monkeypatch.setattr("grandmodel.journal.replay.replay", fail)
    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", ["grandmodel", "audit", "replay", TRUST, "good"])
    with pytest.raises(ValueError, match="a defect"):
        main()


def test_a_run_given_with_its_folder_is_not_looked_for_twice(audit):
    for name in ("runs/nope", "/nowhere/nope"):
        status, _, err = audit("verify", name)
        assert status == 2
        assert f"found no folder {name}, expected" in err
    assert "found no folder nope and no runs/nope, expected" in audit("verify", "nope")[2]


def test_a_proof_from_a_changed_journal_comes_with_a_warning_and_a_changed_record_has_none(audit):
    assert audit("prove", "good", 3)[2] == ""
    status, out, err = audit("prove", "bad", 3)
    assert (status, json.loads(out)["number"]) == (0, 3)
    assert "does not verify" in err
    assert "changed_record record 5" in err
    status, out, err = audit("prove", "bad", 5)
    assert (status, out) == (1, "")
    assert "cannot be proven" in err
    assert "changed_record record 5" in err


@pytest.mark.parametrize(
    "statement",
    ["UPDATE records SET body = x'FF00' WHERE number = 4", "UPDATE records SET input = 99 WHERE number = 4"],
)
def test_a_record_whose_row_is_damaged_is_not_proven(audit, damaged, statement):
    status, out, err = audit("prove", damaged("unproven", statement), 4)
    assert (status, out) == (1, "")
    assert "audit verify runs/unproven` finds " in err


def test_replay_over_a_store_that_is_gone_says_which_rows_are_missing(audit, root):
    with Journal.create(root / "runs" / "stored", run="run", durability=Durability.OS, checkpoint_every=8) as journal:
        take(journal, build_engine(), [build_begin("run")])
        journal.append_input(MarketData(schema="bars", count=1, source=f"{'0' * 64} gone#0"))
        journal.commit()
    status, out, err = audit("replay", TRUST, "stored")
    assert (status, out) == (1, "")
    assert "missing_content input 1" in err


def test_a_block_that_was_deleted_is_found_as_missing(audit, damaged):
    status, out, err = audit("verify", damaged("hollow", "DELETE FROM contents WHERE number = 3"))
    assert (status, err) == (1, "")
    assert "missing_content input" in out


@pytest.fixture(scope="module")
def traded(root):
    """runs/traded: the same agent against the simulated exchange, with a limit that refuses its larger orders."""
    begin = build_begin("traded")
    settings = msgspec.json.decode(begin.settings, type=RunSettings)
    risk = msgspec.structs.replace(
        settings.risk, limits=msgspec.structs.replace(settings.risk.limits, max_order_lots=1)
    )
    settings = msgspec.structs.replace(settings, mode=Mode.BACKTEST, risk=risk)
    engine = build_engine()
    with Journal.create(
        root / "runs" / "traded", run="traded", durability=Durability.OS, checkpoint_every=64
    ) as journal:
        begin = msgspec.structs.replace(begin, settings=msgspec.Raw(msgspec.json.encode(settings)), mode="backtest")
        take(journal, engine, [begin, *build_blocks(4, 120)])
        take(journal, engine, [build_end(engine)])
        journal.seal()
    return "traded"


def test_the_orders_of_a_run_are_a_table_and_json(audit, traded):
    status, out, err = audit("show", traded, "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told["run"] == "traded"
    assert len(told["orders"]) > 20
    status, out, err = audit("show", traded)
    assert (status, err) == (0, "")
    assert f"{len(told['orders'])} orders of run traded" in out
    for line in told["orders"]:
        (shown,) = [row for row in out.splitlines()[1:] if row.split()[:1] == [str(line["order"])]]
        assert line["mean_price"] is None or line["mean_price"] in shown.split()
        assert f" {line['side']} " in shown
        assert line["status"].replace("_", " ") in shown
    late = text_from_ns(told["orders"][10]["ts"])
    _, out, _ = audit("show", traded, "--from", late, "--json")
    assert json.loads(out)["orders"] == [one for one in told["orders"] if one["ts"] >= told["orders"][10]["ts"]]
    _, out, _ = audit("show", traded, "--to", late, "--json")
    assert json.loads(out)["orders"] == [one for one in told["orders"] if one["ts"] < told["orders"][10]["ts"]]


def test_a_filled_order_is_told_with_every_check_and_fill(audit, traded):
    orders = json.loads(audit("show", traded, "--json")[1])["orders"]
    line = next(one for one in orders if one["status"] == "filled")
    status, out, err = audit("show", traded, "--order", line["order"])
    assert (status, err) == (0, "")
    assert f"order {line['order']} of run traded: {line['side']} {line['lots']} NQ" in out
    assert f"decided in record {line['record']} at 2024-07-" in out
    assert "agent busy, intent" in out
    assert all(re.search(rf"^ {name} +passed", out, re.MULTILINE) for name in CHECK_NAMES)
    assert re.search(r"trade, \d lots, at \d+\.\d\d, fee \d\.\d\d USD, (maker|taker), slippage -?\d+\.\d\d a lot", out)
    assert f"end state: filled; {line['filled']} of {line['lots']} lots filled at a mean of {line['mean_price']}" in out
    told = json.loads(audit("show", traded, "--order", line["order"], "--json")[1])
    assert told["order"] == line
    assert [one["name"] for one in told["decisions"][0]["checks"]] == list(CHECK_NAMES)


def test_refusals_are_a_table_with_the_check_that_failed_and_each_has_a_story(audit, traded):
    refused = json.loads(audit("show", traded, "--refused", "--json")[1])["refused"]
    assert {one["reason"] for one in refused} >= {"order_quantity", "var_unknown"}
    status, out, err = audit("show", traded, "--refused")
    assert (status, err) == (0, "")
    assert f"{len(refused)} refusals in run traded" in out
    one = next(one for one in refused if one["reason"] == "order_quantity")
    assert re.search(rf" busy +hold .* {one['order']} +order_quantity +2 lots +1 lots +order_quantity", out)
    status, out, _ = audit("show", traded, "--order", one["order"])
    assert status == 0
    assert f"order {one['order']} of run traded: refused (order_quantity), never sent" in out
    assert re.search(r"^ order_quantity +refused +2 lots +1 lots +order_quantity", out, re.MULTILINE)
    assert "end state" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--order", 10**6], "found no order 1000000, expected one of the "),
        (["--order", 1, "--refused"], "expected --order alone"),
        (["--order", 1, "--from", "2024-07-08"], "expected --order alone"),
        (["--from", "2024-07-08T14:00"], "--from: found '2024-07-08T14:00', expected a day"),
        (["--to", "soon"], "--to: found 'soon', expected a day"),
    ],
)
def test_what_cannot_be_shown_ends_with_2(audit, traded, arguments, message):
    status, out, err = audit("show", traded, *arguments)
    assert (status, out) == (2, "")
    assert message in err


def test_what_a_changed_journal_shows_comes_with_a_warning_or_not_at_all(audit, damaged):
    status, out, err = audit("show", "bad")
    assert (status, "orders of run run" in out) == (0, True)
    assert "does not verify" in err
    assert "changed_record record 5" in err
    status, out, err = audit("show", damaged("unread", "UPDATE records SET body = CAST('{' AS BLOB) WHERE number = 4"))
    assert (status, out) == (1, "")
    assert "changed_record record 4" in err
