"""Which key signs: the own one, made at first use; another that the environment names; none, where that was asked for."""

import sys
from types import SimpleNamespace

import pytest

from grandmodel.cli import signing
from grandmodel.domain.errors import UsageError
from grandmodel.journal.keys import SigningKey


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    """A user without a key, at no terminal."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("GRANDMODEL_SIGNING_KEY", raising=False)
    monkeypatch.delenv("GRANDMODEL_SIGNING_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    monkeypatch.setitem(sys.modules, "keyring", None)  # Not installed.
    return tmp_path / "config" / "grandmodel" / "keys"


def test_the_first_run_makes_the_key_and_says_so_and_the_second_uses_it(config, capsys):
    made = signing.run_signer(unsigned=False)
    assert f"made the key that signs your runs, {config}" in capsys.readouterr().err.replace("\n", "")
    assert signing.run_signer(unsigned=False).key_id == made.key_id
    assert capsys.readouterr().err == ""
    assert set(signing.trusted_keys()) == {made.key_id}


def test_nothing_is_signed_only_where_that_was_asked_for(config, capsys):
    assert signing.run_signer(unsigned=True) is None
    assert "UNSIGNED" in capsys.readouterr().err
    assert not config.exists()


def test_the_environment_names_another_key(tmp_path, monkeypatch, config):
    other = SigningKey.create(tmp_path / "other.pem")
    monkeypatch.setenv("GRANDMODEL_SIGNING_KEY", str(tmp_path / "other.pem"))
    assert signing.run_signer(unsigned=False).key_id == other.key_id
    assert set(signing.trusted_keys()) == {other.key_id}
    assert not config.exists()


def test_a_passphrase_in_the_environment_locks_the_key(config, monkeypatch):
    monkeypatch.setenv("GRANDMODEL_SIGNING_PASSPHRASE", "open sesame")
    made = signing.run_signer(unsigned=False)
    assert b"ENCRYPTED" in (config / "signing-key.pem").read_bytes()
    assert signing.run_signer(unsigned=False).key_id == made.key_id
    monkeypatch.delenv("GRANDMODEL_SIGNING_PASSPHRASE")
    with pytest.raises(UsageError, match=r"locked with a passphrase.* or give --unsigned"):
        signing.run_signer(unsigned=False)


def test_a_person_at_the_terminal_is_asked_for_the_passphrase(config, monkeypatch):
    monkeypatch.setenv("GRANDMODEL_SIGNING_PASSPHRASE", "open sesame")
    made = signing.run_signer(unsigned=False)
    monkeypatch.delenv("GRANDMODEL_SIGNING_PASSPHRASE")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(signing.typer, "prompt", lambda *_, **__: "open sesame")
    assert signing.run_signer(unsigned=False).key_id == made.key_id


def test_the_systems_key_store_keeps_the_passphrase_where_there_is_one(config, monkeypatch):
    kept = {}
    store = SimpleNamespace(
        priority=5,
        set_password=lambda service, name, secret: kept.__setitem__((service, name), secret),
        get_password=lambda service, name: kept.get((service, name)),
    )
    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_keyring=lambda: store))
    made = signing.run_signer(unsigned=False)
    assert len(kept) == 1
    assert b"ENCRYPTED" in (config / "signing-key.pem").read_bytes()
    assert signing.run_signer(unsigned=False).key_id == made.key_id
    store.priority = 0  # As the one that stands for no store at all.
    with pytest.raises(UsageError, match="locked with a passphrase"):
        signing.run_signer(unsigned=False)


def test_a_key_that_others_can_read_signs_nothing(config):
    signing.run_signer(unsigned=False)
    (config / "signing-key.pem").chmod(0o644)
    with pytest.raises(UsageError, match=r"found mode 0644.*Runs are signed: mend that"):
        signing.run_signer(unsigned=False)


def test_a_home_that_cannot_be_written_is_an_error_that_says_what_to_do(config, monkeypatch):
    config.parent.parent.mkdir(parents=True)
    config.parent.write_text("a file where the folder should be")
    with pytest.raises(UsageError, match=r"no key can be kept there .*GRANDMODEL_SIGNING_KEY, or give --unsigned"):
        signing.run_signer(unsigned=False)
