"""The result schema: what it demands, what it cleans, and that files are whole or absent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc import schema
from lmc._errors import SchemaError

PLANE = {"u": 4, "v": 3, "mode": 2, "other": 2, "level": 1}
SIZES = {"alignment": 2, "t": 5, "example": 3, "baseline": 2, "bound": 2, "layer": 2, "stage": 2}
SIZES |= {"end": 2, "class": 4, "comparison": 3, "module": 2}
LABELS = {"alignment": ["none", "weights"], "baseline": list(schema.BASELINES), "bound": list(schema.BOUNDS)}
LABELS |= {"end": list(schema.ENDS), "comparison": list(schema.COMPARISONS), "module": ["fc1", "fc2"]}


def smallest(kind: str = "barrier") -> xr.Dataset:
    """Build a dataset from the table of the schema itself, so that the two cannot drift apart."""
    values = {}
    for name, variable in schema.KINDS[kind].items():
        shape = tuple({**SIZES, **PLANE}[dim] for dim in variable.dims)
        values[name] = (variable.dims, LABELS[name] if name in LABELS else np.zeros(shape))
    values["split"] = ((), "test")
    dims, zeros = values["example_correct"]
    values["example_correct"] = (dims, np.ones(zeros.shape, dtype=bool))
    if "t" in values:
        values["t"] = (("t",), np.linspace(0, 1, SIZES["t"]))
    return xr.Dataset(values).set_coords([*({*SIZES, *PLANE} & {*values}), "split"])


@pytest.fixture
def result() -> xr.Dataset:
    return schema.annotate(smallest(), "barrier", {"seed": 0})


def test_annotate_names_everything_and_modifies_nothing():
    bare = smallest()
    bare["loss"].attrs["long_name"] = "loss per token"
    labelled = schema.annotate(bare, "barrier", {"model": None})
    for name, variable in schema.BARRIER.items():
        if name != "loss":
            assert labelled[name].attrs == {"long_name": variable.long_name, "units": variable.units}
            assert not bare[name].attrs
    assert labelled["loss"].attrs == {"long_name": "loss per token", "units": "nats"}, "a caller's own label stays"
    assert not bare.attrs
    assert labelled.attrs == {"lmc_kind": "barrier", "lmc_schema_version": "1", "model": "null"}


def test_a_basin_is_valid_with_all_it_may_have_and_with_what_it_must():
    whole = schema.annotate(smallest("basin"), "basin", {"seed": 0})
    optional = [name for name, variable in schema.BASIN.items() if not variable.required]
    schema.validate(whole.drop_vars(optional), "basin")
    for name in set(schema.BASIN) - set(optional):
        with pytest.raises(SchemaError, match=repr(name)):
            schema.validate(whole.drop_vars(name))


def test_a_missing_variable_is_named_with_the_nearest(result: xr.Dataset):
    with pytest.raises(
        SchemaError, match=r"No variable named 'loss_ci' in this barrier dataset\. Did you mean 'loss_c'"
    ):
        schema.validate(result.rename(loss_ci="loss_c"))


@pytest.mark.parametrize("name", [name for name, variable in schema.BARRIER.items() if not variable.required])
def test_optional_variables_may_be_absent(result: xr.Dataset, name: str):
    schema.validate(result.drop_vars(name))


@pytest.mark.parametrize("name", [n for n, variable in schema.BARRIER.items() if variable.required])
def test_required_variables_may_not_be_absent(result: xr.Dataset, name: str):
    with pytest.raises(SchemaError, match=repr(name)):
        schema.validate(result.drop_vars(name))


def test_other_dims_labels_kinds_and_versions_are_refused(result: xr.Dataset):
    with pytest.raises(SchemaError, match=r"'loss' has dims \('t', 'alignment'\), the barrier schema says"):
        schema.validate(result.assign(loss=result["loss"].transpose()))
    unlabelled = result.copy()
    unlabelled["loss"].attrs = {"long_name": "loss"}
    with pytest.raises(SchemaError, match="'loss' has no attribute 'units'"):
        schema.validate(unlabelled)
    with pytest.raises(SchemaError, match="'basin' is needed, this one is of kind 'barrier'"):
        schema.validate(result, "basin")
    with pytest.raises(SchemaError, match="schema version 0; this lmc reads version 1"):
        schema.validate(result.assign_attrs(lmc_schema_version="0"))
    for kind in ("basins", None, np.array([1, 2])):
        with pytest.raises(SchemaError, match="Not a result of lmc"):
            schema.validate(result.assign_attrs(lmc_kind=kind))


def test_collected_pairs_are_valid(result: xr.Dataset):
    schema.validate(xr.concat([result, result], dim="pair", data_vars="all"))


@pytest.mark.parametrize("value", [None, True, {"a": 1}, [1, 2], 2**70, np.float16(1), np.array(["a"]), "\udcff"])
def test_attributes_that_netcdf_cannot_store_are_caught_before_writing(result: xr.Dataset, value: object):
    with pytest.raises(SchemaError, match="Attribute 'note'"):
        schema.validate(result.assign_attrs(note=value))
    result["loss"].attrs["note"] = value
    with pytest.raises(SchemaError, match="Attribute 'note'"):
        schema.validate(result)


def test_cleaned_attributes_keep_what_they_say():
    clean = schema.sanitize_attrs(
        {"path": Path("a/b"), "off": None, "on": np.True_, "grid": (0, 0.5), "options": {3: np.arange(2), "x": {"y"}}}
    )
    assert clean["path"] == str(Path("a/b"))
    assert [json.loads(clean[key]) for key in ("off", "on", "grid")] == [None, True, [0, 0.5]]
    assert json.loads(clean["options"]) == {"3": [0, 1], "x": "{'y'}"}
    kept = {"text": "é", "whole": 3, "real": 0.5, "single": np.float32(2), "array": np.arange(3)}
    assert schema.sanitize_attrs(kept) == kept


NUMPY = st.sampled_from(["bool", "int8", "uint64", "float16", "float32", "complex128", "U3", "datetime64[s]", "O"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.just("surrogate \udcff"),
    st.builds(Path, st.just("some/file.pt")),
    NUMPY.map(lambda kind: np.zeros(2, dtype=kind)),
    NUMPY.map(lambda kind: np.zeros((2, 2), dtype=kind)),
    NUMPY.map(lambda kind: np.zeros(1, dtype=kind)[0]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(), st.tuples(st.integers())), inner, max_size=3),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attrs") / "attrs.nc"


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abcxyz_", min_size=1, max_size=5), VALUES, max_size=4))
def test_any_attributes_survive_netcdf_once_cleaned(scratch: Path, attrs: dict[str, object]):
    clean = schema.sanitize_attrs(attrs)
    schema.check_attrs(clean)
    xr.Dataset(attrs=clean).to_netcdf(scratch, engine="netcdf4", format="NETCDF4")
    read = xr.load_dataset(scratch, engine="netcdf4").attrs
    assert read.keys() == clean.keys()
    schema.check_attrs(read)
    assert schema.sanitize_attrs(clean).keys() == clean.keys()
    for name, value in clean.items():
        expected = value.replace("\0", "") if isinstance(value, str) else value
        np.testing.assert_array_equal(read[name], np.squeeze(expected))


def test_a_result_reads_back_as_it_was(result: xr.Dataset, tmp_path: Path):
    path = schema.write(result, tmp_path / "new" / "result.nc")
    assert list(path.parent.iterdir()) == [path], "no temporary file is left"
    again = schema.read(path, "barrier")
    xr.testing.assert_identical(again, result)
    assert again["example_correct"].dtype == bool
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode, "readable as any file the user makes"


def test_a_failing_write_leaves_the_old_file(result: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = schema.write(result, tmp_path / "result.nc")
    before = path.read_bytes()

    def fail(self: xr.Dataset, target: Path, **options: object) -> None:
        target.write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(OSError, match="disk full"):
        schema.write(result.assign_attrs(seed=1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_invalid_result_is_not_written(tmp_path: Path):
    with pytest.raises(SchemaError):
        schema.write(smallest(), tmp_path / "result.nc")
    assert not list(tmp_path.iterdir())


def _truncated(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _overwritten(whole: bytes) -> bytes:
    # Past the superblock: the file opens, and reading a variable fails.
    return whole[:2000] + bytes(byte ^ 0x5A for byte in whole[2000:])


@pytest.mark.parametrize(
    "damage", [_truncated, _overwritten, lambda whole: b"", lambda whole: b"<html>not found</html>"]
)
def test_damaged_files_are_refused_by_name(result: xr.Dataset, tmp_path: Path, damage):
    path = schema.write(result, tmp_path / "result.nc")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SchemaError, match=r"result\.nc"):
        schema.read(path)


def test_damage_inside_a_variable_is_refused_by_name(result: xr.Dataset, tmp_path: Path, monkeypatch):
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("NetCDF: HDF error")

    monkeypatch.setattr(xr, "load_dataset", fail)
    with pytest.raises(SchemaError, match=r"damaged\.nc cannot be read as netCDF4: NetCDF: HDF error"):
        schema.read(tmp_path / "damaged.nc")


def test_foreign_and_missing_files_are_refused_by_name(result: xr.Dataset, tmp_path: Path):
    foreign = tmp_path / "foreign.nc"
    xr.Dataset({"air": ("x", [1.0])}).to_netcdf(foreign)
    with pytest.raises(SchemaError, match=r"foreign\.nc: Not a result of lmc"):
        schema.read(foreign)
    with pytest.raises(SchemaError, match=r"No such file: .*missing\.nc"):
        schema.read(tmp_path / "missing.nc")
    path = schema.write(result, tmp_path / "result.nc")
    with pytest.raises(SchemaError, match=r"result\.nc: A dataset of kind 'basin' is needed"):
        schema.read(path, "basin")


DOCS = Path(__file__).parents[1] / "docs" / "schema.md"


@pytest.mark.parametrize("kind", schema.KINDS)
def test_the_prose_describes_every_variable(kind: str):
    # The section of the kind, from its heading to the next of that depth.
    section = DOCS.read_text(encoding="utf-8").partition(f"\n## `{kind}`\n")[2].partition("\n## ")[0]
    rows = {line.split("|")[1].strip(): line for line in section.splitlines() if line.startswith("| `")}
    for name, variable in schema.KINDS[kind].items():
        row = rows.get(f"`{name}`")
        assert row is not None, f"docs/schema.md has no row for {name}"
        dims, units = (cell.strip() for cell in row.split("|")[2:4])
        assert dims == (", ".join(variable.dims) or "none"), row
        assert units == variable.units, row
        assert row.endswith("| yes |" if variable.required else "| no |"), row
