"""The conjecture as a test over a set: what is set aside, what controls do, and verdicts where the truth is known."""

from __future__ import annotations

import dataclasses
import json

import known_truth
import numpy as np
import pytest
import torch

import lmc
from lmc import schema
from lmc._errors import UsageError
from lmc.conjectures.controls import negative, positive
from lmc.conjectures.evidence import Bench, Clock
from lmc.conjectures.exhaustive import count, every_permutation, search
from lmc.conjectures.screening import USED, screen
from lmc.conjectures.verdicts import CONNECTED, PROVED, halves, look
from lmc.evaluation import evaluate_path
from lmc.testing import planted_pair


@pytest.fixture(scope="module")
def trained():
    return known_truth.trained()


@pytest.fixture(scope="module")
def bench(trained) -> Bench:
    module, _, proof = trained
    return known_truth.bench(module, proof, known_truth.examples, 0, 2000)


@pytest.fixture(scope="module")
def found(trained):
    module, runs, proof = trained
    near = {name: tensor + 0.01 * tensor.std() for name, tensor in runs[0].items()}
    copy, _ = planted_pair(runs[1], proof.spec, noise=0.01, seed=3)
    start = lmc.resolve("mlp?widths=2,32,32,3", seed=9).module.state_dict()
    models = {"one": runs[0], "two": runs[1], "one later": near, "two permuted": copy, "untrained": start}
    lines: list[str] = []
    data = lmc.as_data(known_truth.examples(1500, 5))
    result = lmc.conjecture(
        module,
        models,
        data,
        proof=proof,
        points=9,
        refused={"other": "other shapes"},
        attrs={"who": "me"},
        say=lines.append,
    )
    return result, lines


@pytest.mark.parametrize(("kind", "runs"), [("planted", 3), ("tiny", 2), ("random", 2)])
def test_what_is_said_is_true(kind: str, runs: int):
    """The short version of ``python tests/known_truth.py``, whose table stands in docs/conjecture.md."""
    outcomes = known_truth.counts(kind, runs)
    assert not [word for word in outcomes if word.startswith("false")]
    assert outcomes["right"] > runs / 2


def test_runs_that_prove_nothing_are_set_aside_by_name(found):
    result, lines = found
    status = dict(zip(result.model.values.tolist(), result.model_status.values.tolist(), strict=True))
    used = [name for name, one in status.items() if one == USED]
    assert len(used) == 2 and {name.split()[0] for name in used} == {"one", "two"}
    gone = {name: one for name, one in status.items() if one != USED}
    assert any("the same run as one" in one for one in gone.values())
    assert any("permuted copy of two" in one for one in gone.values())
    assert "does not solve the task" in gone["untrained"] and gone["other"] == "refused: other shapes"
    assert any("untrained" in line for line in lines)


def test_a_result_is_of_its_schema_and_tells_what_it_rests_on(found):
    result, _ = found
    schema.validate(result, "conjecture")
    assert result.sizes["pair"] == 1 and "1 pair: 1 of 1" in result.attrs["summary"]
    assert json.loads(result.attrs["ladder"]) == ["none", "weights?restarts=4&scale=plain"], "no data, no activations"
    assert bool(result.control_passed.sel(control=result.control[0]))
    chosen = result.isel(pair=0)
    tried = chosen.tried.values
    assert tried[0] and np.isnan(chosen.barrier.values[~tried]).all()
    assert (chosen.barrier_ci.values[tried, 0] <= chosen.barrier.values[tried]).all()
    assert any("set aside" in one for one in json.loads(result.attrs["caveats"]))


def test_fewer_than_two_solutions_are_refused_with_the_reason_of_each(trained):
    module, runs, proof = trained
    untrained = lmc.resolve("mlp?widths=2,32,32,3", seed=9).module.state_dict()
    data = lmc.as_data(known_truth.examples(400, 5))
    with pytest.raises(UsageError, match=r"(?s)good: used.*bad: does not solve the task"):
        lmc.conjecture(module, {"good": runs[0], "bad": untrained}, data, proof=proof)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"tolerance": 0.0}, "tolerance must be"),
        ({"confidence": 1.0}, "confidence must lie"),
        ({"metric": "accuracy"}, "metric is 'accuracy'"),
        ({"ladder": ["wieghts"]}, "weights"),
        ({"ladder": ["none", "activations"]}, "align_data="),
    ],
)
def test_settings_that_make_no_sense_are_refused(trained, setting, message):
    module, runs, proof = trained
    data = lmc.as_data(known_truth.examples(100, 5))
    with pytest.raises(UsageError, match=message):
        lmc.conjecture(module, {"a": runs[0], "b": runs[1]}, data, proof=proof, **setting)


def test_independent_runs_are_no_copies_of_each_other(trained, bench):
    module, runs, proof = trained
    models = {str(i): state for i, state in enumerate(runs)}
    assert screen(module, models, bench.data, proof.spec).used == list(models)


def test_the_positive_control_fails_where_no_method_can_find_it(trained, bench):
    _, runs, _ = trained
    assert positive(bench, runs[0], known_truth.LADDER).passed
    blind = positive(bench, runs[0], ("none",))
    assert not blind.passed and "says nothing" in blind.message


def test_the_positive_control_says_which_methods_had_no_time(trained, bench):
    _, runs, _ = trained
    late = positive(dataclasses.replace(bench, clock=Clock(budget=0.0)), runs[0], known_truth.LADDER)
    assert not late.passed and "no time was left for weights?restarts=4&scale=plain" in late.message


def test_the_positive_control_screens_its_copy_as_the_models_were(trained, bench):
    _, runs, _ = trained
    with pytest.raises(UsageError, match="dtype must be a floating one"):
        positive(dataclasses.replace(bench, settings={"dtype": torch.int64}), runs[0], ())


def test_a_random_permutation_is_told_from_a_good_one(trained, bench):
    _, runs, _ = trained
    assert negative(bench, runs[0], runs[1], "0 and 1").passed
    # Of a network that no permutation changes, every random one is good: the control says so.
    flat = {name: torch.zeros_like(tensor) for name, tensor in runs[0].items()}
    assert not negative(bench, flat, flat, "nothing").passed


def test_the_counterexample_is_proved_and_its_copy_found():
    module, (a, b), proof = known_truth.tiny()
    here = known_truth.bench(module, proof, known_truth.quadrant, 0, 2000)
    assert count(proof.spec) == 4 == len(list(every_permutation(proof.spec)))
    alone, copy = search(here, [(a, b), (a, planted_pair(a, proof.spec, seed=1)[0])])
    assert (alone.word, copy.word) == (PROVED, CONNECTED)


def test_a_search_corrects_pairs_together_and_measures_as_it_was_told():
    module, (a, b), proof = known_truth.tiny()
    here = known_truth.bench(module, proof, known_truth.quadrant, 0, 2000)
    (once,), thrice = search(here, [(a, b)]), search(here, [(a, b)] * 3)
    assert [one.p for one in thrice] == pytest.approx([3 * once.p] * 3)
    question = dataclasses.replace(here.question, metric="loss")
    flat = {"loss": lambda outputs, targets: 0.0 * outputs.sum(dim=1)}
    words = [
        search(dataclasses.replace(here, question=question, settings=settings), [(a, b)])[0].word
        for settings in ({}, flat)
    ]
    assert words == [PROVED, CONNECTED], "no barrier in a loss that is zero everywhere"


def test_a_first_look_ends_where_the_barrier_is_far_over_the_tolerance(trained):
    module, runs, proof = trained
    data = lmc.as_data(known_truth.examples(8000, 6))
    here = dataclasses.replace(known_truth.bench(module, proof, known_truth.examples, 0, 2000), data=data)
    far, near = here.measure(runs[0], runs[1], "random?seed=1"), here.measure(runs[0], runs[0], "none")
    assert far.tried.examples == 500 and far.tried.p_above < 1e-3 and not far.promising
    assert near.tried.examples == 4000 and near.promising
    chosen, reported = halves(8000, 0, most=500)
    every = halves(8000, 0)
    assert set(chosen) <= set(every[0]) and set(reported) <= set(every[1]), "halves stay apart over both looks"
    moved = lmc.align(runs[0], runs[1], proof.spec, method="random?seed=1").apply(runs[1])
    seen = evaluate_path(module, lmc.LinearPath(runs[0], moved), known_truth.T, data)
    by_hand = look(1.0 - np.asarray(seen.example_correct).T, here.question, (chosen, reported))
    assert (far.tried.chosen_by, far.tried.barrier) == pytest.approx((by_hand.chosen_by, by_hand.barrier))
    assert far.tried.chosen_by != pytest.approx(far.tried.barrier), "else the halves could be exchanged unseen"
    assert far.tried.p_above == pytest.approx(10 * by_hand.p_above), "the first look has a tenth to spend"


def test_the_later_look_pays_for_the_first(trained):
    """Two looks at one claim: each has its share of the error probability."""
    module, runs, proof = trained
    data = lmc.as_data(known_truth.examples(4000, 6))
    twice = dataclasses.replace(known_truth.bench(module, proof, known_truth.examples, 0, 2000), data=data)
    once = dataclasses.replace(twice, settings={"work": None, "recalibrate": data})  # never looks first
    b = {name: torch.lerp(runs[0][name], tensor, 0.35) for name, tensor in runs[1].items()}
    one, two = (here.measure(runs[0], b, "none").tried for here in (once, twice))
    assert one.examples == two.examples == 2000 and 1e-5 < one.p_above < 0.5, "neither sure nor hopeless"
    assert two.p_above == pytest.approx(10 / 9 * one.p_above)


def test_a_pair_is_left_by_the_half_that_methods_are_chosen_on_alone(trained, bench):
    module, runs, proof = trained
    moved = lmc.align(runs[0], runs[1], proof.spec, method="random?seed=1").apply(runs[1])
    seen = evaluate_path(module, lmc.LinearPath(runs[0], moved), known_truth.T, bench.data)
    right = int(np.flatnonzero(np.asarray(seen.example_correct).all(axis=0))[0])
    rows = np.arange(bench.data.size)
    rows[halves(len(rows), bench.question.seed)[0]] = right  # no barrier on the half that methods are chosen on
    data = lmc.as_data((bench.data.inputs[rows], bench.data.targets[rows]))
    found = dataclasses.replace(bench, data=data).measure(runs[0], moved, "none")
    assert found.promising and found.tried.chosen_by == 0 and found.tried.barrier > 0.1


def test_no_method_is_begun_that_has_no_time_left(trained, bench):
    _, runs, _ = trained
    hurried = dataclasses.replace(bench, clock=Clock(1e-9))
    (tried,) = hurried.climb([(runs[0], runs[1])], known_truth.LADDER)
    assert list(tried) == ["none"] and hurried.untried(tried, known_truth.LADDER) == ["weights?restarts=4&scale=plain"]
