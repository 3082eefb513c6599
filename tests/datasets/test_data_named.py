"""Datasets by name, from files made here; nothing is downloaded."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pooch
import pytest
import requests
import torch
from sklearn.datasets import load_digits

from lmc._errors import DatasetError, UsageError
from lmc.datasets import DATASETS, PRESETS, open_data
from lmc.datasets import cifar10 as cifar_module
from lmc.datasets import fetch as fetch_module
from lmc.datasets import mnist as mnist_module
from lmc.datasets.fetch import Remote


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path_factory, monkeypatch):
    """No folder, cache or network of this machine can answer for the one under test."""
    monkeypatch.delenv("LMC_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(mnist_module, "_BASES", dict.fromkeys(mnist_module._BASES, "http://127.0.0.1:9"))
    monkeypatch.setattr(cifar_module, "_REMOTE", Remote("http://127.0.0.1:9/c.tar.gz", "md5:0"))


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def mnist_folder(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for stem, count in (("train", 12), ("t10k", 5)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def test_digits_are_all_there_once():
    train, test = open_data("digits", "train"), open_data("digits")
    assert (train.size, test.size) == (1297, 500)
    both = torch.cat([train.inputs, test.inputs]).flatten(1).numpy()
    original = load_digits().images.reshape(-1, 64) / 16
    assert np.array_equal(np.unique(both, axis=0), np.unique(original.astype(np.float32), axis=0))
    assert both.min() >= 0 and both.max() == 1
    assert test.input_shape == (1, 8, 8) and test.num_classes == 10 and test.normalization is None


def test_the_split_of_the_digits_never_changes():
    """Published checkpoints were trained on one part and are measured on the other."""
    assert open_data("digits").targets[:10].tolist() == [0, 4, 0, 7, 5, 5, 5, 7, 9, 7]
    assert open_data("digits").digest == "f3147bbbee7fed306e6cec7ff6dcbd5a0d7213363b605b4bb07efa55a18ef647"
    assert open_data("digits", "train").digest == "58d4c3771f37633d1ebfae1efd6f700a55419bebccf782f49052fb487bacc9d4"


def test_mnist_is_found_gzipped_or_not(mnist_folder, monkeypatch):
    data = open_data("mnist", data_dir=mnist_folder)
    assert data.inputs.shape == (5, 1, 28, 28) and data.inputs.dtype == torch.float32
    assert float(data.inputs.max()) <= 1
    assert data.normalization == PRESETS["mnist"]
    assert data.notes == ("the files found are not the published ones of mnist",)
    monkeypatch.setenv("LMC_DATA_DIR", str(mnist_folder))
    assert open_data("mnist").digest == data.digest
    assert open_data("mnist", "train").size == 12


def test_raw_inputs_do_not_depend_on_the_normalisation(mnist_folder):
    plain, usual = (open_data(ref, data_dir=mnist_folder) for ref in ("mnist?normalize=none", "mnist"))
    assert plain.digest == usual.digest and plain.normalization is None


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("mnist?normalize=half", ((0.5,), (0.5,))),
        ("mnist?mean=0.25&std=2", ((0.25,), (2.0,))),
        ("mnist?normalize=fashion-mnist&limit=2", ((0.2860,), (0.3530,))),
    ],
)
def test_constants_can_be_given(mnist_folder, reference, expected):
    data = open_data(reference, data_dir=mnist_folder)
    assert (data.normalization.mean, data.normalization.std) == expected
    assert data.reference == reference


def test_limit_takes_the_first(mnist_folder):
    whole, part = (open_data(ref, data_dir=mnist_folder) for ref in ("mnist", "mnist?limit=3"))
    assert part.size == 3 and torch.equal(part.inputs, whole.inputs[:3])


@pytest.mark.parametrize(
    ("reference", "error", "words"),
    [
        ("mnits", UsageError, r"Did you mean 'mnist'\?"),
        ("mnist?nrmalize=none", UsageError, r"Did you mean 'normalize'\?"),
        ("mnist?normalize=imagnet", UsageError, r"Did you mean 'imagenet'\?"),
        ("mnist?mean=0.1", UsageError, "mean and std together"),
        ("mnist?mean=a&std=1", UsageError, "must be numbers"),
        ("mnist?limit=0", UsageError, "limit=0"),
        (
            "mnist?normalize=imagenet",
            DatasetError,
            r"3 normalisation constant\(s\) for examples of shape \(1, 28, 28\)",
        ),
    ],
)
def test_a_wrong_reference_says_what_is_wrong(mnist_folder, reference, error, words):
    with pytest.raises(error, match=words):
        open_data(reference, data_dir=mnist_folder)


def test_an_unknown_split_is_refused():
    with pytest.raises(UsageError, match=r"Did you mean 'test'\?"):
        open_data("digits", "tets")


@pytest.mark.parametrize(
    "content",
    [
        b"<html>404</html>",
        gzip.compress(b"<html>", mtime=0),
        gzip.compress(idx(np.zeros((2, 3, 3), np.uint8))[:-1], mtime=0),
        b"\x1f\x8b\x08",
    ],
    ids=["no gzip", "no idx", "short", "cut gzip"],
)
def test_damaged_files_are_named(mnist_folder, content):
    path = mnist_folder / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"t10k-images-idx3-ubyte\.gz"):
        open_data("mnist", data_dir=mnist_folder)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar10-4k"])
def test_what_is_missing_and_cannot_be_downloaded_is_said_with_the_fix(name, tmp_path):
    with pytest.raises(DatasetError) as caught:
        open_data(name, data_dir=tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message and "--data-dir" in message and "LMC_DATA_DIR" in message
    assert len(message.splitlines()) <= 6
    assert ("failed: no network connection." in message) == (name != "cifar10-4k")
    assert "HTTPConnectionPool" not in message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (requests.ReadTimeout("HTTPConnectionPool(host='x')"), "no network connection"),
        (requests.HTTPError(response=SimpleNamespace(status_code=404)), "status 404"),
        (PermissionError(13, "Permission denied", "/cache"), "Permission denied: /cache"),
        (ValueError("MD5 hash of downloaded file (x) does not match the known hash: ..."), "checksum differs"),
        (RuntimeError("a long tale"), "RuntimeError"),
    ],
)
def test_a_failed_download_has_a_short_reason_and_pooch_says_nothing(tmp_path, monkeypatch, caplog, error, reason):
    def fail(*args, **options):
        pooch.get_logger().info("Downloading data from ...")
        assert not caplog.records
        raise error

    monkeypatch.setattr(fetch_module.pooch, "retrieve", fail)
    monkeypatch.setattr(pooch.get_logger(), "handlers", [caplog.handler])
    with pytest.raises(DatasetError, match=rf"failed: [^\n]*{reason}\.\n"):
        open_data("mnist", data_dir=tmp_path)
    pooch.get_logger().info("the probe sees what pooch says")
    assert len(caplog.records) == 1


def cifar_records(count: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    records = rng.integers(0, 256, (count, 3073), dtype=np.uint8)
    records[:, 0] %= 10
    return records.tobytes()


def test_cifar10_from_a_folder_and_from_the_archive_are_one(tmp_path):
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    unpacked, packed = tmp_path / "a" / "cifar10", tmp_path / "b" / "cifar10"
    unpacked.mkdir(parents=True)
    packed.mkdir(parents=True)
    with tarfile.open(packed / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for seed, name in enumerate(names):
            content = cifar_records(4, seed)
            (unpacked / name).write_bytes(content)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    for split, size in (("train", 20), ("test", 4)):
        one, two = (open_data("cifar10", split, folder) for folder in (tmp_path / "a", tmp_path / "b"))
        assert one.size == size and one.input_shape == (3, 32, 32)
        assert one.digest == two.digest
    first = np.frombuffer(cifar_records(4, 5), np.uint8).reshape(4, 3073)
    assert one.targets.tolist() == first[:, 0].tolist()
    assert float(one.inputs[0, 2, 0, 1]) == pytest.approx(first[0, 1 + 2048 + 1] / 255), "blue plane, row 0, column 1"


def test_a_cut_cifar_file_is_refused(tmp_path):
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "test_batch.bin").write_bytes(cifar_records(2, 0)[:-5])
    with pytest.raises(DatasetError, match="records of 3073"):
        open_data("cifar10", data_dir=tmp_path)


def test_training_images_are_never_called_a_test_split(tmp_path):
    (tmp_path / "cifar10-4k").mkdir()
    images = np.arange(2 * 32 * 32 * 3, dtype=np.int64).astype(np.uint8).reshape(2, 32, 32, 3)
    np.savez(tmp_path / "cifar10-4k" / "first4000.npz", images=images, labels=np.array([1, 2], np.uint8))
    for split in ("train", "test"):
        data = open_data("cifar10-4k", split, tmp_path)
        assert data.split == "train"
        assert "training images" in data.notes[0]
    torch.testing.assert_close(data.inputs[1, 2, 3, 4], torch.tensor(images[1, 3, 4, 2] / 255, dtype=torch.float32))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_published_files_are_known(shared_data, name):
    for split, size in (("train", 60000), ("test", 10000)):
        data = open_data(name, split, shared_data)
        assert data.size == size and data.notes == ()


@pytest.mark.shared
def test_the_first_cifar_images_are_the_published_ones(shared_data):
    data = open_data("cifar10-4k", data_dir=shared_data)
    assert data.size == 4000 and data.targets[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]


def test_names_are_complete():
    assert set(DATASETS) == {"digits", "mnist", "fashion-mnist", "cifar10", "cifar10-4k"}


def test_a_text_is_cut_into_windows_and_shifted_by_one(tmp_path):
    path = tmp_path / "some.txt"
    text = "".join(chr(97 + i * i % 7) for i in range(200)) + "é"
    path.write_text(text, encoding="utf-8")
    train, test = (open_data(f"text:{path}?block=8", split) for split in ("train", "test"))
    letters = sorted(set(text))
    assert train.num_classes == test.num_classes == len(letters)
    assert train.task == "tokens" and train.normalization is None

    def spell(codes):
        return "".join(letters[code] for code in codes.flatten())

    assert spell(train.inputs) == text[: 22 * 8]
    assert spell(train.targets) == text[1 : 22 * 8 + 1]
    assert spell(test.inputs) == text[180 : 180 + 2 * 8]
    assert train.inputs.shape == (22, 8), "180 characters: 22 windows, and the last target is still among them"


@pytest.mark.parametrize(
    ("content", "words"), [(b"short", "no window"), (b"\xff\xfe\x00", "UTF-8"), (None, "cannot be read")]
)
def test_unusable_texts_are_refused(tmp_path, content, words):
    path: Path = tmp_path / "t.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        open_data(f"text:{path}")
