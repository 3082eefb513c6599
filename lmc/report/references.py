"""The papers behind what was used: those that the results carry, and those of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from lmc.report.section import as_mapping

_CHORD = """@inproceedings{entezari2022role,
  title = {The Role of Permutation Invariance in Linear Mode Connectivity of Neural Networks},
  author = {Entezari, Rahim and Sedghi, Hanie and Saukh, Olga and Neyshabur, Behnam},
  booktitle = {International Conference on Learning Representations},
  year = {2022}
}"""
_REPAIR = """@inproceedings{jordan2023repair,
  title = {{REPAIR}: {RE}normalizing Permuted Activations for Interpolation Repair},
  author = {Jordan, Keller and Sedghi, Hanie and Saukh, Olga and Entezari, Rahim and Neyshabur, Behnam},
  booktitle = {International Conference on Learning Representations},
  year = {2023}
}"""
_CURVE = """@inproceedings{garipov2018loss,
  title = {Loss Surfaces, Mode Connectivity, and Fast Ensembling of {DNNs}},
  author = {Garipov, Timur and Izmailov, Pavel and Podoprikhin, Dmitrii and Vetrov, Dmitry and Wilson, Andrew Gordon},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2018}
}"""
_FILTERS = """@inproceedings{li2018visualizing,
  title = {Visualizing the Loss Landscape of Neural Nets},
  author = {Li, Hao and Xu, Zheng and Taylor, Gavin and Studer, Christoph and Goldstein, Tom},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2018}
}"""
_MEASURED = {"barrier": _CHORD, "adaptive": _CHORD, "sweep": _CHORD, "conjecture": _CHORD}


def references(datasets: Sequence[xr.Dataset]) -> list[str]:
    """Return the BibTeX entries of everything that the results used, each paper once, methods first."""
    methods: list[str] = []
    measured: list[str] = []
    for dataset in datasets:
        attrs = dataset.attrs
        methods += [str(attrs.get("citation", "")), *map(str, as_mapping(attrs, "citations").values())]
        kind = str(attrs["lmc_kind"])
        measured.append(_MEASURED.get(kind, ""))
        measured.append(_REPAIR if "repair" in attrs else "")
        measured.append(_CURVE if any(str(name).startswith("curve_") for name in attrs) else "")
        measured.append(_FILTERS if kind == "basin" and dataset.sizes["mode"] == 1 else "")
    return list({_key(entry): entry.strip() for entry in [*methods, *measured] if entry.strip()}.values())


def _key(entry: str) -> str:
    """Return what an entry is cited by, so that a paper that two sources know stands once."""
    return entry.partition("{")[2].partition(",")[0].strip()
