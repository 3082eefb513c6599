"""Symmetries found and proved once for each architecture of a sweep, and shared by its workers on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import xarray as xr

from lmc.architectures import Architecture
from lmc.pipeline import Proof, prove
from lmc.symmetry import Verification, read_spec, write_spec
from lmc.units import Unit, WorkFolder, code_digest, fingerprint

FOLDER = "symmetries"


def shared_proof(
    folder: WorkFolder, network: str, architecture: Architecture, *, written: str | None = None, seed: int = 0
) -> Proof:
    """Return the symmetries of a network: from the folder, or found, verified and left there for all others.

    Parameters
    ----------
    folder : WorkFolder
        Of results; they are in a folder of its own within it.
    network : str
        Fingerprint of the network.
    architecture : Architecture
        The network.
    written : str, optional
        The user's TOML spec.
    seed : int
        Of the inputs that it is verified with.

    Raises
    ------
    SymmetryError, UsageError
        As :func:`lmc.pipeline.prove`.
    """
    text = None if written is None else fingerprint(Path(written).read_bytes())
    unit = Unit("symmetries", {"network": network, "spec": text, "seed": seed, "code": code_digest()})
    within = WorkFolder(folder.path / FOLDER)

    def compute() -> xr.Dataset:
        return _stored(prove(architecture.module, architecture.example_inputs(seed=seed), written=written))

    (stored,) = within.run([(unit, compute)])
    return _proof(stored, architecture)


def _stored(proof: Proof) -> xr.Dataset:
    verdict = proof.verification
    with tempfile.TemporaryDirectory() as place:
        text = write_spec(Path(place) / "spec.toml", proof.spec).read_text(encoding="utf-8")
    numbers = {"error": verdict.error, "control": verdict.control, "seconds": verdict.seconds}
    attrs = {"spec": text, "message": verdict.message, **{name: float(value) for name, value in numbers.items()}}
    lists = {"inert": list(verdict.inert), "guilty": list(verdict.guilty)}
    return xr.Dataset({name: (name, values) for name, values in lists.items() if values}, attrs=attrs)


def _proof(stored: xr.Dataset, architecture: Architecture) -> Proof:
    told = stored.attrs
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "spec.toml"
        path.write_text(f"alone = true\n{told['spec']}", encoding="utf-8")
        spec = read_spec(path, architecture.module)
    inert, guilty = (tuple(stored[name].values.tolist()) if name in stored else () for name in ("inert", "guilty"))
    error, control, seconds = (float(told[name]) for name in ("error", "control", "seconds"))
    return Proof(spec, Verification(True, error, control, inert, guilty, told["message"], seconds))
