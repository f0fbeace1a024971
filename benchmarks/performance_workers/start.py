"""A fresh edge process: `start.py FILE.onnx JPEG`; seconds to the first verdict, memory."""

import json
import sys
import time
from pathlib import Path

start = time.perf_counter()
from anomalib_lite.edge import EdgeModel  # noqa: E402

imported = time.perf_counter()
model = EdgeModel(sys.argv[1])
loaded = time.perf_counter()
model.predict(sys.argv[2])
judged = time.perf_counter()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(
    json.dumps(
        {
            "import_s": imported - start,
            "load_and_self_test_s": loaded - imported,
            "first_verdict_s": judged - loaded,
            "total_s": judged - start,
            "resident_mib": int(status["VmRSS"].split()[0]) / 1024,
        }
    )
)
