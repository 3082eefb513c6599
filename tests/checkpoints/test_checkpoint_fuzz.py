"""Good files of every format with bytes altered, cut, doubled and moved: loaded or refused, never anything else.

A child process does it, so that a crash of a library in C is seen too; it works against the clock, ten seconds here and
as many as LMC_FUZZ_SECONDS says (``make fuzz``: five minutes).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SECONDS = float(os.environ.get("LMC_FUZZ_SECONDS", "10"))
HANG = 5

RUN = """
import json, os, random, resource, signal, sys, time, warnings
from collections import Counter
from pathlib import Path

folder, seconds, hang = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
import made_up
from lmc._errors import CheckpointError
from lmc.checkpoints import load

whole = {name: content() for name, content in made_up.WHOLE.items()}
for name, data in whole.items():
    (folder / name).write_bytes(data)
    load(folder / name)
warnings.simplefilter("ignore")
os.chdir(folder)
# What a file may make a library ask for, over what is in use by now.
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, resource.RLIM_INFINITY))
calls, forbidden = [], {"os.system", "os.mkdir", "os.remove", "subprocess.Popen"}
sys.addaudithook(lambda event, _: event in forbidden and calls.append(event))


def altered(data, draw):
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        at, length = draw.randrange(len(data)), draw.choice([1, 2, 4, 8, 64])
        kind = draw.randrange(6)
        if kind == 0:
            data[at] = draw.randrange(256)
        elif kind == 1:
            data[at : at + length] = bytes([draw.choice([0, 255, 127, 128])]) * length
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length] * draw.choice([1, 2, 50])
        elif kind == 4:
            other = draw.randrange(len(data))
            data[at : at + length] = data[other : other + length]
        elif draw.random() < 0.2:
            del data[at:]
        if not data:
            break
    return bytes(data)


outcomes, seed, end = Counter(), int(sys.argv[4]), time.monotonic() + seconds
while time.monotonic() < end:
    draw = random.Random(seed)
    name = draw.choice(list(whole))
    path = folder / f"altered-{name}"
    path.write_bytes(altered(whole[name], draw))
    print(json.dumps({"seed": seed, "file": name}), flush=True)
    signal.alarm(hang)
    try:
        load(path)
        outcomes[name, "loaded"] += 1
    except CheckpointError:
        outcomes[name, "refused"] += 1
    signal.alarm(0)
    seed += 1
assert not calls, calls
print(json.dumps({"outcomes": [[*key, count] for key, count in outcomes.items()]}))
"""


def test_altered_files_are_loaded_or_refused_and_nothing_else(tmp_path):
    seed = 0 if SECONDS <= 10 else int.from_bytes(os.urandom(4))
    command = [sys.executable, "-c", RUN, str(tmp_path), str(SECONDS), str(HANG), str(seed)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, text=True, capture_output=True, env=environment, check=False, timeout=SECONDS + 120)
    *_, last = done.stdout.splitlines() or ["nothing was run"]
    assert done.returncode == 0, f"exit {done.returncode} at {last}: {done.stderr[-3000:]}"
    outcomes = json.loads(last)["outcomes"]
    refused = {name for name, what, _ in outcomes if what == "refused"}
    assert len(refused) >= 10, outcomes
    print(sum(count for *_, count in outcomes), "files")
