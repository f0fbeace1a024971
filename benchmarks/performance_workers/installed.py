"""Size of what a package brings along: `installed.py NAME`, MB of it and all that it requires."""

import json
import re
import sys
from importlib import metadata


def closure(name, found):
    """Distributions that a package needs in this environment, by name."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return
    try:
        found[key] = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return
    for wanted in found[key].requires or ():
        if "extra ==" not in wanted:
            closure(re.match(r"[\w.-]+", wanted)[0], found)


def size(distribution):
    """Bytes of its files."""
    paths = (distribution.locate_file(file) for file in distribution.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())


packages = {}
closure(sys.argv[1], packages)
megabytes = {name: size(item) / 1e6 for name, item in packages.items()}
largest = sorted(megabytes, key=megabytes.get, reverse=True)[:4]
print(
    json.dumps(
        {
            "mb": sum(megabytes.values()),
            "packages": len(megabytes),
            "largest": {name: megabytes[name] for name in largest},
        }
    )
)
