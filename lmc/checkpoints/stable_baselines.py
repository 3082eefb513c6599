"""Stable-Baselines3 archives: a zip with the policy's state dict among settings, which are left alone."""

from __future__ import annotations

import io

from lmc.checkpoints.format import Contents, Format, Sample, printable
from lmc.checkpoints.torch_files import unpickle


def _recognises(sample: Sample) -> bool:
    return sample.member("policy.pth") is not None


def _read(sample: Sample) -> Contents:
    policy, version = (sample.member(name) for name in ("policy.pth", "_stable_baselines3_version"))
    assert policy is not None
    tree = unpickle(sample.path, stream=io.BytesIO(sample.read_member(policy)))
    versions = {"stable-baselines3": printable(sample.read_member(version).decode())} if version else {}
    return Contents(tree, versions)


STABLE_BASELINES = Format("Stable-Baselines3", "stable-baselines3", (), _recognises, _read)
