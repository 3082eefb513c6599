"""The zoos: other people's architectures, never imported by the tool itself."""

from __future__ import annotations

import warnings

import pytest


@pytest.fixture(autouse=True)
def their_warnings():
    """What other libraries warn of while they build their models is not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
