"""``python -m lmc``, and the command ``lmc``."""

import gc

from lmc.cli import main


def run() -> None:
    """Run one command in a process of its own, which ends with it."""
    try:
        main()
    finally:
        # The interpreter would look through every object of torch for cycles before it leaves: two seconds.
        gc.freeze()


if __name__ == "__main__":
    run()
