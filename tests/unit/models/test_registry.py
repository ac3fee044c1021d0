"""The registry: content under its hash, stages one step at a time, a history that nobody can change unseen."""

import hashlib
import json
import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.models.errors import ModelFileError, ModelMismatchError, RegistryError
from grandmodel.models.model_file import model_bytes
from grandmodel.models.registry import Change, Registry, Stage, choose_location
from grandmodel.models.storage import FolderStorage, ObjectStorage, open_storage

from .model_cases import manifest_of, schema_of, weights_of

FILES = [model_bytes(manifest_of(), weights_of(seed=seed)) for seed in range(4)]
UNMEASURED = model_bytes(manifest_of(metrics={}), weights_of(seed=9))
TACTICAL = model_bytes(manifest_of("tactical"), weights_of("tactical"))
BY = {"who": "ana", "why": "test"}


@pytest.fixture(params=["folder", "memory"])
def registry(request, tmp_path):
    if request.param == "folder":
        yield Registry(tmp_path / "models")
        return
    import fsspec

    address = f"memory://{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16]}/models"
    yield Registry(address)
    files = fsspec.filesystem("memory")
    if files.exists(address):
        files.rm(address, recursive=True)


def add(registry, content=FILES[0], at_ns=1, **rest):
    return registry.add(content, at_ns=at_ns, **BY, **rest)


def promote(registry, model, stage, at_ns=2, **rest):
    return registry.promote(model, stage, at_ns=at_ns, **(BY | rest))


def stages(registry, layer="strategic"):
    return {model: stage.value for model, stage in registry.state(layer).stages.items()}


# --- content


def test_a_model_is_known_by_the_hash_of_its_file_and_read_back_to_the_byte(registry):
    model = add(registry, card="# Card\nhonest é")
    assert model == hashlib.sha256(FILES[0]).hexdigest()
    stored = registry.get(model)
    assert (stored.content, stored.layer, stored.stage) == (FILES[0], "strategic", Stage.CANDIDATE)
    assert registry.load(model).manifest == manifest_of()
    assert registry.card(model) == "# Card\nhonest é"


def test_a_file_on_disk_can_be_added_and_its_card_may_come_later(registry, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(FILES[1])
    model = add(registry, path)
    assert registry.card(model) == ""
    add(registry, path, card="now")
    assert registry.card(model) == "now"
    assert len(registry.state("strategic").history) == 1


def test_what_is_no_model_is_not_added(registry):
    for content in (b"", b"x" * 100, FILES[0][:-1]):
        with pytest.raises(ModelFileError):
            add(registry, content)
    assert registry.entries() == []


@given(data=st.data())
def test_any_changed_byte_of_a_stored_file_is_found_by_every_reader(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("damaged")
    registry = Registry(root)
    model = add(registry)
    path = root / "strategic" / f"{model}.safetensors"
    content = bytearray(FILES[0])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    for read in (registry.get, registry.load, lambda m: promote(registry, m, "shadow")):
        with pytest.raises(ModelFileError, match="damaged"):
            read(model)
    (entry,) = registry.entries()
    assert entry.manifest is None
    assert "damaged" in entry.problem
    assert stages(registry) == {model: "candidate"}
    shutil.rmtree(root)


def test_a_missing_file_is_said_and_adding_the_model_again_mends_it(tmp_path):
    registry = Registry(tmp_path)
    model = add(registry)
    promote(registry, model, "shadow")
    (tmp_path / "strategic" / f"{model}.safetensors").unlink()
    with pytest.raises(ModelFileError, match="missing; add it again"):
        registry.get(model)
    add(registry)
    assert registry.get(model).content == FILES[0]
    assert stages(registry) == {model: "shadow"}


def test_a_damaged_live_model_can_still_be_taken_down(tmp_path):
    registry = Registry(tmp_path)
    model = add(registry)
    promote(registry, model, "shadow")
    promote(registry, model, "live")
    (tmp_path / "strategic" / f"{model}.safetensors").write_bytes(b"")
    promote(registry, model, "shadow")
    with pytest.raises(ModelFileError):
        promote(registry, model, "live")
    promote(registry, model, "candidate")
    assert stages(registry) == {model: "candidate"}


def test_a_model_is_read_for_its_features_only(registry):
    model = add(registry)
    assert registry.load(model, expect_schema=schema_of("strategic")).id == model
    with pytest.raises(ModelMismatchError):
        registry.load(model, expect_schema=schema_of("strategic", "unknown"))


# --- references


def test_a_model_is_found_by_id_beginning_stage_and_layer(registry):
    model, other = add(registry), add(registry, TACTICAL)
    promote(registry, model, "shadow")
    for reference in (model, model[:6], f"strategic/{model[:4]}", "strategic/shadow"):
        assert registry.resolve(reference) == ("strategic", model)
    assert registry.resolve("shadow", "strategic") == ("strategic", model)
    assert registry.resolve(other[:8]) == ("tactical", other)


@pytest.mark.parametrize(
    ("reference", "layer", "said"),
    [
        ("0000", None, "no model"),
        ("abc", None, "first 4 digits"),
        ("xyz_", None, "first 4 digits"),
        ("", None, "first 4 digits"),
        ("../../etc", None, "expected strategic or tactical"),
        ("live", None, "its layer too"),
        ("live", "strategic", "no live strategic model"),
        ("strategic/live", "tactical", "expected a model of the tactical layer"),
        ("ensemble/live", None, "found layer 'ensemble'"),
    ],
)
def test_what_names_no_model_is_refused(registry, reference, layer, said):
    add(registry)
    with pytest.raises(RegistryError, match=said):
        registry.get(reference, layer)


def test_a_beginning_that_two_models_share_is_refused_with_both(tmp_path):
    registry = Registry(tmp_path)
    seen = {}
    for seed in range(200_000):  # four digits: a pair is found after some hundred
        content = model_bytes(manifest_of(settings={"n": seed}), weights_of())
        start = hashlib.sha256(content).hexdigest()[:4]
        if start in seen:
            break
        seen[start] = content
    first, second = add(registry, seen[start]), add(registry, content)
    with pytest.raises(RegistryError, match="2 models") as refused:
        registry.get(start)
    assert first[:12] in str(refused.value)
    assert second[:12] in str(refused.value)


# --- stages


def test_a_model_goes_up_one_stage_at_a_time_and_the_record_says_who_when_and_why(registry):
    model = add(registry, at_ns=10)
    with pytest.raises(RegistryError, match="one stage at a time"):
        promote(registry, model, "live")
    promote(registry, model, "shadow", at_ns=20, who="ben", why="ECE 0.03")
    promote(registry, model, Stage.LIVE, at_ns=30, who="cem", why="three weeks beside")
    history = registry.state("strategic").history
    told = [(c.number, c.at_ns, c.who, c.why, c.moves[0].before, c.moves[0].after) for c in history]
    assert told == [
        (1, 10, "ana", "test", None, "candidate"),
        (2, 20, "ben", "ECE 0.03", "candidate", "shadow"),
        (3, 30, "cem", "three weeks beside", "shadow", "live"),
    ]
    assert registry.get("strategic/live").id == model


def test_who_is_displaced_steps_down_one_stage_so_that_a_rollback_is_one_step(registry):
    first, second, third = (add(registry, content) for content in FILES[:3])
    promote(registry, first, "shadow")
    promote(registry, first, "live")
    promote(registry, second, "shadow")
    promote(registry, second, "live")
    assert stages(registry) == {first: "shadow", second: "live", third: "candidate"}
    promote(registry, first, "live")
    assert stages(registry) == {first: "live", second: "shadow", third: "candidate"}
    promote(registry, third, "shadow")
    assert stages(registry) == {first: "live", second: "candidate", third: "shadow"}
    change = promote(registry, first, "shadow")
    assert [(move.model, move.after) for move in change.moves] == [(first, "shadow"), (third, "candidate")]
    assert registry.state("strategic").standing(Stage.LIVE) is None


def test_the_layers_do_not_know_each_other(registry):
    strategic, tactical = add(registry), add(registry, TACTICAL)
    for model in (strategic, tactical):
        promote(registry, model, "shadow")
        promote(registry, model, "live")
    assert registry.get("strategic/live").id == strategic
    assert registry.get("tactical/live").id == tactical
    assert [(entry.layer, entry.id) for entry in registry.entries()] == [
        ("strategic", strategic),
        ("tactical", tactical),
    ]
    assert [entry.id for entry in registry.entries("tactical")] == [tactical]


def test_a_model_that_was_not_evaluated_goes_to_shadow_but_not_live(registry):
    model = add(registry, UNMEASURED)
    promote(registry, model, "shadow")
    with pytest.raises(RegistryError, match="no metrics"):
        promote(registry, model, "live")
    assert stages(registry) == {model: "shadow"}


def test_moving_to_where_it_stands_changes_nothing(registry):
    model = add(registry)
    assert promote(registry, model, "candidate") is None
    assert len(registry.state("strategic").history) == 1


@pytest.mark.parametrize("words", [{"who": ""}, {"why": "  "}])
def test_nothing_is_moved_without_a_name_and_a_reason(registry, words):
    model = add(registry)
    with pytest.raises(RegistryError, match="go on the record"):
        promote(registry, model, "shadow", **words)


def test_an_unknown_stage_is_refused(registry):
    model = add(registry)
    with pytest.raises(RegistryError, match="candidate, shadow, live"):
        promote(registry, model, "retired")


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["candidate", "shadow", "live", "add"])), min_size=1, max_size=25
    )
)
def test_whatever_is_asked_for_there_is_at_most_one_shadow_and_one_live_and_the_history_adds_up(steps):
    registry = Registry(_Memory())
    ids = [hashlib.sha256(content).hexdigest() for content in FILES]
    expected = {}  # a slow reference: plain rules on a dictionary
    for number, stage in steps:
        model = ids[number]
        if stage == "add":
            add(registry, FILES[number])
            expected.setdefault(model, 0)
            continue
        target = ["candidate", "shadow", "live"].index(stage)
        if model not in expected or target > expected[model] + 1:
            with pytest.raises(RegistryError):
                promote(registry, model, stage)
        else:
            promote(registry, model, stage)
            moving, place = model, target
            while moving is not None and expected[moving] != place:
                expected[moving] = place
                moving = next((m for m, s in expected.items() if s == place and m != moving), None) if place else None
                place -= 1
        found = [["candidate", "shadow", "live"].index(s) for s in stages(registry).values()]
        assert dict(zip(stages(registry), found, strict=True)) == expected
        assert found.count(1) <= 1
        assert found.count(2) <= 1


# --- the history


def test_a_changed_removed_or_foreign_entry_of_the_history_is_found(tmp_path):
    def made(name):
        registry = Registry(tmp_path / name)
        model = add(registry)
        promote(registry, model, "shadow")
        promote(registry, model, "live")
        return registry, tmp_path / name / "strategic/history"

    registry, folder = made("changed")
    entry = folder / "00000002.json"
    entry.write_text(entry.read_text().replace('"ana"', '"eve"'))
    with pytest.raises(RegistryError, match=r"00000003\.json.*history was changed"):
        registry.state("strategic")

    registry, folder = made("removed")
    (folder / "00000002.json").unlink()
    with pytest.raises(RegistryError, match="gap"):
        registry.entries()

    registry, folder = made("foreign")
    (folder / "note.txt").write_text("hello")
    with pytest.raises(RegistryError, match=r"note\.txt"):
        registry.get("strategic/live")

    registry, folder = made("garbage")
    (folder / "00000003.json").write_text("{")
    with pytest.raises(RegistryError, match="not an entry"):
        registry.get("strategic/live")


def test_an_entry_that_contradicts_the_one_before_is_found(tmp_path):
    registry = Registry(tmp_path)
    model = add(registry)
    folder = tmp_path / "strategic/history"
    first = (folder / "00000001.json").read_bytes()
    change = msgspec.json.decode(first, type=Change)
    lie = json.loads(msgspec.json.encode(change))
    lie |= {"number": 2, "previous": hashlib.sha256(first).hexdigest()}
    lie["moves"] = [{"model": model, "before": "shadow", "after": "live"}]
    (folder / "00000002.json").write_text(json.dumps(lie))
    with pytest.raises(RegistryError, match="was not shadow"):
        registry.state("strategic")


class _Memory:
    """A storage in a dictionary, on which another writer can come first."""

    location = "memory"

    def __init__(self):
        self.files = {}
        self.before_create = lambda: None

    def read(self, name):
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def read_all(self, names):
        return [self.read(name) for name in names]

    def names(self, folder):
        return sorted(name for name in self.files if name.startswith(f"{folder}/"))

    def create(self, name, content):
        hook, self.before_create = self.before_create, lambda: None
        hook()
        if name in self.files:
            raise FileExistsError(name)
        self.files[name] = content

    def replace(self, name, content):
        self.files[name] = content


def test_a_writer_who_comes_second_decides_again_on_the_new_state():
    storage = _Memory()
    registry = Registry(storage)
    first, second = add(registry, FILES[0]), add(registry, FILES[1])
    storage.before_create = lambda: promote(registry, second, "shadow")
    promote(registry, first, "shadow")
    assert stages(registry) == {first: "shadow", second: "candidate"}
    assert len(registry.state("strategic").history) == 4


def test_a_writer_who_comes_second_is_refused_where_the_new_state_forbids_it():
    storage = _Memory()
    registry = Registry(storage)
    model = add(registry)
    promote(registry, model, "shadow")
    storage.before_create = lambda: promote(registry, model, "candidate")
    with pytest.raises(RegistryError, match="one stage at a time"):
        promote(registry, model, "live")
    assert stages(registry) == {model: "candidate"}


# --- storage


def test_create_never_replaces_and_replace_always_does(registry):
    storage = registry._storage
    storage.create("a/b/one", b"1")
    with pytest.raises(FileExistsError):
        storage.create("a/b/one", b"2")
    assert storage.read("a/b/one") == b"1"
    storage.replace("a/b/one", b"3")
    storage.replace("a/b/two", b"4")
    assert storage.names("a/b") == ["a/b/one", "a/b/two"]
    assert storage.read_all(["a/b/two", "a/b/one"]) == [b"4", b"3"]
    assert storage.read_all(["a/b/two"]) == [b"4"]
    assert storage.read_all([]) == storage.names("nothing") == []
    with pytest.raises(FileNotFoundError):
        storage.read("a/none")


def test_an_address_chooses_its_storage(tmp_path):
    assert isinstance(open_storage("memory://x"), ObjectStorage)
    assert open_storage(f"file://{tmp_path}").root == open_storage(tmp_path).root == tmp_path
    assert isinstance(open_storage("models"), FolderStorage)
    with pytest.raises(RegistryError, match="expected a folder or an address"):
        open_storage("nosuch://x")


def test_a_writer_that_hangs_with_the_lock_is_named_not_waited_for_for_ever(tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr("grandmodel.models.storage.LOCK_TRIES", 2)
    registry = Registry(tmp_path)
    with (tmp_path / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RegistryError, match="another process has held its lock"):
            add(registry)
    add(registry)


def test_the_registry_is_where_it_is_said_to_be(tmp_path):
    checkout = Path(__file__).parents[3] / "models"
    has_checkout = any((checkout / layer).is_dir() for layer in ("strategic", "tactical"))
    here = tmp_path / "models"
    assert choose_location("s3://b/m", {"GRANDMODEL_MODELS": "/x"}, tmp_path) == "s3://b/m"
    assert choose_location(None, {"GRANDMODEL_MODELS": "/x"}, tmp_path) == "/x"
    assert choose_location(None, {}, tmp_path) == str(checkout if has_checkout else here)
    (here / "tactical").mkdir(parents=True)
    assert choose_location(None, {}, tmp_path) == str(here)
