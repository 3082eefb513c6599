"""Draw every figure of this folder, in one process."""

import runpy
import time
from pathlib import Path

start = time.perf_counter()
scripts = sorted(Path(__file__).parent.glob("fig_*.py"))
for script in scripts:
    runpy.run_path(str(script))
print(f"{len(scripts)} scripts, {time.perf_counter() - start:.0f} s")
