"""A folder of units: computed once, checked when read, shared without collisions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from lmc._errors import UsageError
from lmc.units import Claim, Terminated, Unit, WorkFolder, terminable

UNIT = Unit("square", {"of": 3, "names": ["a", None, True]})


def result(value: float = 9.0) -> xr.Dataset:
    data = {
        "values": (("i", "j"), np.full((20, 30), value, dtype=np.float32)),
        "flag": (("i",), np.arange(20) % 2 == 0),
        "word": (("k",), np.array(["x", "", "é"])),
        "empty": (("none",), np.zeros(0)),
        "one": ((), 1.5),
    }
    return xr.Dataset(data, attrs={"text": "", "number": 3, "real": 0.1, "many": np.arange(1), "pair": np.arange(2)})


class Counted:
    def __init__(self, value: float = 9.0) -> None:
        self.calls, self.value = 0, value

    def __call__(self) -> xr.Dataset:
        self.calls += 1
        return result(self.value)


def test_a_valid_file_is_never_computed_again_and_reads_back_identical(tmp_path: Path):
    compute = Counted()
    first = WorkFolder(tmp_path / "w").run([(UNIT, compute)])
    again = WorkFolder(tmp_path / "w").run([(UNIT, compute)])
    assert compute.calls == 1
    for name in result().variables:
        np.testing.assert_array_equal(again[0][name].values, first[0][name].values)
        assert again[0][name].dtype.kind == first[0][name].dtype.kind
    assert [path.name for path in (tmp_path / "w").iterdir()] == [UNIT.filename], "no claims, no partial files stay"


def test_units_differ_by_everything_that_is_told():
    names = {
        Unit("square", {"of": 3}).filename,
        Unit("square", {"of": 3.0}).filename,
        Unit("cube", {"of": 3}).filename,
        Unit("square", {"of": "3"}).filename,
    }
    assert len(names) == 4
    assert Unit("square", {"a": 1, "b": 2}).digest == Unit("square", {"b": 2, "a": 1}).digest


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_what_json_cannot_tell_is_refused(value):
    with pytest.raises(UsageError, match="told by strings"):
        Unit("square", {"of": value})


def flip(file: Path) -> None:
    """Change one byte of the float values: netCDF alone would not notice."""
    content = bytearray(file.read_bytes())
    at = bytes(content).index(np.full(30, 9.0, dtype=np.float32).tobytes())
    content[at + 2] ^= 1
    file.write_bytes(content)


OTHER = Unit("square", {"of": 4})


def exchange(file: Path) -> None:
    """Put another unit's valid file in its place."""
    WorkFolder(file.parent).write(OTHER, result())
    (file.parent / OTHER.filename).replace(file)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda file: file.write_bytes(file.read_bytes()[:-200]),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"\0" * 5000),
        exchange,
    ],
    ids=["one bit", "truncated", "empty", "zeros", "another unit's"],
)
def test_a_damaged_file_is_computed_again_and_told_of_once(tmp_path: Path, damage):
    told: list[str] = []
    folder, compute = WorkFolder(tmp_path, told.append), Counted()
    folder.run([(UNIT, compute)])
    damage(tmp_path / UNIT.filename)
    (found,) = folder.run([(UNIT, compute)])
    assert compute.calls == 2 and float(found["values"][0, 0]) == 9.0
    assert len(told) == 1 and UNIT.filename in told[0] and "damaged" in told[0]
    folder.run([(UNIT, compute)])
    assert compute.calls == 2 and len(told) == 1


def test_a_failure_leaves_its_traceback_and_is_tried_again(tmp_path: Path):
    folder = WorkFolder(tmp_path)

    def fail() -> xr.Dataset:
        raise ZeroDivisionError("in the middle")

    with pytest.raises(ZeroDivisionError):
        folder.run([(UNIT, fail)])
    (text,) = folder.failures().values()
    assert "in the middle" in text and "Traceback" in text and '"of": 3' in text
    assert not (tmp_path / UNIT.filename).exists()
    folder.run([(UNIT, Counted())])
    assert not folder.failures()


def test_an_interrupted_unit_leaves_nothing_half_written(tmp_path: Path):
    def stop() -> xr.Dataset:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        WorkFolder(tmp_path).run([(UNIT, stop)])
    assert list(tmp_path.iterdir()) == []


def test_two_runs_share_the_work(tmp_path: Path):
    """Eight units, two workers: each is computed once, both get all."""
    units = [Unit("square", {"of": i}) for i in range(8)]
    computed: list[int] = []
    both: list[list[xr.Dataset]] = []

    def work(order: list[int]) -> None:
        def compute(i: int) -> xr.Dataset:
            time.sleep(0.05)
            computed.append(i)
            return xr.Dataset({"value": i * i})

        pairs = [(units[i], lambda i=i: compute(i)) for i in order]
        found = WorkFolder(tmp_path).run(pairs)
        both.append([found[order.index(i)] for i in range(8)])

    threads = [threading.Thread(target=work, args=(order,)) for order in (list(range(8)), list(range(8)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(computed) == list(range(8))
    assert [[int(one.value) for one in found] for found in both] == [[i * i for i in range(8)]] * 2


def test_a_claim_is_one_processs_and_ends_with_it(tmp_path: Path):
    """The negative control of sharing: while another process holds a claim nobody else gets it; kill -9 frees it."""
    code = (
        "import sys, time; from lmc.units import Claim; claim = Claim(sys.argv[1]); print(claim.take(), flush=True);"
        "time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "c")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "True\n"
    claim = Claim(tmp_path / "c")
    assert not claim.take() and not claim.take(shared=True)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert claim.take()
    claim.release(remove=True)
    assert not (tmp_path / "c").exists()


def test_a_folder_in_use_is_neither_emptied_nor_removed(tmp_path: Path):
    first = WorkFolder(tmp_path / "w").open()
    first.run([(UNIT, Counted())])
    assert first.busy
    with pytest.raises(UsageError, match="Another process works in"):
        WorkFolder(tmp_path / "w").open(fresh=True)
    second = WorkFolder(tmp_path / "w").open()
    second.close(remove=True)
    assert (tmp_path / "w" / UNIT.filename).exists(), "the first still works here"
    first.close(remove=True)
    assert not (tmp_path / "w").exists()


def test_a_fresh_start_forgets_what_was_there(tmp_path: Path):
    folder = WorkFolder(tmp_path / "w").open()
    folder.run([(UNIT, Counted())])
    folder.close()
    kept = WorkFolder(tmp_path / "w").open()
    assert kept.read(UNIT) is not None
    kept.close()
    fresh = WorkFolder(tmp_path / "w").open(fresh=True)
    assert fresh.read(UNIT) is None
    fresh.close()


def test_sigterm_is_an_exception_within_the_block_only():
    with pytest.raises(Terminated, match="SIGTERM"), terminable():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
