"""What ``grandmodel doctor`` says where something is missing."""

import errno
from typing import Any

import pytest
from rich.console import Console

from grandmodel.cli import doctor


def test_a_folder_that_cannot_be_written_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryDirectory", refuse)
    check = doctor._commit_time()
    assert check.status == "failed"
    assert "Permission denied" in check.found


def test_the_names_of_missing_extras_are_printed_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "stdout", Console(width=200, highlight=False, emoji=False))
    monkeypatch.setattr(doctor, "OPTIONAL", {"train": ("no_such_module",)})
    fine = doctor.Check(name="x", status="ok", found="x")
    for name in ("_kernels", "_disk", "_commit_time"):
        monkeypatch.setattr(doctor, name, lambda: fine)
    doctor.doctor_command()
    assert "pip install 'grandmodel[train]'" in capsys.readouterr().out
