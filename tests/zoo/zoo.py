"""Runs the whole zoo and writes docs/zoo.md; one model after the other, in processes of their own, resumable.

python tests/zoo/zoo.py              every model that has no result yet in out/zoo, then the table
python tests/zoo/zoo.py resnet18     one model, its result printed as JSON
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, os.fspath(Path(__file__).parent))
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "out/zoo"
SMALL = 6_000_000
"""Parameters up to which every single axis is broken in the negative control; above, a dozen of them."""


_ABOUT = """All groups are permuted at once, on redrawn weights in float64 (`error`: relative change of the outputs);
then single axes are left behind, as a control (smallest effect over the groups; every axis up to 6 million parameters,
else a dozen). `leaf units` counts what lies inside heads or convolution groups once, `units` once per head or group;
`least` (groups / leaf units) is what a prototype without wreath products found; `moved`: share of parameters that some
group moves. Made by `make zoo`."""


def measure(name: str) -> dict[str, Any]:
    """Find and verify the symmetries of one model."""
    import torch

    from lmc.symmetry import find_symmetries, verify

    model, args, kwargs, least, why, fake = _model(name)
    start = time.perf_counter()
    spec = find_symmetries(model, args, kwargs)
    seconds = time.perf_counter() - start
    parameters = sum(tensor.numel() for tensor in model.parameters())
    result = {
        "model": name,
        "parameters": parameters,
        "groups": len(spec.groups),
        "units": spec.units,
        "leaf_units": sum(group.size for group in spec.groups),
        "log10": spec.log10_size,
        "coverage": spec.coverage,
        "seconds": seconds,
        "least": least,
        "why": why,
    }
    if fake:
        return {**result, "verdict": "structure only"}
    torch.manual_seed(0)
    breaks = None if parameters <= SMALL else 12
    verdict = verify(spec, model, args, kwargs, breaks=breaks)
    return {
        **result,
        "verdict": "verified" if verdict.ok else verdict.message,
        "error": verdict.error,
        "control": verdict.control,
        "broken": "all" if breaks is None else breaks,
        "inert": len(verdict.inert),
        "verify_seconds": verdict.seconds,
    }


def _model(name: str) -> tuple[Any, tuple, dict, Any, str, bool]:
    import torch
    import torchvision_models
    from huggingface import FAMILIES

    from lmc.architectures import NETWORKS, resolve

    if name in FAMILIES:
        model, kwargs = FAMILIES[name].build()
        return model, (), kwargs, None, FAMILIES[name].why, False
    if name in NETWORKS:
        architecture = resolve(name)
        return architecture.module, architecture.example_inputs(), {}, None, "", False
    size = torchvision_models.image_size(name)
    fake = name in torchvision_models.STRUCTURE_ONLY
    model = torchvision_models.build(name, "meta" if fake else None)
    inputs = (torch.zeros(1, 3, size, size),)
    return model, inputs, {}, torchvision_models.LEAST.get(name), "", fake


def names() -> list[str]:
    """Return every model of the zoo."""
    import torchvision_models
    from huggingface import FAMILIES

    from lmc.architectures import NETWORKS

    return [*NETWORKS, *FAMILIES, *torchvision_models.names()]


def run_all() -> None:
    """Measure what has no result yet, then write the table."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    wanted = names()
    for number, name in enumerate(wanted, 1):
        target = RESULTS / f"{name.replace(' ', '_')}.json"
        if target.exists():
            continue
        command = [sys.executable, __file__, name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
        lines = done.stdout.splitlines()
        failed = {"model": name, "verdict": (done.stderr.splitlines() or ["killed"])[-1][:200]}
        target.write_text(lines[-1] if done.returncode == 0 and lines else json.dumps(failed))
        print(f"{number}/{len(wanted)} {target.read_text()}", flush=True)
    write_table([json.loads((RESULTS / f"{name.replace(' ', '_')}.json").read_text()) for name in wanted])


def write_table(results: list[dict[str, Any]]) -> None:
    """Write docs/zoo.md."""
    verified = sum(one["verdict"] == "verified" for one in results)
    about = f"Permutation symmetries of {len(results)} architectures, {verified} of them verified. {_ABOUT}"
    lines = [
        "# The zoo",
        "",
        *textwrap.wrap(about, 120),
        "",
        "| model | parameters | groups | units | leaf units | least | log10 of permutations | moved | error | control "
        "| find, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for one in results:
        lines.append(_row(one))
        if one.get("why"):
            notes.append(f"- {one['model']}: {one['why']}.")
        if one["verdict"] not in ("verified", "structure only"):
            notes.append(f"- {one['model']}: {one['verdict']}.")
    extra = (ROOT / "tests/zoo/notes.md").read_text()
    (ROOT / "docs/zoo.md").write_text("\n".join([*lines, "", extra.rstrip(), *notes, ""]))


def _row(one: dict[str, Any]) -> str:
    if "groups" not in one:
        return f"| {one['model']} | | | | | | | | failed | | |"
    least = "{} / {:,}".format(*one["least"]) if one["least"] else ""
    checked = (
        f"{one['error']:.0e} | {one['control']:.0e}" if one["verdict"] == "verified" else f"{one['verdict'][:40]} | "
    )
    return (
        f"| {one['model']} | {one['parameters']:,} | {one['groups']} | {one['units']:,} | {one['leaf_units']:,} "
        f"| {least} | {one['log10']:,.0f} | {one['coverage']:.1%} | {checked} | {one['seconds']:.1f} |"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        warnings.simplefilter("ignore")
        print(json.dumps(measure(sys.argv[1])))
    else:
        run_all()
