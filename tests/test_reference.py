"""The grammar ``name?key=value``: reading, writing back, and calling with the options."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmc._errors import UsageError
from lmc._methods import load_method
from lmc._reference import Reference

NAMES = st.text("abcxyz-_.:/%+ ", min_size=1)
KEYS = st.text("abcxyz_", min_size=1)
SCALARS = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.text("abcxyz-_.:/%+= ?", min_size=1).filter(lambda text: text.lower() not in {"true", "false", "yes", "no"}),
)


def _survives(value: object) -> bool:
    """Strings that read as something else cannot come back as strings: the grammar has no quotes."""
    return not isinstance(value, str) or Reference.parse(f"x?a={value}").options["a"] == value


VALUES = st.one_of(SCALARS, st.lists(SCALARS).map(tuple)).filter(
    lambda value: all(map(_survives, value)) if isinstance(value, tuple) else _survives(value)
)


@given(st.builds(Reference, NAMES, st.dictionaries(KEYS, VALUES)))
@example(Reference("ot", {"reg": 1e20}))  # written 1e+20: the plus sign is no space
@example(Reference("mlp", {"hidden": (64,)}))  # one layer is still a tuple
@example(Reference("mlp", {"hidden": ()}))
def test_what_is_written_reads_back(reference: Reference):
    assert Reference.parse(str(reference)) == reference


@given(st.text("abc019.,=&?%+-e ", max_size=20))
def test_reading_is_stable_or_refuses(text: str):
    try:
        once = Reference.parse(text)
    except UsageError:
        return
    assert Reference.parse(str(once)) == once


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("1e-3", 1e-3),
        ("1e+3", 1000.0),
        ("inf", math.inf),
        ("true", True),
        ("No", False),
        ("none", None),
        ("weights", "weights"),
        ("64,64", (64, 64)),
        ("64,", (64,)),
        (",", ()),
        ("1,relu,none", (1, "relu", None)),
        ("", ""),
        ("50%", "50%"),
    ],
)
def test_literals(text: str, value: object):
    read = Reference.parse(f"m?k={text}").options["k"]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize("text", ["mlp?width", "mlp?=3", "mlp?width=3&", "mlp?&width=3", "mlp?width=3&width=4"])
def test_broken_options_are_refused_naming_the_text(text: str):
    with pytest.raises(UsageError) as caught:
        Reference.parse(text)
    assert repr(text) in str(caught.value)


def _factory(width: int, depth: int = 2, seed: int = 0) -> tuple[int, int, int]:
    return width, depth, seed


def test_call_passes_options_over_defaults():
    assert Reference.parse("mlp?width=3").call(_factory, seed=7, unknown=1) == (3, 2, 7)
    assert Reference.parse("mlp?width=3&seed=1").call(_factory, seed=7) == (3, 2, 1)


def test_a_typo_in_an_option_suggests_the_nearest():
    with pytest.raises(UsageError, match=r"no option 'widht'. Did you mean 'width'\? Its options: width, depth, seed"):
        Reference.parse("mlp?widht=3").call(_factory)


def test_any_option_reaches_a_factory_with_keywords():
    assert Reference.parse("m?a=1").call(lambda **options: options, b=2) == {"a": 1, "b": 2}


TABLE = {"counter": "collections:Counter", "fraction": "fractions:Fraction"}


def test_a_method_is_imported_only_by_its_name():
    assert load_method("counter?a=2", TABLE, "thing") == {"a": 2}
    with pytest.raises(
        UsageError, match=r"Unknown thing 'cuonter'\. Did you mean 'counter'\? Known: counter, fraction"
    ):
        load_method("cuonter", TABLE, "thing")


def test_an_error_of_the_factory_names_the_reference():
    with pytest.raises(UsageError, match=r"thing 'fraction\?numerator=a': Invalid literal"):
        load_method("fraction?numerator=a", TABLE, "thing")
