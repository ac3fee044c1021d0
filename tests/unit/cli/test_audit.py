"""``grandmodel audit``: reports, exit codes, and what it refuses."""

import json
import sqlite3

import pytest

from grandmodel.cli.main import main
from grandmodel.compliance.journal_file import JOURNAL_NAME
from grandmodel.compliance.keys import SigningKey
from grandmodel.runtime.journal import Durability, Journal
from grandmodel.runtime.recovery import take
from tools.real_engine import build_begin, build_blocks, build_end, build_engine


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


def test_a_changed_run_fails_and_the_record_is_named(audit, root):
    status, out, _ = audit("verify", "bad")
    assert status == 1
    assert "changed_record record 5" in out
    status, out, _ = audit("verify", "bad", "--json")
    assert status == 1
    finding = json.loads(out)["findings"][0]
    assert (finding["kind"], finding["where"], finding["number"]) == ("changed_record", "record", 5)


def test_replay_is_equal_or_names_the_first_difference_with_both_records(audit, root):
    status, out, _ = audit("replay", "good")
    assert (status, out.split(":")[0]) == (0, "equal")
    status, out, _ = audit("replay", "bad")
    assert status == 1
    assert "different at record 5, position; 5 before it are equal" in out
    assert "journalled:" in out
    assert "replayed:" in out
    assert '"position": 75,' in out
    status, out, _ = audit("replay", "bad", "--json")
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
