"""The user's own examples: arrays, files, code, loaders and streams."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lmc._errors import DatasetError, UsageError
from lmc.datasets import Data, Normalization, StreamedData, as_data, open_data

X = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(10) % 4


class Pairs(torch.utils.data.Dataset):
    """A map-style dataset that is not a TensorDataset."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index], int(Y[index])


class Endless(IterableDataset):
    def __iter__(self):
        return zip(X, Y, strict=True)


class Batches:
    def __init__(self, order=lambda: torch.arange(10), size=4):
        self.order, self.size = order, size

    def __iter__(self):
        return ((X[chosen], Y[chosen]) for chosen in self.order().split(self.size))


def read(data, batch_size=3):
    inputs, targets = zip(*data.batches(batch_size), strict=True)
    return torch.cat(inputs), torch.cat(targets)


SOURCES = {
    "tensors": (lambda: (X, Y), True, 10),
    "arrays": (lambda: [X.double().numpy(), Y.numpy().astype("uint8")], True, 10),
    "TensorDataset": (lambda: TensorDataset(X, Y), True, 10),
    "Dataset": (Pairs, False, 10),
    "IterableDataset": (Endless, False, None),
    "DataLoader": (lambda: DataLoader(Pairs(), batch_size=4, generator=torch.Generator()), False, 10),
    "list of batches": (lambda: [(X[:4], Y[:4]), (X[4:7], Y[4:7]), (X[7:], Y[7:])], False, None),
    "iterable": (Batches, False, None),
}


@pytest.mark.parametrize("source", SOURCES)
def test_whatever_holds_examples_gives_the_same_ones_each_time(source):
    make, in_memory, size = SOURCES[source]
    data = as_data(make(), num_classes=4)
    assert (data.in_memory, data.size, data.input_shape, data.task) == (in_memory, size, (3,), "classification")
    for _ in range(2):
        inputs, targets = read(data)
        torch.testing.assert_close(inputs, X)
        assert torch.equal(targets, Y) and targets.dtype == torch.int64
    assert data.digest == as_data((X, Y)).digest, "the digest does not depend on how examples are held"


def test_streaming_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    read(as_data(Pairs()))
    assert torch.equal(before, torch.get_rng_state())


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12))
def test_the_digest_does_not_depend_on_batches(one, two):
    assert as_data(Batches(size=one)).digest == as_data(Batches(size=two)).digest


def test_the_digest_tells_sets_apart():
    swapped = Y.clone()
    swapped[0] = 3
    digests = {as_data(pair).digest for pair in ((X, Y), (X + 1e-6, Y), (X, swapped), (X.view(10, 3, 1), Y))}
    assert len(digests) == 4


@pytest.mark.parametrize(
    "spent", [lambda: iter([(X, Y)]), lambda: (batch for batch in [(X, Y)]), lambda: zip([X], [Y], strict=True)]
)
def test_what_can_be_read_only_once_is_refused(spent):
    with pytest.raises(DatasetError, match="read only once"):
        as_data(spent())


def test_a_loader_that_shuffles_is_refused():
    with pytest.raises(DatasetError, match="shuffle=False"):
        as_data(DataLoader(Pairs(), shuffle=True))


def test_another_order_on_the_second_pass_is_an_error():
    order = torch.arange(10)
    data = as_data(Batches(order=lambda: order))
    read(data)
    read(data)
    order = order.flip(0)
    with pytest.raises(DatasetError, match="another order"):
        read(data)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X, Y[:-1], "10 inputs, but 9 targets"),
        (X, Y - 1, r"labels must be 0 or above; the smallest is -1, at example 0"),
        (X, torch.eye(10), r"one-hot rows.*y\.argmax\(1\).*file\.npz\?task=regression.*lmc\.as_data\(data, task="),
        (X, Y.double().view(-1, 1), "Cast them to integers"),
        (X, torch.eye(10).long(), r"y\.argmax\(1\)"),
        (X, Y.view(-1, 1), r"y\[:, 0\]"),
        (X, Y.double(), r"Cast them to integers.*file\.npz\?task=regression.*lmc\.as_data\(data, task="),
        (torch.where(X > 1, torch.nan, X), Y, r"input of example \d is NaN"),
        (X, torch.full((10,), torch.inf).double() * 0.5, "target of example 0"),
        (X[:0], Y[:0], "no examples"),
        (np.array(["a"] * 10), Y.numpy(), "dtype <U1"),
        (np.array([None] * 10), Y.numpy(), "dtype object"),
    ],
)
def test_examples_that_no_loss_exists_for_are_refused(x, y, words):
    with pytest.raises(DatasetError, match=words):
        as_data((x, y))


@pytest.mark.parametrize("y", [torch.eye(10), Y.double(), Y], ids=["one-hot", "whole", "integers"])
def test_a_task_that_is_named_is_the_task(y):
    for held in ((X, y), [(X[:4], y[:4]), (X[4:], y[4:])]):
        data = as_data(held, task="regression")
        assert (data.task, data.num_classes) == ("regression", None)
        assert read(data)[1].dtype == torch.float32 and torch.equal(read(data)[1], y.float())
    if y.ndim == 1:
        assert torch.equal(read(as_data((X, y), task="classification"))[1], Y)
        assert torch.equal(read(as_data([(X, y)], task="classification"))[1], Y)


def test_rows_that_only_resemble_one_hot_are_values():
    two, half, column = torch.eye(10), torch.eye(10), torch.rand(10, 1)
    two[3, 4], half[3] = 1.0, 0.1
    assert {as_data((X, y)).task for y in (two, half, column)} == {"regression"}


def test_a_task_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'regression'"):
        as_data((X, Y), task="regresion")
    with pytest.raises(UsageError, match="says itself that its task is 'classification'"):
        as_data(as_data((X, Y)), task="regression")
    with pytest.raises(DatasetError, match="labels must be integers"):
        as_data((X, Y + 0.5), task="classification")


@pytest.mark.parametrize("name", ["digits", Path("digits")])
def test_the_name_of_a_dataset_is_no_dataset(name):
    with pytest.raises(DatasetError, match=r"lmc\.open_data\('digits'\), or pass \(inputs, targets\)"):
        as_data(name)


@pytest.mark.parametrize("alone", [X, X.numpy()])
def test_inputs_alone_are_refused(alone):
    with pytest.raises(DatasetError, match=r"shape \(10, 3\) has no targets\. Pass \(inputs, targets\).*open_data"):
        as_data(alone)


def test_labels_above_the_classes_are_refused_in_memory_and_in_a_stream():
    with pytest.raises(DatasetError, match="example 3 is 3; labels must be from 0 to 2"):
        as_data((X, Y), num_classes=3)
    with pytest.raises(DatasetError, match=r"batch 0.*from 0 to 2"):
        read(as_data(Batches(), num_classes=3))


@pytest.mark.parametrize("bad", [[{"x": X, "y": Y}], [(X, Y, Y)], [X]])
def test_batches_must_be_pairs(bad):
    with pytest.raises(DatasetError, match=r"\(inputs, targets\) is needed"):
        as_data(bad)


@pytest.mark.parametrize("bad", [3, None, [], {}])
def test_what_holds_nothing_is_refused(bad):
    with pytest.raises(DatasetError):
        as_data(bad)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((4, 28, 28), (1, 28, 28)), ((4, 8, 8, 3), (3, 8, 8)), ((4, 3, 8, 8), (3, 8, 8)), ((4, 7), (7,))],
)
def test_bytes_are_images(shape, expected):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = as_data((values, np.arange(4)))
    assert data.input_shape == expected
    assert data.inputs.dtype == torch.float32 and float(data.inputs.max()) <= 1
    assert sorted(data.inputs.flatten().tolist()) == pytest.approx(sorted((values / 255).flatten().tolist()))
    assert "bytes scaled to [0, 1]" in data.notes


def test_integers_are_tokens():
    tokens = torch.arange(12).view(4, 3)
    assert as_data((tokens, tokens.roll(-1, 1))).task == "tokens"
    assert as_data((tokens, tokens[:, 0])).task == "classification"
    assert as_data((tokens, tokens[:, 0])).inputs.dtype == torch.int64


def test_a_wrapped_set_is_passed_through():
    data = as_data((X, Y))
    assert as_data(data) is data


def test_arrays_are_not_modified():
    x = np.zeros((4, 3))
    x.flags.writeable = False
    assert as_data((x, np.arange(4))).size == 4


@pytest.fixture
def splits(tmp_path) -> Path:
    path = tmp_path / "own.npz"
    np.savez(path, x_train=X.numpy()[:6], y_train=Y.numpy()[:6], x_test=X.numpy()[6:8], y_test=Y.numpy()[6:8])
    return path


def test_npz_with_splits(splits):
    train, test = (open_data(str(splits), split) for split in ("train", "test"))
    assert (train.size, test.size) == (6, 2)
    assert train.num_classes == test.num_classes == 4, "both splits count the classes of all"
    assert (train.split, test.split) == ("train", "test")


def test_npz_without_splits_says_so(tmp_path):
    np.savez(tmp_path / "all.npz", x=X.numpy(), y=Y.numpy())
    data = open_data(f"{tmp_path / 'all.npz'}?mean=1,2,3&std=1,1,2", "test")
    assert data.split == "all" and "no splits" in data.notes[0]
    assert "training examples" in data.notes[0] and "are the same ones" in data.notes[0]
    assert data.normalization == Normalization((1.0, 2.0, 3.0), (1.0, 1.0, 2.0))


def test_npz_of_a_regression(tmp_path):
    np.savez(tmp_path / "r.npz", x=X.numpy(), y=X.numpy().sum(1))
    assert open_data(str(tmp_path / "r.npz")).task == "regression"


def test_the_task_of_an_npz_can_be_named(tmp_path):
    labels = Y.numpy().astype("float64")
    np.savez(tmp_path / "f.npz", x_train=X.numpy(), y_train=labels, x_test=X.numpy()[:3], y_test=labels[:3])
    with pytest.raises(DatasetError, match="task=regression"):
        open_data(str(tmp_path / "f.npz"))
    values = open_data(f"{tmp_path / 'f.npz'}?task=regression")
    classes = open_data(f"{tmp_path / 'f.npz'}?task=classification&limit=2")
    assert (values.task, values.num_classes, values.targets.dtype) == ("regression", None, torch.float32)
    assert (classes.task, classes.num_classes, classes.targets.dtype) == ("classification", 4, torch.int64)
    with pytest.raises(UsageError, match="Did you mean 'regression'"):
        open_data(f"{tmp_path / 'f.npz'}?task=regresion")


def test_a_file_that_does_not_exist_is_said_with_the_nearest_one(splits):
    with pytest.raises(DatasetError, match=r"onw\.npz does not exist\. Did you mean 'own\.npz'\?"):
        open_data(str(splits.with_name("onw.npz")))
    with pytest.raises(DatasetError, match=r"onw\.npz and .*onw\.npz do not exist") as caught:
        open_data("onw.npz", data_dir=splits.parent)
    assert "Errno" not in str(caught.value)


def test_nothing_in_an_npz_is_unpickled(tmp_path):
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return Path.touch, (marker,)

    np.savez(tmp_path / "evil.npz", x=X.numpy(), y=np.array([Trap()] * 10, dtype=object))
    with pytest.raises(DatasetError, match=r"evil\.npz"):
        open_data(str(tmp_path / "evil.npz"))
    assert not marker.exists()
    np.load(tmp_path / "evil.npz", allow_pickle=True)["y"]
    assert marker.exists(), "the trap itself works"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"<html>", "cannot be read"),
        ({"a": X.numpy()}, "arrays x and y, or x_test and y_test"),
    ],
)
def test_unusable_npz_files_are_named(tmp_path, content, words):
    path = tmp_path / "some.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        np.savez(path, **content)
    with pytest.raises(DatasetError, match=words):
        open_data(str(path))


CODE = """
import torch
from lmc.datasets import Normalization, as_data
def pair(count=5): return torch.zeros(count, 2), torch.zeros(count, dtype=torch.int64)
def splits(split): return torch.zeros({"train": 4, "test": 3}[split], 2), torch.arange({"train": 4, "test": 3}[split])
def ready(): return as_data(pair(), name="mine", normalization=Normalization((1.0,), (2.0,)))
def stream(): return [pair(), pair(2)]
def broken(): raise RuntimeError("no luck")
def nothing(): return None
def whole(): return torch.zeros(3, 2), torch.arange(3.0)
def picky(task): return torch.zeros(3, 2), {"even": torch.zeros(3, dtype=torch.int64)}[task]
def needs(path, split): return pair()
"""


@pytest.fixture
def code(tmp_path):
    (tmp_path / "own.py").write_text(CODE)
    yield tmp_path / "own.py"
    for name in [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def test_a_factory_in_a_file(code):
    assert open_data(f"{code}:pair?count=7").size == 7
    assert open_data(f"{code}:splits", "train").size == 4
    assert isinstance(open_data(f"{code}:stream"), StreamedData)
    own = open_data(f"{code}:ready")
    assert isinstance(own, Data) and own.normalization == Normalization((1.0,), (2.0,))
    assert open_data(f"{code}:ready?normalize=none").normalization is None


def test_the_task_of_a_factory_can_be_named_unless_the_option_is_its_own(code):
    assert open_data(f"{code}:whole?task=regression").task == "regression"
    assert open_data(f"{code}:whole?task=classification").num_classes == 3
    assert open_data(f"{code}:picky?task=even").task == "classification"


def test_a_file_without_a_name_lists_what_it_has(code):
    with pytest.raises(UsageError, match=r"write .*own\.py:NAME\. It has pair, splits, ready, stream"):
        open_data(str(code))


@pytest.mark.parametrize(
    ("tail", "error", "words"),
    [
        ("needs", UsageError, r"needs 'path': write '.*own\.py:needs\?path=\.\.\.'"),
        ("ready?task=regression", UsageError, "says itself"),
        ("pairs", DatasetError, r"Did you mean 'pair'\?"),
        ("pair?cuont=3", UsageError, r"Did you mean 'count'\?"),
        ("broken", DatasetError, r"own\.py, line 8: RuntimeError: no luck"),
        ("nothing", DatasetError, "NoneType holds no examples"),
        ("stream?limit=1", UsageError, "limit works on sets held in memory"),
    ],
)
def test_what_goes_wrong_in_code_is_named(code, tail, error, words):
    with pytest.raises(error, match=words):
        open_data(f"{code}:{tail}")
