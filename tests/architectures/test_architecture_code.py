"""The user's own modules, by import path."""

from __future__ import annotations

import sys

import pytest
import torch

from lmc._errors import ArchitectureError, UsageError
from lmc.architectures import resolve

NETS = """
from __future__ import annotations
from dataclasses import dataclass
import torch
import helper

@dataclass
class Sizes:
    width: int = 3

class Net(torch.nn.Module):
    def __init__(self, width=3, depth=1):
        super().__init__()
        if width > 100:
            raise RuntimeError("too wide")
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(depth)))
        self.drop = torch.nn.Dropout()

    def forward(self, x):
        return self.drop(self.layers(x))

class Needs(torch.nn.Module):
    def __init__(self, cfg, *, width=2):
        super().__init__()

class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        Needs()

def picture(size=6):
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(2 * (size - 2) ** 2, 9))

def _private(): ...

shared = Net()
Words = lambda: torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Flatten(), torch.nn.Linear(12, 9))
number = 3
"""


@pytest.fixture
def nets(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "helper.py").write_text("")
    yield tmp_path / "nets.py"
    for name in [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def test_a_class_in_a_file_with_its_options(nets):
    path = list(sys.path)
    built = resolve(f"{nets}:Net?width=5&depth=2", input_shape=(5,))
    assert len(built.module.layers) == 2
    assert not built.module.training, "dropout must be silent"
    assert built.reference == f"{nets}:Net?width=5&depth=2"
    assert sys.path == path


def test_a_module_on_the_import_path(nets, monkeypatch):
    monkeypatch.chdir(nets.parent)
    assert resolve("nets:Net?depth=3").name == "Net"


def test_an_instance_is_copied_not_taken(nets):
    built = resolve(f"{nets}:shared")
    assert built.module is not sys.modules[type(built.module).__module__].shared


def test_two_files_of_one_name_do_not_meet(nets, tmp_path):
    other = tmp_path / "sub" / "nets.py"
    other.parent.mkdir()
    other.write_text("import torch\nNet = lambda: torch.nn.Linear(2, 2)\n")
    assert resolve(f"{nets}:Net").name == "Net"
    assert isinstance(resolve(f"{other}:Net").module, torch.nn.Linear)


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ("Nett", r"Did you mean 'Net'\?"),
        ("Net?width=101", r"nets\.py, line 15: RuntimeError: too wide"),
        ("number", "gives int, not a torch.nn.Module"),
        ("Sizes", "Sizes, not a torch.nn.Module"),
    ],
)
def test_what_goes_wrong_is_named_with_its_place(nets, tail, words):
    with pytest.raises(ArchitectureError, match=words):
        resolve(f"{nets}:{tail}")


def test_a_failing_forward_names_the_line_and_the_shapes(nets):
    with pytest.raises(ArchitectureError, match=r"\(2, 4\).*nets\.py, line 20: RuntimeError"):
        resolve(f"{nets}:Net", input_shape=(4,))


def test_code_that_reads_tokens_is_given_tokens(nets):
    built = resolve(f"{nets}:Words", input_shape=(3,), num_classes=9)
    assert built.input_kind == "tokens" and built.vocab == 9
    assert "token inputs assumed" in built.assumptions[0]
    assert built.module(*built.example_inputs(5)).shape == (5, 9)


def test_an_error_inside_torch_is_not_blamed_on_this_package(nets):
    with pytest.raises(ArchitectureError, match="forward fails") as caught:
        resolve(f"{nets}:Words", input_shape=(4,), num_classes=9)
    assert "lmc/architectures" not in str(caught.value)


def test_an_unknown_option_suggests_the_nearest(nets):
    with pytest.raises(UsageError, match="Did you mean 'width'"):
        resolve(f"{nets}:Net?witdh=5")


def test_what_a_constructor_needs_is_said(nets):
    with pytest.raises(UsageError, match=r"Needs' needs 'cfg': write '.*:Needs\?width=3&cfg=\.\.\.'") as caught:
        resolve(f"{nets}:Needs?width=3")
    assert "_reference.py" not in str(caught.value)
    assert resolve(f"{nets}:Needs?cfg=3").name == "Needs"


def test_an_error_is_blamed_on_the_users_line_or_on_none(nets):
    with pytest.raises(ArchitectureError, match=r"nets\.py, line 29: TypeError"):
        resolve(f"{nets}:Inner")
    with pytest.raises(ArchitectureError, match=r"cannot be imported\. ModuleNotFoundError: No module named"):
        resolve("no_such_package_here:Net")


@pytest.mark.parametrize("tail", ["", ":", "?width=3"])
def test_a_file_without_a_name_lists_its_classes_and_factories_without_running_it(nets, tail):
    nets.write_text(f"{NETS}\nraise SystemExit\n")
    with pytest.raises((UsageError, ArchitectureError), match=r"nets\.py:NAME\. It has Sizes, Net, Needs, Inner, pic"):
        resolve(f"{nets}{tail}")


def test_a_file_that_offers_nothing_is_said(tmp_path):
    for content, words in (("x = 1\n", "no class and no function"), ("def f(:\n", "not readable as Python")):
        (tmp_path / "empty.py").write_text(content)
        with pytest.raises(UsageError, match=words):
            resolve(str(tmp_path / "empty.py"))
    with pytest.raises(UsageError, match=r"there is no file .*missing\.py"):
        resolve("missing.py")


def test_a_channel_dimension_is_proposed_where_it_is_all_that_lacks(nets):
    with pytest.raises(ArchitectureError, match=r"instead\. It runs on \(2, 1, 6, 6\)\. .*x\[:, None\]") as caught:
        resolve(f"{nets}:picture", input_shape=(6, 6))
    assert "Pass the --data" not in str(caught.value)
    with pytest.raises(ArchitectureError, match=r"instead\. Pass the --data"):
        resolve(f"{nets}:picture", input_shape=(6, 7))
    with pytest.raises(ArchitectureError, match=r"x\[:, None\]"):
        resolve("lenet", input_shape=(28, 28))


@pytest.mark.parametrize("reference", ["missing.py:Net", "no_such_package_here:Net", "nets.py:"])
def test_what_is_not_there_is_said(reference):
    with pytest.raises(ArchitectureError, match=r"missing\.py|no_such_package_here|no file .*nets\.py"):
        resolve(reference)


def test_a_file_with_a_syntax_error_is_named(tmp_path):
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(ArchitectureError, match=r"broken\.py.*SyntaxError"):
        resolve(f"{tmp_path / 'broken.py'}:f")


def test_an_unknown_input_shape_is_asked_for(nets):
    with pytest.raises(ArchitectureError, match="--input-shape"):
        resolve(f"{nets}:Net").example_inputs()
