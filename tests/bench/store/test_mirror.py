"""A store behind a URL: a stage is there whole or not at all, and comes into a cache as what it was."""

import json
import shutil
import uuid

import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.store import remote as remotes
from gatebench.bench.store.files import append_json, sha256_of
from gatebench.bench.store.lease import Leases, Sign, here
from gatebench.bench.store.manifest import ELSEWHERE, MANIFEST, Unsound
from gatebench.bench.store.mirror import LeftBehind
from gatebench.bench.store.objects import SharedFolder
from gatebench.bench.store.remote import Remote, Unreachable
from gatebench.bench.store.runs import bring_runs, publish_run, share_lines
from gatebench.bench.store.sending import arrived_among, catch_up, has_arrived, send
from gatebench.bench.store.shared import CACHE_VARIABLE, results_folder
from gatebench.bench.store.store import Store
from gatebench.bench.store.travel import pull_results, push_results
from tests.s3_server import BUCKET


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.s3)])
def url(request, monkeypatch):
    """A place of the test's own."""
    if request.param == "s3":
        for name, value in request.getfixturevalue("s3_server").environment.items():
            monkeypatch.setenv(name, value)
    return f"{request.param}://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def machine(tmp_path, monkeypatch, url):
    """name -> the results of a machine of that name, the cache of the URL."""

    def make(name):
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / name))
        return results_folder(url)

    monkeypatch.setattr("gatebench.bench.store.mirror.SECONDS_BETWEEN_LISTINGS", 0.0)
    monkeypatch.setattr("gatebench.bench.store.lease.SECONDS_BETWEEN_ASKS", 0.0)
    if url.startswith("memory"):  # it has no buckets
        Remote(url).put("../made", b"")
    return make


def make(store, key="k", curves=b"curves", model=b"weights", **told):
    lock = store.lock("train", key)
    place = store.begin("train", key)
    (place / "model").mkdir()
    (place / "model/weights").write_bytes(model)
    (place / "curves").write_bytes(curves)
    store.commit(place, "train", key, {"inputs": {}, **told})
    send(store, "train", key)
    lock.release(made=True)


def flip(url, file):
    """Damage the object of a file."""
    Remote(url).put(f"files/{sha256_of(file)}", b"something else")


def test_a_stage_made_on_one_machine_is_finished_on_the_other(machine, url):
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    make(one)
    assert two.is_finished("train", "k")
    assert two.finished_among([("train", "k"), ("train", "other")]) == {"k"}
    folder = two.path("train", "k")
    assert (folder / "curves").read_bytes() == b"curves"
    assert not (folder / "model").exists()
    assert two.manifest("train", "k") == one.manifest("train", "k")
    two.check("train", "k", thorough=True)
    assert two.whole("train", "k") == folder
    assert (folder / "model/weights").read_bytes() == b"weights"
    assert not (folder / ELSEWHERE).exists()
    two.check("train", "k", thorough=True)
    stat = (folder / "model/weights").stat()
    assert stat.st_mtime_ns == two.manifest("train", "k")["files"]["model/weights"]["changed"]
    assert Remote(url).names("leases/") == []


def test_a_stage_comes_with_the_results_of_all_that_it_was_made_from(machine):
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    make(one, "a")
    make(one, "b", curves=b"others", inputs={"policy": "a"})
    make(one, "c", curves=b"yet others", inputs={"policy": "b"})
    assert two.is_finished("train", "c")
    assert [two.inputs("train", key)["policy"].name for key in "cb"] == ["b", "a"]


def test_without_its_index_a_stage_is_not_there(machine, url):
    """As who was killed between the two leaves it."""
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    make(one)
    Remote(url).delete(["stages/train/k.json"])
    assert not two.is_finished("train", "k")
    catch_up(one)
    assert two.is_finished("train", "k")


def test_what_a_killed_run_left_is_uploaded_and_its_leases_go(machine, url):
    store = Store(machine("one") / "store")
    make(store, "a")
    place = store.begin("train", "b")
    (place / "curves").write_bytes(b"curves")
    store.commit(place, "train", "b", {"inputs": {}})
    dead = Sign("", here(), (1, "another start"), 60.0).as_bytes()
    for key in ("a", "b", "c"):
        Remote(url).create(f"leases/train-{key}/000001", dead)
    catch_up(store)
    assert Remote(url).names("stages/") == ["stages/train/a.json", "stages/train/b.json"]
    assert Remote(url).names("leases/") == ["leases/train-c/000001"]  # which is still to be made
    assert not list((store.root / ".locks").iterdir())


def test_what_another_process_of_the_machine_has_in_hand_is_not_sent_twice(machine, url):
    store = Store(machine("one") / "store")
    lock = store.lock("train", "a")
    place = store.begin("train", "a")
    (place / "curves").write_bytes(b"curves")
    store.commit(place, "train", "a", {"inputs": {}})
    catch_up(store)
    assert Remote(url).names("stages/") == []
    lock.release(made=False)
    catch_up(store)
    assert Remote(url).names("stages/") == ["stages/train/a.json"]
    assert Remote(url).names("leases/") == []


def test_who_was_second_takes_what_the_first_made(machine):
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    place = two.begin("train", "k")
    (place / "curves").write_bytes(b"other bits")
    make(one)
    two.commit(place, "train", "k", {"inputs": {}})
    send(two, "train", "k")
    assert (two.path("train", "k") / "curves").read_bytes() == b"curves"
    assert two.is_sound("train", "k", thorough=True)


def other_bits(store):
    """A stage finished by a process that has not sent it yet."""
    place = store.begin("train", "k")
    (place / "curves").write_bytes(b"other bits")
    store.commit(place, "train", "k", {"inputs": {}})


@pytest.mark.parametrize("by", ["the next run", "a run beside it"])
def test_what_a_killed_run_did_not_send_gives_way_as_well(machine, by):
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    other_bits(two)
    make(one)
    if by == "the next run":
        catch_up(two)
    else:
        assert has_arrived(two, "train", "k")
    assert (two.path("train", "k") / "curves").read_bytes() == b"curves"
    assert not list((two.root / ".sending").iterdir())


def test_a_stage_that_another_process_sends_has_not_arrived(machine, url):
    store = Store(machine("one") / "store")
    lock = store.lock("train", "k")
    other_bits(store)
    assert store.finished_among([("train", "k")]) == {"k"}
    assert arrived_among(store, [("train", "k")]) == set()
    assert not has_arrived(store, "train", "k")
    assert Remote(url).names("stages/") == []
    send(store, "train", "k")
    assert has_arrived(store, "train", "k")  # the lock is held until it is told
    lock.release(made=True)
    assert arrived_among(store, [("train", "k"), ("train", "other")]) == {"k"}


def test_what_was_killed_while_it_gave_way_is_found_by_the_next_run(machine):
    """A folder that was being removed has lost a file, or its manifest first."""
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    other_bits(two)
    make(one)
    (two.path("train", "k") / "curves").unlink()
    catch_up(two)
    assert not two.is_sound("train", "k", thorough=False)  # check_store sets it aside
    (two.path("train", "k") / "curves").write_bytes(b"other bits")
    (two.path("train", "k") / MANIFEST).unlink()
    assert two.is_finished("train", "k")
    assert two.is_sound("train", "k", thorough=True)
    assert (two.path("train", "k") / "curves").read_bytes() == b"curves"
    assert not list((two.root / ".fetching").iterdir())


def test_what_is_damaged_and_was_not_sent_is_made_anew(machine, url):
    store = Store(machine("one") / "store")
    other_bits(store)
    (store.path("train", "k") / "curves").write_bytes(b"half")
    assert not has_arrived(store, "train", "k")
    assert not store.is_finished("train", "k")
    assert store.set_asides("train", "k") == ["train-k-0"]
    assert Remote(url).names("stages/") == []
    make(store)
    assert has_arrived(store, "train", "k")


def test_results_whose_models_are_gone_from_the_url_are_not_sent_there_as_a_stage(machine, url):
    """Another machine found a model damaged there and has set the stage aside."""
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    make(one)
    assert two.is_finished("train", "k")
    assert two.check_whole([("train", "k")]) == 0
    Remote(url).delete(["stages/train/k.json"])
    catch_up(two)
    assert Remote(url).names("stages/") == []
    assert two.check_whole([("train", "k")]) == 1
    assert two.set_asides("train", "k") == ["train-k-0"]
    assert not two.is_finished("train", "k")  # to be made anew


def test_a_copy_with_a_damaged_manifest_is_left_to_the_check_that_mends_it(machine):
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    make(one)
    assert two.is_finished("train", "k")
    (two.path("train", "k") / MANIFEST).write_text("{}")
    assert two.check_whole([("train", "k")]) == 0
    catch_up(two)
    assert not two.is_sound("train", "k", thorough=False)


def test_results_that_were_pulled_from_another_place_are_sent_and_never_thought_outdated(machine, url):
    there = f"{url}-other"
    push_results(machine_of_one(machine), there, None, weights=False)
    store = Store(machine("two") / "store")
    pull_results(there, store.root.parent, None, weights=False)
    with pytest.raises(LeftBehind, match="weights"):
        store.check_whole([("train", "k")])
    catch_up(store)
    assert Remote(url).names("stages/") == ["stages/train/k.json"]
    assert store.is_finished("train", "k")


def machine_of_one(machine):
    """The results of a machine with one stage that is not behind the URL."""
    results = machine("one").parent / "apart"
    make(Store(results / "store"))
    return results


def test_an_index_that_is_half_written_is_written_anew(machine, url):
    store = Store(machine("one") / "store")
    Remote(url).put("stages/train/k.json", b'{"manifest": ')
    make(store)
    two = Store(machine("two") / "store")
    assert two.is_finished("train", "k")


def test_models_of_other_bits_do_not_complete_results(machine, url):
    """Another machine has made the stage anew."""
    one, two, three = (Store(machine(name) / "store") for name in ("one", "two", "three"))
    make(one)
    assert two.is_finished("train", "k")
    Remote(url).delete(["stages/train/k.json"])
    make(three, model=b"other weights")
    with pytest.raises(Unsound, match=r"not at .* any more"):
        two.whole("train", "k")
    assert Remote(url).names("stages/") == ["stages/train/k.json"]
    assert two.check_whole([("train", "k")]) == 1
    assert two.is_finished("train", "k")
    assert (two.whole("train", "k") / "model/weights").read_bytes() == b"other weights"


def test_what_came_from_the_url_while_it_was_made_here_counts(machine):
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    place = two.begin("train", "k")
    (place / "curves").write_bytes(b"other bits")
    make(one)
    assert two.is_finished("train", "k")
    two.commit(place, "train", "k", {"inputs": {}})
    assert (two.path("train", "k") / "curves").read_bytes() == b"curves"
    assert two.set_asides("train", "k") == []
    assert not place.exists()
    send(two, "train", "k")
    assert arrived_among(two, [("train", "k")]) == {"k"}


def test_of_two_the_sound_one_counts(machine, url):
    """Who was first is damaged at the URL meanwhile."""
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    other_bits(two)
    make(one)
    flip(url, one.path("train", "k") / "curves")
    send(two, "train", "k")
    assert (two.path("train", "k") / "curves").read_bytes() == b"other bits"
    three = Store(machine("three") / "store")
    assert three.is_finished("train", "k")
    assert (three.path("train", "k") / "curves").read_bytes() == b"other bits"


def test_a_stage_that_another_machine_makes_is_locked(machine):
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    lock = one.lock("train", "k")
    assert two.lock("train", "k") is None
    assert two.lock("train", "other") is not None
    lock.release()
    again = two.lock("train", "k")
    assert again is not None
    assert one.lock("train", "k") is None


def test_damaged_results_are_set_aside_there_and_made_again(machine, url, capsys):
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    make(one)
    flip(url, one.path("train", "k") / "curves")
    assert not two.is_finished("train", "k")
    assert "train k is damaged there; set aside" in capsys.readouterr().err
    assert len(Remote(url).names("damaged/")) == 1
    make(two)
    three = Store(machine("three") / "store")
    assert three.is_finished("train", "k")
    assert three.is_sound("train", "k", thorough=True)


def test_a_damaged_model_is_noticed_where_it_is_needed(machine, url):
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    make(one)
    flip(url, one.path("train", "k") / "model/weights")
    assert two.is_finished("train", "k")
    with pytest.raises(Unsound, match=r"model/weights is not what its manifest says at .* run` the suite again"):
        two.whole("train", "k")
    assert not two.is_finished("train", "k")
    make(two)
    assert Store(machine("three") / "store").whole("train", "k")


@pytest.mark.parametrize("change", ["seal", "outside", "other", "half"])
def test_an_index_that_is_not_one_names_no_file_of_ours(machine, url, change):
    one, two = Store(machine("one") / "store"), Store(machine("two") / "store")
    make(one)
    name = "stages/train/k.json"
    index = json.loads(Remote(url).read(name))
    files = index["manifest"]["files"]
    if change == "seal":
        files["curves"]["bytes"] += 1
    elif change == "outside":
        files["../../outside"] = files["curves"]
        del index["manifest"]["seal"]
    elif change == "other":
        name = "stages/train/l.json"
    content = json.dumps(index).encode()
    Remote(url).put(name, content[: len(content) // 2] if change == "half" else content)
    key = name.split("/")[-1].removesuffix(".json")
    assert not two.is_finished("train", key)
    assert not list(two.root.rglob("outside"))
    assert name not in Remote(url).names("stages/")


@pytest.mark.s3
def test_a_server_that_is_down_is_told_and_what_was_made_goes_up_later(machine, url, s3_server, monkeypatch, capsys):
    if not url.startswith("s3"):
        pytest.skip("a memory is never down")
    monkeypatch.setattr(remotes, "PAUSE", 0.1)
    store = Store(machine("one") / "store")
    monkeypatch.setattr(store.shared.mirror, "remote", Remote(url, patience=1.0))
    lock = store.lock("train", "k")
    place = store.begin("train", "k")
    (place / "curves").write_bytes(b"curves")
    store.commit(place, "train", "k", {"inputs": {}})
    s3_server.stop()
    try:
        with pytest.raises(Unreachable, match=r"no answer for 1 s .*the next run uploads it\. Run again when"):
            send(store, "train", "k")
        with pytest.raises(Unreachable) as caught:
            store.shared.mirror.remote.create("stages/train/other.json", b"")
        assert str(caught.value).count("no answer for") == 1
        lock.release(made=False)
    finally:
        s3_server.start()
        s3_server.make_bucket()
    assert "does not answer" in capsys.readouterr().err
    assert (store.path("train", "k") / "curves").exists()
    two = Store(machine("two") / "store")
    assert not two.is_finished("train", "k")
    catch_up(store)
    assert "uploading 1 finished stages" in capsys.readouterr().err
    assert two.is_finished("train", "k")


def test_runs_and_claims_are_read_elsewhere(machine):
    one, two = machine("one"), machine("two")
    run = one / "runs/mine/abc"
    (run / "figures").mkdir(parents=True)
    (run / "logs").mkdir()
    for name in ("summary.json", "built.json", "figures/a.csv", "logs/worker-0.log", "log.jsonl"):
        (run / name).write_text(name)
    publish_run(run)
    bring_runs(two)
    theirs = two / "runs/mine/abc"
    found = {str(file.relative_to(theirs)) for file in theirs.rglob("*") if file.is_file()}
    assert found == {"summary.json", "built.json", "figures/a.csv", ".uploaded"}
    (run / "summary.json").write_text("newer")
    publish_run(run)
    bring_runs(two)
    assert (theirs / "summary.json").read_text() == "newer"
    (theirs / "summary.json").write_text("built here since")
    (run / "summary.json").write_text("newest")
    publish_run(run)
    bring_runs(two)
    assert (theirs / "summary.json").read_text() == "built here since"
    lines = []
    for number, results in enumerate((one, two)):
        file = results / "claims/mine.jsonl"
        file.parent.mkdir()
        append_json(file, {"claim": number})
        share_lines(file)
    for results in (one, two):
        share_lines(results / "claims/mine.jsonl")
        lines.append(sorted((results / "claims/mine.jsonl").read_text().splitlines()))
    assert lines == [['{"claim": 0}', '{"claim": 1}']] * 2


def test_what_is_carried_without_models_says_so_where_one_is_needed(tmp_path, url):
    mine = tmp_path / "mine"
    make(Store(mine / "store"))
    if url.startswith("memory"):
        Remote(url).put("../made", b"")
    assert push_results(mine, url, None, weights=False).stages == 1
    assert push_results(mine, url, None, weights=False).stages == 0
    theirs = tmp_path / "theirs"
    assert pull_results(url, theirs, None, weights=False).stages == 1
    store = Store(theirs / "store")
    assert store.is_sound("train", "k", thorough=True)
    with pytest.raises(LeftBehind, match="model/weights stayed where this stage was made, and a stage that is to run"):
        store.check_whole([("train", "k")])
    with pytest.raises(LeftBehind):
        store.whole("train", "k")
    with pytest.raises(LeftBehind):
        pull_results(url, theirs, None, weights=True)
    push_results(mine, url, None, weights=True)
    pull_results(url, theirs, None, weights=True)
    store.check_whole([("train", "k")])
    assert (store.whole("train", "k") / "model/weights").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nonsense://x/y", r"nonsense://x/y: .*expected a URL that fsspec knows, as in s3://bucket/path"),
        ("file://relative", "expected file:// and a whole path, as in file:///mnt/results"),
    ],
)
def test_a_url_of_nothing_is_one_sentence(given, expected):
    with pytest.raises(UserError, match=expected):
        results_folder(given)


@pytest.mark.s3
def test_a_bucket_that_is_not_there_and_keys_that_are_wrong_are_told_at_once(s3_server, monkeypatch):
    s3fs = pytest.importorskip("s3fs")
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"s3://nowhere/x: there is no nowhere; make it first, or name another"):
        results_folder("s3://nowhere/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    s3fs.S3FileSystem.clear_instance_cache()  # which does not look at the environment
    try:
        with pytest.raises(UserError, match="no access"):
            results_folder(f"s3://{BUCKET}/x")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_path_is_one_machines_store_and_leaves_no_mark(tmp_path):
    results = results_folder(str(tmp_path / "results"))
    assert results == tmp_path / "results"
    assert not results.exists()
    make(Store(results / "store"))
    assert not (results / "store/.leases").exists()


def test_a_shared_folder_is_marked_so_that_a_path_to_it_is_the_same_store(tmp_path):
    results = results_folder(f"file://{tmp_path / 'results'}")
    store = Store(tmp_path / "results/store")
    assert results == tmp_path / "results"
    lock = store.lock("train", "k")
    assert (store.root / ".leases/train-k/000001").exists()
    place = store.begin("train", "k")
    assert place.name == "train-k.1"
    (place / "checkpoints").mkdir()
    lock.release()
    again = store.lock("train", "k")
    place = store.begin("train", "k")
    assert place.name == "train-k.2"
    assert [entry.name for entry in place.iterdir()] == ["checkpoints"]
    assert [entry.name for entry in place.parent.iterdir()] == ["train-k.2"]
    store.commit(place, "train", "k", {})
    again.release(made=True)
    assert not [file for file in (store.root / ".leases").rglob("*") if file.is_file()]
    shutil.rmtree(results)


def test_who_deletes_from_a_shared_folder_waits_for_other_machines_and_refuses_while_they_live(tmp_path, monkeypatch):
    for name in ("lease", "use"):
        monkeypatch.setattr(f"gatebench.bench.store.{name}.LENGTH", 2.0)
    store = Store(results_folder(f"file://{tmp_path / 'results'}") / "store")
    with store.alone():
        assert store.shared.leases.is_held("alone")
    dead = Sign("", "another system", (1, "0"), 2.0).as_bytes()
    SharedFolder(store.root / ".leases").create("use-dead/000001", dead)
    with store.alone():
        assert list((store.root / ".leases/use-dead").iterdir()) == []
    using = Leases(SharedFolder(store.root / ".leases"))  # as another machine has it
    lease = using.take("use-elsewhere")
    with pytest.raises(UserError, match="another machine is using this store"), store.alone():
        pass
    lease.release(done=True)
    with store.in_use():
        assert [name.partition("-")[0] for name in store.shared.leases.held()] == ["use"]
    with store.alone():
        pass
    assert store.shared.leases.held() == []
