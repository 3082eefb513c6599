"""The engine: every example at every position, whatever the batches; nothing of the caller's changes."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmc._errors import DatasetError, InputError, MismatchError, UsageError
from lmc.datasets import Normalization, as_data
from lmc.evaluation import evaluate_path, evaluate_state, normalization_at
from lmc.interpolation import LinearPath

T = [0.0, 0.3, 1.0]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def random_state(module: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    state = {name: torch.rand(value.shape, generator=draw) + 0.1 for name, value in module.state_dict().items()}
    return {name: value.to(module.state_dict()[name].dtype) for name, value in state.items()}


@pytest.fixture
def module() -> nn.Module:
    return network()


@pytest.fixture
def path(module) -> LinearPath:
    return LinearPath(random_state(module, 1), random_state(module, 2))


@pytest.fixture
def arrays() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(23, 6, generator=draw), torch.randint(0, 3, (23,), generator=draw)


def plain(module: nn.Module, state, x, y) -> np.ndarray:
    """What a reader would write by hand."""
    network = copy.deepcopy(module)
    network.load_state_dict(state)
    with torch.no_grad():
        return F.cross_entropy(network.eval()(x), y, reduction="none").numpy()


@pytest.mark.parametrize("size", [None, 1, 5, 23])
def test_equals_a_plain_loop_whatever_the_batch_size(module, path, arrays, size) -> None:
    found = evaluate_path(module, path, T, as_data(arrays), batch_size=size)
    expected = np.stack([plain(module, path.at(t), *arrays) for t in T])
    np.testing.assert_allclose(found.example_loss, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.loss, expected.mean(axis=1, dtype=np.float64), atol=1e-6)
    assert found.example_loss.dtype == np.float32 and found.example_correct.dtype == bool


def test_streamed_batches_give_what_memory_gives(module, path, arrays) -> None:
    x, y = arrays
    stream = [(x[:10], y[:10]), (x[10:20], y[10:20]), (x[20:], y[20:])]
    found = evaluate_path(module, path, T, as_data(stream, task="classification"))
    held = evaluate_path(module, path, T, as_data(arrays), batch_size=7)
    np.testing.assert_allclose(found.example_loss, held.example_loss, rtol=1e-5, atol=1e-6)


class Counting:
    """An iterable of batches that counts its passes."""

    def __init__(self, batches) -> None:
        self.batches, self.passes = batches, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.batches)


@pytest.mark.parametrize(("memory", "passes"), [(2**30, 1), (1, len(T))])
def test_a_stream_is_read_once_for_each_chunk_of_positions(module, path, arrays, memory, passes) -> None:
    counting = Counting([arrays])
    data = as_data(counting, task="classification")
    counting.passes = 0
    found = evaluate_path(module, path, T, data, memory=memory)
    assert counting.passes == passes + 1  # and one look at the first batch
    held = evaluate_path(module, path, T, as_data(arrays))
    np.testing.assert_allclose(found.example_loss, held.example_loss, rtol=1e-5, atol=1e-6)


class Shuffled:
    """Batches in another order at each pass, as a DataLoader with shuffle=True gives them."""

    def __init__(self, x, y) -> None:
        self.x, self.y, self.draw = x, y, torch.Generator().manual_seed(0)

    def __iter__(self):
        order = torch.randperm(len(self.x), generator=self.draw)
        return iter([(self.x[order], self.y[order])])


def test_data_that_change_between_passes_are_refused(module, path, arrays) -> None:
    data = as_data(Shuffled(*arrays), task="classification")
    with pytest.raises(DatasetError, match="shuffle=False"):
        evaluate_path(module, path, T, data, memory=1)


@pytest.mark.parametrize("training", [True, False])
def test_neither_the_module_nor_the_ends_change(module, arrays, training) -> None:
    module.train(training)
    a, b = random_state(module, 1), random_state(module, 2)
    kept = copy.deepcopy((module.state_dict(), a, b))
    found = evaluate_path(module, LinearPath(a, b), T, as_data(arrays))
    for now, before in zip((module.state_dict(), a, b), kept, strict=True):
        assert all(torch.equal(now[name], before[name]) for name in before)
    assert all(child.training == training for child in module.modules())
    np.testing.assert_allclose(found.example_loss[0], plain(module, a, *arrays), rtol=1e-5)  # eval mode all the same


def test_one_state_is_a_path_that_does_not_move(module, path, arrays) -> None:
    found = evaluate_state(module, path.at(1.0), as_data(arrays))
    np.testing.assert_array_equal(found.example_loss, evaluate_path(module, path, 1.0, as_data(arrays)).example_loss)


def test_token_data_count_windows() -> None:
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 7))
    tokens = torch.randint(0, 7, (9, 4), generator=torch.Generator().manual_seed(0))
    data = as_data((tokens, tokens.roll(1, dims=1)), task="tokens")
    found = evaluate_state(model, model.state_dict(), data, batch_size=2)
    with torch.no_grad():
        right = (model(tokens).argmax(-1) == tokens.roll(1, dims=1)).float().mean(1)
    assert found.example_loss.shape == found.example_correct.shape == (1, 9)
    np.testing.assert_allclose(found.example_correct[0], right)


def test_regression_has_no_accuracy() -> None:
    model = nn.Linear(2, 1)
    x, y = torch.randn(5, 2), torch.randn(5)
    found = evaluate_state(model, model.state_dict(), as_data((x, y), task="regression"))
    with torch.no_grad():
        np.testing.assert_allclose(found.example_loss[0], (model(x)[:, 0] - y) ** 2, rtol=1e-5)
    assert found.example_correct is None and found.accuracy is None


def test_a_loss_of_ones_own(module, path, arrays) -> None:
    found = evaluate_path(module, path, T, as_data(arrays), loss=lambda outputs, targets: outputs[:, 0] + targets)
    assert found.example_loss.shape == (3, 23) and found.example_correct is not None


def test_a_recurrent_network_takes_each_positions_weights() -> None:
    """An LSTM keeps its own list of flat weights, which swapping tensors from outside can leave behind."""

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    model = Last()
    rows, labels = torch.randn(6, 5, 3), torch.randint(0, 3, (6,))
    line = LinearPath(random_state(model, 1), random_state(model, 2))
    found = evaluate_path(model, line, T, as_data((rows, labels)))
    np.testing.assert_allclose(found.example_loss[2], plain(model, line.at(1.0), rows, labels), atol=1e-6)


def test_each_end_sees_its_own_normalisation() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.LazyLinear(3))
    images, labels = torch.rand(4, 2, 5, 5), torch.randint(0, 3, (4,))
    model(images)
    state = model.state_dict()
    pair = (Normalization((0.1, 0.2), (0.5, 0.4)), Normalization((0.3, 0.0), (1.0, 2.0)))
    found = evaluate_path(model, LinearPath(state, state), T, as_data((images, labels)), normalizations=pair)
    for row, constants in ((0, pair[0]), (2, pair[1])):
        mean, std = (torch.tensor(part).view(1, 2, 1, 1) for part in (constants.mean, constants.std))
        expected = plain(model, state, (images - mean) / std, labels)
        np.testing.assert_allclose(found.example_loss[row], expected, atol=1e-5)


def test_scale_and_shift_are_interpolated_not_mean_and_std() -> None:
    pair = (None, Normalization((0.5,), (0.25,)))
    between = normalization_at(pair, 0.5)
    assert between is not None and normalization_at(pair, 0.0) is None
    scale, shift = between.scale_shift()
    np.testing.assert_allclose([scale.item(), shift.item()], [(1 + 4) / 2, (0 - 2) / 2])


def test_a_loss_that_is_not_finite_names_position_and_example(module, path, arrays) -> None:
    broken = {name: value + float("inf") if name == "4.bias" else value for name, value in path.b.items()}
    with pytest.raises(InputError, match=r"example 0 at t = 0.3 is nan"):
        evaluate_path(module, LinearPath(path.a, broken), T, as_data(arrays), batch_size=5)

    def spiked(outputs, targets):
        return torch.where((outputs[:, 0] - worst).abs() < 1e-6, torch.inf, outputs[:, 0])

    worst = 0.0
    worst = float(evaluate_path(module, path, 0.0, as_data(arrays), loss=spiked).example_loss[0, 17])
    with pytest.raises(InputError, match=r"example 17 at t = 0 is inf \(1 of 5"):
        evaluate_path(module, path, T, as_data(arrays), batch_size=5, loss=spiked)


@dataclass
class Bars:
    total: int | None = None
    done: int = 0

    def __call__(self, total=None, desc=None):
        self.total = total
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None: ...

    def update(self, n: int = 1) -> None:
        self.done += n


def test_progress_ends_at_its_total(module, path, arrays) -> None:
    bar = Bars()
    evaluate_path(module, path, T, as_data(arrays), batch_size=5, progress=bar)
    assert bar.total == bar.done == 23 * len(T)


class Tied(nn.Module):
    """An embedding that is also the read-out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(3, 4), nn.Linear(4, 3, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.embed(x).mean(1))


def test_weights_that_untie_a_tied_network_are_refused() -> None:
    model = Tied()
    data = as_data((torch.zeros(2, 2, dtype=torch.long), torch.tensor([0, 1])), task="classification")
    assert evaluate_state(model, model.state_dict(), data).example_loss.shape == (1, 2)
    with pytest.raises(MismatchError, match=r"'embed.weight' and 'head.weight' are one tensor"):
        evaluate_state(model, random_state(model, 3), data)


def test_weights_that_do_not_fit_are_listed_before_anything_runs(module, arrays) -> None:
    state = random_state(module, 1)
    del state["0.bias"]
    state["4.weight"] = torch.zeros(5, 8)
    with pytest.raises(MismatchError, match=r"missing '0.bias'.*'4.weight' is \(5, 8\), the network has \(3, 8\)"):
        evaluate_state(module, state, as_data(arrays))


def test_a_head_with_too_few_classes_is_told(module, path, arrays) -> None:
    x, y = arrays
    with pytest.raises(DatasetError, match="3 classes"):
        evaluate_path(module, path, T, as_data((x, y + 7)))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device": "nowhere"}, "'nowhere'"),
        ({"dtype": torch.int32}, "int32"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_options_that_make_no_sense(module, path, arrays, options, told) -> None:
    with pytest.raises(UsageError, match=told):
        evaluate_path(module, path, T, as_data(arrays), **options)


def test_half_precision_keeps_losses_in_float32(module, path, arrays) -> None:
    found = evaluate_path(module, path, T, as_data(arrays), dtype=torch.bfloat16)
    wide = evaluate_path(module, path, T, as_data(arrays), dtype=torch.float64)
    np.testing.assert_allclose(found.loss, wide.loss, rtol=0.05)
