"""The pages under docs/: every fenced command and example is run, every link leads somewhere, every command named exists."""

import re
import shlex
import shutil
import tomllib

import pytest
import typer

import fences
from grandmodel.cli.main import whole_app
from shared_data import SHARED
from unit.models.model_cases import manifest_of, weights_of

ROOT = fences.REPOSITORY
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        ROOT / "benchmarks/peers/README.md",
    ]
)
RUN_PAGES = [page for page in PAGES if any(mark for mark, _ in fences.fences(page))]
WORDS = re.compile(r"^[a-z][a-z-]*$")
INLINE = re.compile(r"`(grandmodel(?: [^`]+)?)`")
SHELL = re.compile(r"^(\$ )?(grandmodel (?!wished)|make |python |pip |sqlite3 |git )", re.MULTILINE)


def name_of(page):
    return str(page.relative_to(ROOT))


def place_files(folder):
    """What a reader has at hand who follows a page: a model file and a card."""
    from grandmodel.models.model_file import model_bytes

    (folder / "model.safetensors").write_bytes(model_bytes(manifest_of(), weights_of(seed=0)))
    (folder / "card.md").write_text("# A card\n", encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_has_only_fences_that_are_run_or_shown(page):
    for mark, body in fences.fences(page):
        assert mark in fences.MARKS, (mark, body[:80])
        assert mark or not SHELL.search(body), f"a command in a fence that is not run:\n{body[:200]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_every_fence_of_a_page_runs_in_its_order(page, tmp_path):
    here = tmp_path / "checkout"
    here.mkdir()
    (tmp_path / "shared").symlink_to(SHARED)
    place_files(here)
    shipped = sorted((ROOT / "models").rglob("*"))
    for number, (mark, body) in enumerate(fences.fences(page)):
        if mark == "sh" or (mark == "sh shared" and SHARED.exists()):
            fences.run_all(fences.commands(body), here)
        elif mark == "python":
            fences.run_python(body, here, number)
        elif mark == "sql" and SHARED.exists():
            import duckdb

            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(here)
                assert duckdb.sql(body).fetchall()
        elif mark == "toml":
            read_profile(body)
    assert sorted((ROOT / "models").rglob("*")) == shipped, "a page's commands wrote into the checkout's own registry"
    shutil.rmtree(here)


def read_profile(body):
    import msgspec

    from grandmodel.data.historical.profile import ImportProfile

    assert msgspec.convert(tomllib.loads(body), ImportProfile)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_for_developers_exists(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in [line for mark, body in fences.fences(page) if mark == "sh dev" for line in fences.commands(body)]:
        program, first, *_ = shlex.split(line)
        if program == "make":
            assert re.search(rf"^{first}:", makefile, re.MULTILINE), line
        elif first != "-m":
            assert (ROOT / first).exists() or program == "grandmodel", line
        else:
            module = shlex.split(line)[2].replace(".", "/")
            assert (ROOT / f"{module}.py").exists(), line


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


NOT_OF_THE_CODE = {"Vol.", "pandas_market_calendars", "gross_", "net_"}
"""A heading in people's files, a library that was compared with, and beginnings of names."""


def test_every_name_of_the_code_that_a_page_uses_exists():
    sources = [file for folder in ("src", "tests", "benchmarks", "docs") for file in (ROOT / folder).rglob("*.py")]
    words = {word for file in sources for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))}
    unknown = []
    for page in [*PAGES, ROOT / "README.md"]:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for name in re.findall(r"`([A-Za-z_][\w.]*)(?:\(\))?`", text):
            looks_like_code = "_" in name or "." in name or re.search("[a-z][A-Z]", name)
            is_file = re.search(r"\.(md|py|json|jsonl|html|sqlite|txt|toml|csv|lock|pub|dbn)$", name)
            if looks_like_code and not is_file and name not in NOT_OF_THE_CODE and name.split(".")[-1] not in words:
                unknown.append((name_of(page), name))
    assert unknown == []


def command_of(words):
    """The command that ``words`` (without ``grandmodel``) name, and the words behind it; fails where there is none."""
    command = typer.main.get_command(whole_app())
    rest = list(words)
    while hasattr(command, "commands") and rest and WORDS.match(rest[0]):
        assert rest[0] in command.commands, f"no command {rest[0]!r} under {command.name}"
        command = command.commands[rest.pop(0)]
    return command, rest


def named_commands():
    """Every ``grandmodel ...`` between backticks of the pages, the README, and the source's docstrings and messages."""
    files = [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "src").rglob("*.py"))]
    found = {}
    for file in files:
        for text in INLINE.findall(file.read_text(encoding="utf-8")):
            found.setdefault(" ".join(text.split()), name_of(file))
    return sorted(found.items())


def test_every_command_that_a_text_names_exists_with_its_options():
    wrong = []
    named = named_commands()
    assert len(named) > 40
    for text, file in named:
        for choice in alternatives(text):
            try:
                command, rest = command_of(choice.split()[1:])
                options = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
                unknown = [
                    word for word in rest if word.startswith("--") and word.split("=")[0].strip("[].,") not in options
                ]
                assert not unknown, f"no option {unknown}"
            except AssertionError as error:
                wrong.append(f"{file}: {choice}: {error}")
    assert wrong == []


def alternatives(text):
    """``a b|c`` means two commands."""
    found = [[]]
    for word in text.split():
        choices = word.split("|") if re.fullmatch(r"[a-z|-]+", word) and not word.startswith("--") else [word]
        found = [[*before, choice] for before in found for choice in choices]
    return [" ".join(words) for words in found]
