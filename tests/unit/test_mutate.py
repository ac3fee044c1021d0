"""The tool that breaks the money path: what it changes, what it draws, and that it tells a mutant which tests notice from one that they do not."""

import ast
from collections import Counter

import pytest

from tools import mutate
from tools.mutate import MODULES, ROOT, SOURCE, CannotJudgeError, Suite, drawn, mutants_of, outcomes, share_killed

TEXT = '''
def cut(lots: int, most: int) -> int:
    """At most ``most``."""
    found = min(lots, most) + 1
    if found > 0 and lots < 9:
        found += 1
    return found
'''


def changed(text: str, tmp_path) -> list[tuple[str, str, str]]:
    (tmp_path / "one.py").write_text(text, encoding="utf-8")
    return [(one.kind, one.old, one.new) for one in mutants_of("one", Suite(("one.py",), ()), tmp_path)]


def test_every_kind_of_change_is_made_once_at_each_place(tmp_path) -> None:
    assert changed(TEXT, tmp_path) == [
        ("arithmetic", "found = min(lots, most) + 1", "found = (min(lots, most) - 1)"),
        ("extreme", "found = min(lots, most) + 1", "found = max(lots, most) + 1"),
        ("constant", "found = min(lots, most) + 1", "found = min(lots, most) + (1 + 1)"),
        ("constant", "found = min(lots, most) + 1", "found = min(lots, most) + (1 - 1)"),
        ("negate", "if found > 0 and lots < 9:", "if not (found > 0 and lots < 9):"),
        ("logic", "if found > 0 and lots < 9:", "if ((found > 0) or (lots < 9)):"),
        ("compare", "if found > 0 and lots < 9:", "if found >= 0 and lots < 9:"),
        ("compare", "if found > 0 and lots < 9:", "if found <= 0 and lots < 9:"),
        ("constant", "if found > 0 and lots < 9:", "if found > (0 + 1) and lots < 9:"),
        ("constant", "if found > 0 and lots < 9:", "if found > (0 - 1) and lots < 9:"),
        ("compare", "if found > 0 and lots < 9:", "if found > 0 and lots <= 9:"),
        ("compare", "if found > 0 and lots < 9:", "if found > 0 and lots >= 9:"),
        ("constant", "if found > 0 and lots < 9:", "if found > 0 and lots < (9 + 1):"),
        ("constant", "if found > 0 and lots < 9:", "if found > 0 and lots < (9 - 1):"),
        ("arithmetic", "found += 1", "found -= 1"),
        ("drop", "found += 1", "pass"),
        ("constant", "found += 1", "found += (1 + 1)"),
        ("constant", "found += 1", "found += (1 - 1)"),
        ("sign", "return found", "return -(found)"),
    ]


def test_arguments_of_one_kind_change_places_and_a_side_is_never_zero(tmp_path) -> None:
    text = "def f(side: int, a: int, b: float) -> None:\n    f(a, side, 2.5)\n    g(a, side)\n    a = b * side if side > 0 else a\n"
    kinds = Counter(kind for kind, _, _ in changed(text, tmp_path))
    assert kinds == {"drop": 3, "swap": 1, "constant": 2, "arithmetic": 1, "compare": 1}
    assert ("arithmetic", "a = b * side if side > 0 else a", "a = (b + side) if side > 0 else a") in changed(
        text, tmp_path
    )


@pytest.mark.parametrize("module", MODULES)
def test_every_mutant_of_the_money_path_is_a_program(module: str) -> None:
    suite = MODULES[module]
    for test in suite.tests:
        assert (ROOT / test.partition("::")[0]).is_file(), test
    mutants = mutants_of(module, suite)
    assert len({one.name for one in mutants}) == len(mutants) > 100
    texts = {source: (SOURCE / source).read_text(encoding="utf-8") for source in suite.sources}
    for one in drawn(mutants, 60, seed=1):
        ast.parse(one.text)
        assert one.old != one.new
        assert one.text.count("\n") == texts[one.source].count("\n")


def test_a_draw_is_its_seed_s_and_reaches_every_function_and_kind() -> None:
    mutants = mutants_of("checks", MODULES["checks"])
    first = drawn(mutants, 60, seed=1)
    assert first == drawn(mutants, 60, seed=1) != drawn(mutants, 60, seed=2)
    assert len({one.name for one in first}) == 60
    assert {one.function for one in first} == {one.function for one in mutants}
    assert {one.kind for one in first} == {one.kind for one in mutants}
    assert drawn(mutants, 10**6, seed=1) == mutants


HALF = """
from grandmodel.account.booking import book_fill, marked_value

def test_value():
    assert marked_value(3, 250, 100, 2, 0) == 350
    assert marked_value(0, 0, 100, 2, 0) == 0

def test_opening():
    assert book_fill(0, 0, 2, 100, 3) == (2, 600, 0)
"""


@pytest.mark.slow
def test_what_the_tests_notice_is_killed_and_what_they_do_not_ask_for_survives(tmp_path) -> None:
    (tmp_path / "test_half.py").write_text(HALF, encoding="utf-8")
    suite = Suite(("account/booking.py",), (str(tmp_path / "test_half.py"),))
    expected = {
        "value = ((lots * mark) // tick_value)": "killed",
        "return value if spot else (value + cost)": "killed",
        "cost += cost_closed": "survived",
    }
    chosen = [one for one in mutants_of("half", suite) if one.new in expected]
    found = {one.new: outcome for one, outcome, _ in outcomes(suite, chosen)}
    assert found == expected
    assert share_killed(Counter(found.values())) == 2 / 3


@pytest.mark.slow
def test_tests_that_fail_on_the_source_as_it_is_judge_nothing(tmp_path) -> None:
    (tmp_path / "test_wrong.py").write_text("def test_wrong():\n    assert False\n", encoding="utf-8")
    suite = Suite(("account/booking.py",), (str(tmp_path / "test_wrong.py"),))
    with pytest.raises(CannotJudgeError, match="failed on the source as it is"):
        next(outcomes(suite, mutants_of("wrong", suite)[:1]))


@pytest.mark.slow
def test_a_mutant_that_never_ends_is_late_and_one_that_cannot_be_told_is_not_run(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "test_slow.py").write_text(
        "import time\nfrom grandmodel.account.booking import marked_value\n\ndef test_slow():\n    time.sleep(20 * (marked_value(0, 0, 0, 0, 0) != 0))\n",
        encoding="utf-8",
    )
    suite = Suite(("account/booking.py",), (str(tmp_path / "test_slow.py"),))
    monkeypatch.setitem(MODULES, "slow", suite)
    monkeypatch.setattr(mutate, "LIMIT_S", 8.0)
    late, other = (one for one in mutants_of("slow", suite) if one.old == "return 0")
    same = mutate.Same(other.function, other.old, (other.new,), "because")
    monkeypatch.setitem(mutate.EQUIVALENT, "slow", (same,))
    assert mutate.main(["--module", "slow", "--only", late.name, "--only", other.name]) == 0
    said = capsys.readouterr().out
    assert f"timed out: {late.name}  account/booking.py:{late.line}" in said
    assert f"equivalent: {other.name}" in said
    assert "because" in said
    assert mutate.main(["--module", "slow", "--only", "slow-0"]) == 2
