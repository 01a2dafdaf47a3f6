"""Applies our deltas in cases.tsv with centrifuge-python's own decoder; see peers.mjs."""

import base64
import importlib.util
import sys

# The file alone: the package around it wants dependencies that its decoder does not.
spec = importlib.util.spec_from_file_location("fossil", "python/centrifuge/fossil.py")
fossil = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fossil)

applied = 0
with open(sys.argv[1], encoding="ascii") as cases:
    for line in cases:
        name, source, target, _, ours = line.rstrip("\n").split("\t")
        if ours == "-":
            continue
        made = fossil.apply_delta(base64.b64decode(source), base64.b64decode(ours))
        assert made == base64.b64decode(target), name
        applied += 1
print(f"{applied} deltas make their targets")
