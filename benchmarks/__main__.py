"""Run a benchmark by its name: ``python -m benchmarks NAME [its arguments]``."""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    names = sorted(path.stem for path in HERE.glob("[!_]*.py") if "__main__" in path.read_text())
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"python -m benchmarks NAME, one of: {', '.join(names)}")
    # A script beside others finds them as if it had been started by its path.
    sys.path.insert(0, str(HERE))
    del sys.argv[0]
    script = str(HERE / f"{sys.argv[0]}.py")
    sys.argv[0] = script
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
