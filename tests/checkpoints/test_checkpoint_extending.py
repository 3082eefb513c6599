"""docs/extending.md does what it says, word for word; and addresses lead to files."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lmc._errors import CheckpointError, UsageError
from lmc.checkpoints import load
from lmc.checkpoints.addresses import locate

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Write the page's modules to a folder and declare its entry points, as installing such a package would."""
    text = PAGE.read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        assert len([line for line in code.splitlines() if line.strip()]) < 20
        (tmp_path / code.split()[1]).write_text(code)
    declared = [tomllib.loads(toml) for toml in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    entries = [
        importlib.metadata.EntryPoint(name, value, group)
        for one in declared
        for group, points in one["project"]["entry-points"].items()
        for name, value in points.items()
    ]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [e for e in entries if e.group == group])
    yield tmp_path
    for name in ("my_formats", "my_resolvers"):
        sys.modules.pop(name, None)


def test_the_pages_format_reads_its_files(installed):
    np.savetxt(installed / "w.txt", np.arange(6.0).reshape(2, 3), header="weights: fc.weight")
    checkpoint = load(installed / "w.txt")
    assert checkpoint.metadata["format"] == "table" and checkpoint.metadata["versions"] == {"table": "1"}
    assert checkpoint.state["fc.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    (installed / "bad.txt").write_text("# weights: fc.weight\n1 2\nx\n")
    with pytest.raises(CheckpointError, match="damaged table"):
        load(installed / "bad.txt")


def test_the_pages_resolvers_lead_to_files(installed, monkeypatch):
    torch.save({"w": torch.ones(2, 2)}, installed / "w.pt")
    folder = SimpleNamespace(download=lambda: str(installed / "artifact"))
    (installed / "artifact").mkdir()
    (installed / "artifact" / "w.pt").write_bytes((installed / "w.pt").read_bytes())
    asked = []
    artifacts = SimpleNamespace(download_artifacts=lambda uri: asked.append(uri) or str(installed / "w.pt"))
    files = SimpleNamespace(get_file=lambda source, target: asked.append(source))
    for name, module in {
        "wandb": SimpleNamespace(Api=lambda: SimpleNamespace(artifact=lambda path: asked.append(path) or folder)),
        "mlflow": SimpleNamespace(artifacts=artifacts),
        "dvc": SimpleNamespace(api=SimpleNamespace(DVCFileSystem=lambda: files)),
        "dvc.api": SimpleNamespace(),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.chdir(installed)
    for address in ("wandb://team/project/model:v3", "mlflow://run1/model.pt", "dvc://w.pt"):
        assert torch.equal(load(address).state["w"], torch.ones(2, 2))
        assert load(address).source == address
    assert asked[0] == "team/project/model:v3" and asked[2] == "runs:/run1/model.pt" and asked[4] == "w.pt"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://org/repo/sub/w.pt", {"repo_id": "org/repo", "revision": None, "filename": "sub/w.pt"}),
        ("hf:/org/repo@v2/w.pt", {"repo_id": "org/repo", "revision": "v2", "filename": "w.pt"}),
        ("hf://org/repo@main", {"repo_id": "org/repo", "revision": "main"}),
    ],
)
def test_the_hub_is_asked_for_what_was_named(tmp_path, monkeypatch, address, expected):
    hub = pytest.importorskip("huggingface_hub")
    asked = {}
    monkeypatch.setattr(hub, "hf_hub_download", lambda **options: asked.update(options) or str(tmp_path))
    monkeypatch.setattr(
        hub, "snapshot_download", lambda allow_patterns, **options: asked.update(options) or str(tmp_path)
    )
    assert locate(Path(address) if address.startswith("hf:/o") else address) == tmp_path
    assert asked == expected


def test_a_web_address_needs_a_checksum_and_its_file_is_checked(tmp_path, monkeypatch):
    import pooch

    with pytest.raises(CheckpointError, match="#sha256=HEX"):
        locate("https://example.org/w.pt")
    asked = {}
    monkeypatch.setattr(pooch, "retrieve", lambda url, **options: asked.update(options, url=url) or str(tmp_path))
    assert locate(f"https://example.org/w.pt#sha256={'a' * 64}") == tmp_path
    assert asked["known_hash"] == f"sha256:{'a' * 64}" and asked["url"] == "https://example.org/w.pt"


def test_what_cannot_be_fetched_is_a_clear_error(monkeypatch):
    import pooch

    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(CheckpointError, match="could not be fetched"):
        locate(f"https://example.org/w.pt#sha256={'a' * 64}")
    with pytest.raises(UsageError, match="Unknown address scheme 'htps'"):
        locate("htps://example.org/w.pt")


def test_a_local_path_with_a_colon_stays_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs:").mkdir()
    Path("runs:/w.pt").write_bytes(b"")
    assert locate("runs:/w.pt") == Path("runs:/w.pt")
