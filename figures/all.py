"""Draw every figure of this folder, in one process."""

import re
import runpy
import time
from pathlib import Path

start, here = time.perf_counter(), Path(__file__).parent
drawn = 0
for script in sorted(here.glob("fig_*.py")):
    names = re.findall(r'result\("(\w+)"\)', script.read_text(encoding="utf-8"))
    if missing := [name for name in names if not (here.parent / "data" / f"{name}.nc").exists()]:
        print(f"{script.name} is not drawn: no data/{missing[0]}.nc (make study-{missing[0]})")
        continue
    runpy.run_path(str(script))
    drawn += 1
print(f"{drawn} scripts, {time.perf_counter() - start:.0f} s")
