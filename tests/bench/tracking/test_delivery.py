"""What MLflow does not take loses itself and nothing else; every run that ends is terminated."""

import pytest

from gatebench.bench.tracking.delivery import Delivery, Refused
from gatebench.bench.tracking.entries import LONGEST_NAME, Entry, legal_names
from tests.helpers import python

RUN = ("gatebench.run_id", "1")
BAD = ("pass@1", "a//b", "../up", "/root", "what?!", "..", "..x", "x" * 300, "", "naïve/Δ", "tail/")


def entry(metrics=(), parameters=None, tags=None):
    points = tuple((name, value, 0, 7) for name, value in metrics)
    return Entry("suite", RUN, "cell", ("gatebench.cell", "c"), "v", tags or {}, parameters or {}, points)


@pytest.fixture(scope="module")
def delivery(tmp_path_factory):
    return Delivery(f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}")


def cell(delivery):
    experiment = delivery.client.get_experiment_by_name("suite").experiment_id
    found = delivery.client.search_runs([experiment], "tags.`gatebench.cell` = 'c'")
    assert len(found) == 1
    return found[0]


def test_names_become_legal_each_another_and_most_stay():
    stays = (
        "delta_chosen",
        "lm_eval/toolbox_choice/acc,none".replace(",", "/"),
        "claim.the gate: it helps",
        "pass_at_1",
    )
    found = legal_names([*BAD, *stays])
    assert [found[name] for name in stays] == list(stays)
    assert len(set(found.values())) == len(found)
    assert found["pass@1"].startswith("pass_at_1_")  # taken by another
    assert legal_names(["pass@1"]) == {"pass@1": "pass_at_1"}
    assert max(map(len, found.values())) <= LONGEST_NAME


def test_mlflow_takes_every_metric_parameter_and_tag_whatever_its_name(delivery):
    names = [*BAD, "loss", "pass_at_1"]
    values = {name: float(number) for number, name in enumerate(names)}
    words = {name: str(number) for number, name in enumerate(names)}
    delivery(entry(values.items(), words, words))
    found, legal = cell(delivery), legal_names(names)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {legal[name]: value for name, value in values.items()}
    assert found.data.params == {legal[name]: value for name, value in words.items()}


def test_what_is_refused_takes_nothing_with_it_and_leaves_no_run_running(delivery):
    delivery(entry(parameters={"beta": "0.1"}))
    found = cell(delivery)
    delivery.client.update_run(found.info.run_id, status="RUNNING")
    wrong = entry([("late", 0.5), ("later", 0.25)], {"alpha": "1", "beta": "0.2", "tau": "3"})
    with pytest.raises(Refused, match="beta"):
        delivery(wrong)
    found = cell(delivery)
    assert found.info.status == "FINISHED"
    assert found.data.params["beta"] == "0.1"
    assert (found.data.params["alpha"], found.data.params["tau"]) == ("1", "3")
    assert (found.data.metrics["late"], found.data.metrics["later"]) == (0.5, 0.25)


def test_a_database_that_is_gone_is_told_in_one_sentence(tmp_path):
    code = """
import sys
from pathlib import Path
from gatebench.bench.tracking.delivery import Delivery, why_not_written
from gatebench.bench.tracking.entries import Entry

deliver = Delivery(f"sqlite:///{sys.argv[1]}")
deliver(Entry("suite", ("run", "1"), "cell", ("cell", "1"), "v"))
Path(sys.argv[1]).unlink()
try:
    deliver(Entry("suite", ("run", "1"), "cell", ("cell", "2"), "v"))
except Exception as error:
    print(why_not_written("it", error))
"""
    done = python(code, tmp_path / "mlflow.db")
    assert done.returncode == 0, done.stderr
    told = "it could not be written (MlflowException: attempt to write a readonly database); run again to log\n"
    assert done.stdout == told
    assert done.stderr == ""
