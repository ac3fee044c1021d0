"""Keys: made once, kept from others, locked where asked, trusted by name."""

import pytest

from at_once import at_once
from grandmodel.journal.errors import AuditUsageError
from grandmodel.journal.keys import OWN, KeyFolder, PublicKey, SigningKey


@pytest.fixture
def keys(tmp_path):
    return KeyFolder.of_user({"XDG_CONFIG_HOME": str(tmp_path)})


def mode(path):
    return path.stat().st_mode & 0o777


def test_the_own_key_is_made_for_its_owner_alone_and_found_again(keys):
    assert keys.own() is None
    assert keys.known() == {}
    keys.make_own(None)
    key = keys.own()
    assert (mode(keys.own_path), mode(keys.folder)) == (0o600, 0o700)
    assert [(key_id, name) for key_id, (name, _) in keys.known().items()] == [(key.key_id, OWN)]
    assert sorted(path.name for path in keys.folder.iterdir()) == ["signing-key.pem", "signing-key.pem.pub"]
    keys.make_own(None)
    assert keys.own().key_id == key.key_id


@pytest.mark.parametrize("others", [0o640, 0o604, 0o620, 0o666])
def test_a_private_key_that_others_can_get_at_is_refused(keys, others):
    keys.make_own(None)
    keys.own_path.chmod(others)
    with pytest.raises(AuditUsageError, match=f"found mode {others:04o}, .*chmod 600"):
        keys.own()


def test_a_folder_of_keys_that_others_can_write_is_refused(keys):
    keys.make_own(None)
    keys.folder.chmod(0o770)
    for look in (keys.own, keys.known):
        with pytest.raises(AuditUsageError, match=r"found mode 0770, .*chmod 700"):
            look()


def test_a_key_locked_with_a_passphrase_opens_with_it_alone(tmp_path):
    made = SigningKey.create(tmp_path / "k.pem", b"open sesame")
    assert b"ENCRYPTED" in (tmp_path / "k.pem").read_bytes()
    assert SigningKey.load(tmp_path / "k.pem", lambda: b"open sesame").key_id == made.key_id
    with pytest.raises(AuditUsageError, match="expected a PEM file with a private key"):
        SigningKey.load(tmp_path / "k.pem", lambda: b"wrong")
    for ask in (None, lambda: None):
        with pytest.raises(AuditUsageError, match="locked with a passphrase"):
            SigningKey.load(tmp_path / "k.pem", ask)


def test_nobody_is_asked_for_the_passphrase_of_a_key_that_has_none(tmp_path):
    SigningKey.create(tmp_path / "k.pem")

    def ask():
        raise AssertionError("asked")

    assert SigningKey.load(tmp_path / "k.pem", ask).sign(b"x")


def test_eight_processes_that_begin_at_once_end_up_with_one_key(keys, tmp_path):
    def make_one(number):
        keys.make_own(None)
        (tmp_path / f"found{number}").write_text(keys.own().key_id)

    assert at_once(make_one) == [0] * 8
    assert {path.read_text() for path in tmp_path.glob("found*")} == {keys.own().key_id}
    assert sorted(path.name for path in keys.folder.iterdir()) == ["signing-key.pem", "signing-key.pem.pub"]


def test_a_key_is_trusted_by_name_and_a_name_stands_for_one_key(keys, tmp_path):
    ann, bob = (SigningKey.create(tmp_path / f"{name}.pem").public for name in ("ann", "bob"))
    kept = keys.trust("ann", ann)
    assert mode(kept.parent) == 0o700
    assert keys.trust("ann", ann) == kept
    with pytest.raises(AuditUsageError, match="another key under this name"):
        keys.trust("ann", bob)
    keys.trust("bob", bob)
    keys.make_own(None)
    assert {name for name, _ in keys.known().values()} == {"ann", "bob", OWN}
    assert PublicKey.load(kept).key_id == ann.key_id


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 65])
def test_a_name_that_is_no_file_name_is_refused(keys, tmp_path, name):
    with pytest.raises(AuditUsageError, match="expected letters"):
        keys.trust(name, SigningKey.create(tmp_path / "k.pem").public)
