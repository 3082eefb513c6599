"""The fusion table from Python: its rows are what they say, and what makes no sense is refused before any work."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from lmc import fusion_table, open_data, resolve, schema
from lmc._errors import InputError, MismatchError, UsageError
from lmc.datasets import as_data
from lmc.evaluation import evaluate_ensemble, evaluate_state
from lmc.evaluation.ensemble import mean_answer
from lmc.pipeline import prove, resized, sizes_of
from lmc.testing import fake_classification, planted_pair, tiny_cnn, tiny_mlp

DATA = fake_classification((6,), examples=60, seed=0)
TRAIN = fake_classification((6,), examples=80, seed=1)


@pytest.fixture(scope="module")
def planted() -> tuple[nn.Module, list[dict[str, torch.Tensor]]]:
    """A network, and itself with its units permuted."""
    module = tiny_mlp((6, 12, 10, 3))
    proof = prove(module, torch.zeros(2, 6))
    return module, [module.state_dict(), planted_pair(module.state_dict(), proof.spec, seed=1)[0]]


def test_rows_are_the_networks_they_say(planted):
    module, states = planted
    kept = copy.deepcopy(states)
    made = fusion_table(module, states, DATA, method=["align-then-average", "ensemble"], mix=(3, 1), names=["a", "b"])
    table = made.dataset
    schema.validate(table, "fusion")
    names = ["a", "b", "ensemble (logits)", "ensemble (probabilities)", "vanilla", "align-then-average", "ensemble"]
    assert list(table.model.values) == names
    assert list(table.role.values) == ["parent"] * 2 + ["ensemble"] * 2 + ["baseline", "fused", "ensemble"]
    loss = dict(zip(names, table.loss.values, strict=True))
    assert loss["align-then-average"] == pytest.approx(loss["a"], rel=1e-5) == pytest.approx(loss["b"], rel=1e-5)
    assert abs(loss["vanilla"] - loss["a"]) > 1e-3, "the comparison can fail"
    mixed = {key: 0.75 * states[0][key] + 0.25 * states[1][key] for key in states[0]}
    data = as_data(DATA)
    assert loss["vanilla"] == pytest.approx(float(evaluate_state(module, mixed, data).loss[0]), rel=1e-5)
    np.testing.assert_allclose(table.example_loss.mean("example"), table.loss, rtol=1e-6)
    assert ((table.loss_ci[:, 0] <= table.loss) & (table.loss <= table.loss_ci[:, 1])).all()
    count = sum(one.numel() for one in module.parameters())
    assert table.parameters.values.tolist() == [count, count, 2 * count, 2 * count, count, count, 2 * count]
    assert np.isnan(table.seconds_fuse[:4]).all() and (table.seconds_fuse[4:] >= 0).all()
    papers = json.loads(table.attrs["citations"])
    assert set(papers) == {"align-then-average", "ensemble"} and all(text.startswith("@") for text in papers.values())
    assert json.loads(table.attrs["mix"]) == [0.75, 0.25] and "symmetry_error" in table.attrs
    assert all(torch.allclose(made.state[key], tensor, atol=1e-6) for key, tensor in states[0].items())
    for state, before in zip(states, kept, strict=True):
        assert all(torch.equal(state[key], tensor) for key, tensor in before.items())


def test_nothing_is_measured_without_data(planted):
    module, states = planted
    made = fusion_table(module, states, method="vanilla", example_inputs=torch.zeros(2, 6))
    mean = (states[0]["0.weight"] + states[1]["0.weight"]) / 2
    assert made.dataset is None and torch.equal(made.state["0.weight"], mean)
    assert fusion_table(module, states, DATA, method="ensemble", examples=False).state == {}


def test_fine_tuning_goes_on_from_the_fused_network_and_from_its_control():
    train, test = open_data("digits?limit=300", "train"), open_data("digits?limit=200", "test")
    module = resolve("mlp?widths=64,16,10").module
    states = [resolve("mlp?widths=64,16,10", seed=seed).module.state_dict() for seed in (0, 1)]
    settings = {"method": "align-then-average", "train_data": train, "finetune": 6, "finetuning": {"lr": 0.03}}
    made = fusion_table(module, states, test, **settings)
    table = made.dataset
    assert list(table.model.values[-4:]) == [
        *("vanilla", "vanilla, fine-tuned"),
        *("align-then-average", "align-then-average, fine-tuned"),
    ]
    assert list(table.role.values[-4:]) == ["baseline", "fine-tuned", "fused", "fine-tuned"]
    assert table.loss[-1] < 0.8 * table.loss[-2] and table.loss[-3] < 0.8 * table.loss[-4]
    np.testing.assert_allclose(evaluate_state(module, made.state, test).loss[0], table.loss[-1], rtol=1e-6)
    assert json.loads(table.attrs["finetune"])["epochs"] == 6
    assert "learning rate 0.03" in str(table.fusion_message[-1].item())
    again = fusion_table(module, states, test, **settings)
    assert all(torch.equal(again.state[key], tensor) for key, tensor in made.state.items()), "the seed decides"


def test_statistics_of_averaged_networks_are_reset_and_parents_keep_theirs():
    module = tiny_cnn()
    states = [tiny_cnn(seed=seed).state_dict() for seed in (1, 2)]
    data, train = (fake_classification((1, 8, 8), examples=40, seed=seed) for seed in (3, 4))
    plain, reset = (
        fusion_table(module, states, data, method="vanilla", train_data=train, recalibrate=flag)
        for flag in (False, True)
    )
    mean = (states[0]["1.running_mean"] + states[1]["1.running_mean"]) / 2
    torch.testing.assert_close(plain.state["1.running_mean"], mean)
    assert not torch.allclose(reset.state["1.running_mean"], mean, atol=1e-2)
    assert np.array_equal(plain.dataset.loss[:2], reset.dataset.loss[:2])
    assert reset.dataset.loss[-1] != plain.dataset.loss[-1]
    assert reset.dataset.attrs["recalibrated"] != "no" == plain.dataset.attrs["recalibrated"]


def test_an_ensemble_is_the_mean_of_answers():
    outputs = [torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.0, 3.0, 1.0]])]
    mix = (0.75, 0.25)
    logits, answers, values = (
        mean_answer(outputs, mix, *how)
        for how in (("logits", "classification"), ("probabilities", "classification"), ("probabilities", "regression"))
    )
    torch.testing.assert_close(logits, torch.tensor([[1.5, 0.75, -0.5]]).double())
    probabilities = sum(m * one.double().softmax(1) for m, one in zip(mix, outputs, strict=True))
    torch.testing.assert_close(answers.exp(), probabilities)
    assert not torch.allclose(logits.softmax(1), probabilities, atol=0.01)
    torch.testing.assert_close(values, logits)
    narrow, wide = tiny_mlp((6, 4, 3), seed=1), tiny_mlp((6, 9, 8, 3), seed=2)
    members, data = [(one, one.state_dict()) for one in (narrow, wide)], as_data(DATA)
    alone = evaluate_ensemble(members, data, mix=(1, 0))
    np.testing.assert_allclose(alone.example_loss, evaluate_state(*members[0], data).example_loss, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="different shapes"):
        evaluate_ensemble([members[0], (other := tiny_mlp((6, 4, 5)), other.state_dict())], data)
    with pytest.raises(UsageError, match="3 shares for an ensemble of 2"):
        evaluate_ensemble(members, data, mix=(1, 0, 0))


@pytest.mark.parametrize(
    ("reference", "widths", "shape"),
    [
        ("mlp?widths=6,8,5,3", (4, 9), {"fc1.weight": (4, 6), "fc2.weight": (9, 4), "fc3.bias": (3,)}),
        ("mlp?widths=6,8,3&activation=tanh&norm=batch", (5,), {"bn1.running_var": (5,), "fc2.weight": (3, 5)}),
        ("cnn-bn?channels=4,6&size=8", (3, 7), {}),
    ],
)
def test_a_network_of_other_widths_is_like_the_first(reference: str, widths: tuple[int, ...], shape: dict):
    architecture = resolve(reference)
    spec = prove(architecture.module, architecture.example_inputs()).spec
    other = resized(architecture, spec, sizes_of(spec, widths))
    found = prove(other.module, other.example_inputs()).spec
    assert [group.size for group in found.groups] == list(widths)
    assert {group.name for group in found.groups} == {group.name for group in spec.groups}
    for name, sizes in shape.items():
        assert found.shapes[name] == sizes
    if "tanh" in reference:
        assert "activation=tanh" in other.reference
    same = resized(architecture, spec, sizes_of(spec, [group.size for group in spec.groups]))
    assert same.reference == architecture.reference


def test_widths_that_make_no_sense_are_refused():
    architecture = resolve("mlp?widths=6,8,5,3")
    spec = prove(architecture.module, architecture.example_inputs()).spec
    with pytest.raises(UsageError, match=r"3 widths for 2 groups of units \(fc1 8, fc2 5\)"):
        sizes_of(spec, (1, 2, 3))
    with pytest.raises(UsageError, match="from 1 up"):
        sizes_of(spec, (1, 0))
    own = type(architecture)("Net", "nets.py:Net", architecture.module, input_shape=(6,))
    with pytest.raises(UsageError, match="--into"):
        resized(own, spec, {"fc1": 3, "fc2": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "vanila"}, "Did you mean 'vanilla'"),
        ({"method": ["vanilla", "vanilla"]}, "asked for twice"),
        ({"method": []}, "At least one method"),
        ({"method": "ties"}, "fine-tuned from: pass base"),
        ({"method": "fisher"}, "'fisher' looks at examples"),
        ({"finetune": 1}, "Fine-tuning takes examples"),
        ({"finetune": -1}, "from 0 up"),
        ({"recalibrate": True}, "Resetting statistics takes examples"),
        ({"mix": (1, 2, 3)}, "3 shares"),
        ({"train_data": DATA}, "The fusion would look at 100% of the examples that the networks are reported on"),
        ({"confidence": 1.0}, "confidence in"),
        ({"names": ["vanilla", "b"]}, "Two rows of the table are called 'vanilla'"),
    ],
)
def test_requests_that_make_no_sense_are_refused(planted, options: dict, message: str):
    module, states = planted
    with pytest.raises(UsageError, match=message):
        fusion_table(module, states, DATA, **{"method": "vanilla", **options})


def test_networks_that_do_not_go_together_are_refused(planted):
    module, states = planted
    with pytest.raises(MismatchError, match="do not fit the network"):
        fusion_table(module, [states[0], tiny_mlp((6, 4, 3)).state_dict()], DATA, method="vanilla")
    with pytest.raises(UsageError, match="3 networks for 2 state dicts"):
        fusion_table([module] * 3, states, DATA, method="vanilla")
    other = tiny_mlp((6, 4, 3, 3))
    with pytest.raises(UsageError, match="networks of one width only"):
        fusion_table([module, other], [states[0], other.state_dict()], DATA, method="vanilla")
