"""The command line: one command a file, each parses, calls one public function and prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from lmc._errors import LmcError
from lmc.cli.align import align
from lmc.cli.apply import apply
from lmc.cli.barrier import barrier
from lmc.cli.basin import basin
from lmc.cli.cite import cite
from lmc.cli.collect import collect
from lmc.cli.conjecture import conjecture
from lmc.cli.convert import convert
from lmc.cli.curve import curve
from lmc.cli.fuse import fuse
from lmc.cli.inspect import inspect
from lmc.cli.instability import instability
from lmc.cli.plot import plot
from lmc.cli.report import report
from lmc.cli.sweep import sweep
from lmc.cli.symmetries import symmetries
from lmc.cli.train import train

_HELP = """
Linear mode connectivity: do these networks lie in the same basin once the symmetries of their architecture are removed?

For example:

    lmc barrier a.pt b.pt --data mnist --align none --align weights
    lmc barrier a.th b.pth --model nets.py:ResNet20 --data cifar10 -o out.nc --figure out.pdf
    lmc basin a.pt b.pt --data mnist
    lmc curve a.pt b.pt --data mnist -o curve.safetensors
    lmc conjecture runs/*.pt --data mnist --tolerance 0.02 --budget 10m
    lmc plot barrier.nc -o barrier.pdf
    lmc sweep sweep.toml -o results
    lmc collect results -o sweep.nc
    lmc instability run.toml --branch-steps 0,100,500
    lmc fuse a.pt b.pt -o fused.safetensors --data mnist
    lmc align a.pt b.pt -o b-aligned.safetensors --save-permutation p.npz
    lmc apply b-epoch3.pt p.npz -o b-epoch3-aligned.safetensors
    lmc symmetries a.pt
    lmc inspect runs/*.pt
    lmc convert model.keras -o model.safetensors
    lmc report barrier.nc basin.nc -o report.html
    lmc cite --align ot
    lmc train mlp --data digits --seed 3 -o m3.safetensors

`lmc COMMAND --help` tells about each.
"""

_EPILOGUE = (
    "Exit codes: 0 done, 2 wrong usage, 3 unusable input, 4 the symmetry check failed or was not possible, "
    "5 some units of a sweep failed."
)


_COMMANDS = (
    *(barrier, basin, curve, conjecture, instability, sweep, collect),
    *(fuse, align, apply, convert, train),
    *(plot, report, inspect, symmetries, cite),
)


def make_app() -> App:
    """Return the application; the commands import what they need when they run."""
    import lmc

    app = App(
        name="lmc",
        help=_HELP,
        help_epilogue=_EPILOGUE,
        version=lmc.__version__,
        help_format="markdown",
        suppress_keyboard_interrupt=False,  # main() says where the work is
    )
    for command in _COMMANDS:
        app.command(command)
    return app


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    # Threads that spin long while they wait make small work a hundred times slower where cores are shared, threads that
    # sleep at once make it slower everywhere. Must be said before torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    app = make_app()
    try:
        app(sys.argv[1:] if argv is None else list(argv), exit_on_error=False, result_action="return_value")
    except CycloptsError:
        sys.exit(2)
    except LmcError as error:
        print(f"lmc: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # What reads the output has left (head); closing stdout again at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        print(f"lmc: {error}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt as stopped:  # Ctrl-C, or SIGTERM during long work
        print(": ".join(["lmc: interrupted", *map(str, stopped.args)]), file=sys.stderr)
        sys.exit(143 if type(stopped).__name__ == "Terminated" else 130)
