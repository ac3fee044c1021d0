"""The pages under docs/: every fenced command and example is run, every link leads somewhere, every command named exists."""

import ast
import builtins
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import typer

import fences
from grandmodel.cli.main import whole_app
from grandmodel.runtime.settings_reference import reference_rows
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
            read_toml(body, here)
    assert sorted((ROOT / "models").rglob("*")) == shipped, "a page's commands wrote into the checkout's own registry"
    shutil.rmtree(here)


def read_toml(body, here):
    """A page's TOML is an import profile, or settings of a run."""
    import msgspec

    from grandmodel.data.historical.profile import ImportProfile
    from grandmodel.runtime.settings import load_settings

    if "agents" not in tomllib.loads(body):
        assert msgspec.convert(tomllib.loads(body), ImportProfile)
        return
    path = here / "settings.toml"
    path.write_text(body)
    assert load_settings(path)


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


NOT_OF_THE_CODE = {"Vol.", "pandas_market_calendars", "gross_", "net_", "__MACOSX"}
"""A heading in people's files, a library that was compared with, beginnings of names, a folder that a Mac adds."""
FILE = re.compile(r"\.(md|py|json|jsonl|html|sqlite|txt|toml|csv|lock|pub|dbn|safetensors|in)$")


def defined_in(tree):
    """Every name that ``tree`` defines: functions, classes, parameters, what is assigned or imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).split(".")[-1]


def words_of(tree):
    """Every name that stands alone in a text of ``tree``: codes, columns, names of files and settings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.]+", node.value):
            yield from node.value.split(".")


@pytest.fixture(scope="module")
def code_names():
    return CodeNames()


class CodeNames:
    """What is defined where: in the whole code, in each module (by every ending of its dotted name), in each class."""

    def __init__(self):
        self.everywhere, self.modules, self.classes, self.bases = set(dir(builtins)), {}, {}, {}
        package = ROOT / "src/grandmodel"
        folders = ("src", "tests", "benchmarks", "docs")
        # This file names what is not there.
        for file in {file for folder in folders for file in (ROOT / folder).rglob("*.py")} - {Path(__file__)}:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            names = {*defined_in(tree), *words_of(tree)}
            self.everywhere |= names
            if package in file.parents:
                parts = [part for part in file.relative_to(package).with_suffix("").parts if part != "__init__"]
                self.everywhere |= set(parts)
                for start in range(len(parts)):
                    self.modules.setdefault(".".join(parts[start:]), set()).update(names)
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    self.classes.setdefault(node.name, set()).update(defined_in(node), words_of(node))
                    bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                    self.bases.setdefault(node.name, set()).update(bases)
        self.settings = set()
        for row in reference_rows():
            parts = row.path.split(".")
            self.settings |= {".".join(parts[a:b]) for a in range(len(parts)) for b in range(a + 2, len(parts) + 1)}

    def members(self, name):
        return self.classes.get(name, set()).union(*(self.members(base) for base in self.bases.get(name, ())))

    def knows(self, name):
        """Whether ``a``, ``Class.a``, ``module.a`` or ``module.Class.a`` is defined, or ``a.b`` is a setting."""
        parts = name.removeprefix("grandmodel.").split(".")
        if ".".join(parts) in self.settings:
            return True
        module = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in self.modules), 0)
        if module == len(parts):
            return True
        if module and parts[module] not in self.modules[".".join(parts[:module])]:
            return False
        owner = parts[module]
        if owner in self.classes and len(parts) > module + 1 and parts[module + 1] not in self.members(owner):
            return False
        return parts[-1] in self.everywhere


def code_names_of(page):
    """The names between backticks of a page, fences left out, that look like names of the code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for name in re.findall(r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`", text):
        looks_like_code = "_" in name or "." in name or re.search("[a-z][A-Z]", name)
        if looks_like_code and not FILE.search(name) and name not in NOT_OF_THE_CODE:
            yield name


def test_every_name_of_the_code_that_a_page_uses_is_defined_where_the_page_says(code_names):
    used = [(name_of(page), name) for page in [*PAGES, ROOT / "README.md"] for name in code_names_of(page)]
    assert len(used) > 400
    assert [one for one in used if not code_names.knows(one[1])] == []


def test_a_name_that_is_not_defined_is_found(tmp_path, code_names):
    page = tmp_path / "page.md"
    page.write_text(
        "`_mark`, `Engine.stroll`, `runtime.replay.replay`, `engine.Motor`, `Engine.step(...)`, `journal.replay.replay`, "
        "`risk.var.level`, `TargetPosition.lots`, `grandmodel.risk.var`, `MovingAverageCross.widths_needed`\n",
        encoding="utf-8",
    )
    assert [name for name in code_names_of(page) if not code_names.knows(name)] == [
        "_mark", "Engine.stroll", "runtime.replay.replay", "engine.Motor",
    ]  # fmt: skip


PATTERNS = {"peer_NAME.py"}
"""What a page says of several files at once."""


def files_of(page):
    """The Python files that a page names between backticks, with as much of their path as it gives."""
    return [name for name in re.findall(r"`([\w./-]+\.py)`", page.read_text(encoding="utf-8")) if name not in PATTERNS]


def test_every_file_that_a_page_names_exists():
    """By its path from the checkout, from the package, or from any folder: `averages.py` is enough where there is one."""
    folders = ("src", "tests", "benchmarks", "docs", "examples", "models", "requirements")
    known = [f"/{file.relative_to(ROOT).as_posix()}" for folder in folders for file in (ROOT / folder).rglob("*.py")]
    named = [(page, name) for page in [*PAGES, ROOT / "README.md"] for name in files_of(page)]
    assert len(named) > 100
    assert [(name_of(p), name) for p, name in named if not any(file.endswith(f"/{name}") for file in known)] == []


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
