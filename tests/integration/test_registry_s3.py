"""The registry in an object store: a real S3 server on loopback (moto), through fsspec and s3fs.

``make setup-dev`` brings what it needs; elsewhere it is skipped.
"""

import threading
import uuid

import pytest

from grandmodel.models.errors import ModelFileError, RegistryError
from grandmodel.models.model_file import model_bytes
from grandmodel.models.registry import Registry
from grandmodel.models.storage import ObjectStorage
from unit.models.model_cases import manifest_of, weights_of

pytest.importorskip("s3fs", reason="needs s3fs: make setup-dev")
pytest.importorskip("moto.server", reason="needs a loopback S3 server: make setup-dev")

BY = {"who": "ana", "why": "test"}
FILES = [model_bytes(manifest_of(), weights_of(seed=seed)) for seed in range(2)]


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def address(server, monkeypatch):
    import s3fs

    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"models-{uuid.uuid4().hex[:8]}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/grandmodel/models"


def test_models_are_added_moved_and_read_back_by_another_reader(address):
    registry = Registry(address)
    assert registry.entries() == []
    model = registry.add(FILES[0], at_ns=1, card="# Card", **BY)
    for number, stage in enumerate(("shadow", "live")):
        registry.promote(model, stage, at_ns=2 + number, **BY)
    other = Registry(address)
    assert other.get("strategic/live").content == FILES[0]
    assert other.card(model) == "# Card"
    assert other.load("strategic/live").manifest == manifest_of()
    second = other.add(FILES[1], at_ns=4, **BY)
    other.promote(second, "shadow", at_ns=5, **BY)
    assert {entry.id: entry.stage.value for entry in registry.entries()} == {model: "live", second: "shadow"}


def test_a_damaged_object_is_refused(address):
    registry = Registry(address)
    model = registry.add(FILES[0], at_ns=1, **BY)
    registry._storage.replace(f"strategic/{model}.safetensors", FILES[0][:-1] + b"x")
    with pytest.raises(ModelFileError, match="damaged"):
        registry.get(model)


def test_of_writers_who_create_one_object_at_once_one_wins(address):
    storages = [ObjectStorage(address) for _ in range(8)]
    barrier = threading.Barrier(len(storages))
    outcomes = [""] * len(storages)

    def create(number):
        barrier.wait()
        try:
            storages[number].create("strategic/history/00000001.json", str(number).encode())
            outcomes[number] = "won"
        except FileExistsError:
            outcomes[number] = "lost"

    threads = [threading.Thread(target=create, args=(number,)) for number in range(len(storages))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]
    assert storages[0].read("strategic/history/00000001.json") == str(outcomes.index("won")).encode()


def test_of_changes_at_once_each_is_on_the_record_exactly_once(address):
    registry = Registry(address)
    ids = [registry.add(content, at_ns=1, **BY) for content in FILES]
    done = [0] * 4

    def work(number):
        own = Registry(address)
        for step in range(6):
            try:
                stage = ("shadow", "candidate", "live")[(step + number) % 3]
                change = own.promote(ids[(step + number) % 2], stage, at_ns=step, who=str(number), why="race")
                done[number] += change is not None
            except RegistryError as error:
                if "one stage at a time" not in str(error):
                    raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    who = [change.who for change in registry.state("strategic").history[2:]]
    assert [who.count(str(number)) for number in range(4)] == done
    assert sum(done) >= 4
