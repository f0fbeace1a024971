"""A judge that waits for turns, so that several can be timed in turns; runs in any interpreter.

A line `{"kind": "frame", "repeats": 20}` on stdin is answered by `{"ms": [...]}` on stdout.
"""

import json
import sys
import time


def serve(jobs):
    """Answer until stdin ends.

    Args:
        jobs: kind -> a call without arguments that judges once.
    """
    out = sys.stdout
    sys.stdout = sys.stderr  # libraries that print must not break the protocol
    for call in jobs.values():
        for _ in range(3):
            call()
    print(json.dumps({"kinds": list(jobs)}), file=out, flush=True)
    for line in sys.stdin:
        turn = json.loads(line)
        call = jobs[turn["kind"]]
        call()
        taken = []
        for _ in range(turn["repeats"]):
            start = time.perf_counter()
            call()
            taken.append((time.perf_counter() - start) * 1e3)
        print(json.dumps({"ms": taken}), file=out, flush=True)
