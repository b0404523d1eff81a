"""The whole daemon with its own Redis: `python -m bench.hop.whole PORT NEXT`.

Shipped defaults, but observing (`enforce = false`): a blast from one sender is
what a bench is and what the daemon holds.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from shaper.daemon import main

_CONFIGURATION = """\
[daemon]
hostname = "bench.example.test"
enforce = false
state_directory = "{directory}/state"
runtime_directory = "{directory}/run"

[hop]
listen = ["127.0.0.1:{port}"]
next_hop = "127.0.0.1:{next_hop}"

[policy]
listen = []

[metrics]
listen = ""
"""

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bench", dir="/tmp") as name:
        directory = Path(name)
        (directory / "run").mkdir()
        path = directory / "mailshaper.toml"
        path.write_text(
            _CONFIGURATION.format(
                directory=name, port=int(sys.argv[1]), next_hop=int(sys.argv[2])
            )
        )
        sys.exit(main(path))
