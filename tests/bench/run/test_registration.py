"""Claims are what they were before there was a result; whatever is written later is marked."""

import json
import time
from dataclasses import dataclass

import pytest

from gatebench.bench.analysis.summary import run_id, summarize
from gatebench.bench.analysis.tables import claims_table
from gatebench.bench.run.registration import REGISTER, dropped_cells, register_claims, with_registered
from gatebench.bench.store.store import Store
from tests.helpers import CLAIM, DPO, plan_of

OTHER = CLAIM.replace("greater", "less")


@dataclass
class Place:
    """A suite's folder of runs and its store, in which cells get results by hand."""

    folder: object

    @property
    def store(self):
        return Store(self.folder / "store")

    def plan(self, claims, text=DPO):
        return plan_of(self.folder, text + claims)

    def met(self, claims, text=DPO):
        """A run meets the suite with these claims."""
        register_claims(self.plan(claims, text), self.store, self.folder)

    def results(self, text=DPO, **told):
        """Every cell gets its dynamics."""
        for cell in self.plan("", text).cells:
            place = self.store.begin("dynamics", cell.stages["dynamics"])
            if not self.store.is_finished("dynamics", cell.stages["dynamics"]):
                self.store.commit(place, "dynamics", cell.stages["dynamics"], {"seconds": 1.0, **told})

    def judged(self, claims, text=DPO):
        plan = self.plan(claims, text)
        dropped = dropped_cells(plan, self.store, self.folder)
        empty = summarize(plan, Store(self.folder / "empty"), dropped=dropped)
        return with_registered(empty, plan, self.store, self.folder, dropped)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_a_claim_that_stood_before_the_results_is_told_as_it_is(place):
    place.met(CLAIM)
    place.results()
    (claim,) = place.judged(CLAIM).claims
    assert (claim.seen, claim.told) == (0, claim.verdict)
    assert claim.registered == pytest.approx(time.time(), abs=60)
    (line,) = map(json.loads, (place.folder / REGISTER / "good.jsonl").read_text().splitlines())
    assert line["digest"] == claim.digest
    assert line["claim"]["expect"] == "greater"
    assert line["run"] == run_id(place.plan(CLAIM))


def test_one_that_was_written_after_them_is_marked_and_the_old_one_is_missed(place):
    place.met(CLAIM)
    place.results()
    for _ in range(2):  # before a run meets the new one, and after
        found = place.judged(OTHER)
        assert found.claims[0].seen == 2
        assert found.claims[0].told == "undecided, after the fact"
        assert "which stood in this suite when a run met it on" in found.cautions[0]
        place.met(OTHER)
    assert place.judged(CLAIM).claims[0].seen == 0


def test_another_name_changes_nothing(place):
    place.met(CLAIM)
    place.results()
    found = place.judged(CLAIM.replace("the gate raises it", "renamed"))
    assert (found.claims[0].seen, found.notes) == (0, ())


def test_more_seeds_leave_it_standing_and_another_suite_does_not(place, tmp_path):
    place.met(CLAIM)
    place.results()
    more = DPO.replace("seeds: [0]", "seeds: [0, 1]")
    place.met(CLAIM, more)
    place.results(more)
    assert place.judged(CLAIM, more).claims[0].seen == 0
    (place.folder / REGISTER / "good.jsonl").unlink()  # as a suite of another name has none
    assert place.judged(CLAIM, more).claims[0].seen == 4


MODELS = DPO.replace("neox-0.3m]", "neox-0.3m, builtin:ladder/llama-0.3m]")
BY_MODEL = CLAIM.replace("by: [objective]", "by: [model]")


def test_what_is_left_out_after_it_had_a_result_still_counts(place):
    """The contrast of the other model stays in the family; the claim is told as narrowed by whoever saw it."""
    place.met(BY_MODEL, MODELS)
    place.results(MODELS)
    for _ in range(2):  # before the smaller run meets it, and after
        found = place.judged(BY_MODEL)
        (claim,) = found.claims
        assert (claim.seen, claim.narrowed, len(claim.contrasts)) == (0, 2, 2)
        assert claim.told == "undecided, after the fact"
        assert "narrowed after the fact: 2 cells" in claims_table(found).caption
        place.met(BY_MODEL)
    whole = place.judged(BY_MODEL, MODELS).claims[0]
    assert (whole.narrowed, whole.told, len(whole.contrasts)) == (0, "undecided", 2)


def test_what_is_left_out_before_it_had_a_result_does_not(place):
    place.met(BY_MODEL, MODELS)
    place.met(BY_MODEL)
    place.results(MODELS)  # later than the smaller run was begun
    (claim,) = place.judged(BY_MODEL).claims
    assert (claim.narrowed, len(claim.contrasts)) == (0, 1)


def test_a_run_of_other_trainings_leaves_nothing_out(place):
    place.met(BY_MODEL, MODELS)
    place.results(MODELS)
    other = DPO.replace("steps: 4", "steps: 6")
    assert place.judged(BY_MODEL, other).claims[0].narrowed == 0


def test_seeds_that_were_seen_and_dropped_leave_it_undecided(place):
    seeds = DPO.replace("seeds: [0]", "seeds: [0, 1, 2]")
    place.met(CLAIM, seeds)
    place.results(seeds)
    (claim,) = place.judged(CLAIM, DPO.replace("seeds: [0]", "seeds: [0, 2]")).claims
    assert (claim.narrowed, claim.told) == (2, "undecided, after the fact")


def test_a_stage_that_was_damaged_and_made_again_moves_nothing(place):
    place.met(CLAIM)
    place.results(remade=["dynamics-1"])
    assert place.judged(CLAIM).claims[0].seen == 0
    place.met(OTHER)
    assert place.judged(OTHER).claims[0].seen == 2


@pytest.mark.parametrize("line", ["", "{", "[]", '{"time": 1}', "\xff", '{"claim": 3}', "[" * 5000])
def test_a_line_that_cannot_be_read_is_a_claim_that_was_never_met(place, line):
    place.results()
    (place.folder / REGISTER).mkdir()
    (place.folder / REGISTER / "good.jsonl").write_bytes(line.encode("latin1"))
    assert place.judged(CLAIM).claims[0].seen == 2
