"""The one door for optional packages names what the package is for and how to get it."""

from __future__ import annotations

import pytest

from lmc import _optional
from lmc._errors import MissingPackageError


def test_a_missing_package_is_asked_for_by_purpose():
    assert not _optional.available("nowhere_to_be_found")
    with pytest.raises(MissingPackageError, match=r"required for testing.*pip install 'lmc\[extra\]'") as refused:
        _optional.require("nowhere_to_be_found", purpose="testing", extra="extra")
    assert refused.value.exit_code == 3


def test_a_package_that_is_there_is_given():
    assert _optional.available("json")
    assert _optional.require("json", purpose="testing", extra="extra").loads("1") == 1
