"""What the server that workers are forked from imports, once for all of them; importing this module does it."""

import gc
import importlib
import os

# Workers share the cores among them: numpy's products must not take all for each. Torch's threads are set by workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

gc.disable()  # nothing of what is imported is garbage: to look for it takes a tenth of the time
# The second is what torch.export loads at its first call: each worker by itself, while others wait for its symmetries.
for name in ("lmc.sweep.serving", "torch._dynamo"):
    importlib.import_module(name)
gc.freeze()  # what workers share is never looked through, which would copy it
gc.enable()
