"""Run every benchmark with --smoke, so that none of them rots. Ends with 1 at the first that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NOT_BENCHMARKS = {"__init__", "smoke", "upstream"}


def main() -> int:
    """Run each script of this folder in a process of its own."""
    for path in sorted(HERE.glob("*.py")):
        if path.stem in NOT_BENCHMARKS or path.stem.startswith("_"):
            continue
        print(f"benchmarks/{path.name} --smoke", flush=True)
        done = subprocess.run([sys.executable, str(path), "--smoke"], cwd=HERE.parent, check=False)
        if done.returncode:
            print(f"benchmarks/{path.name} failed with {done.returncode}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
