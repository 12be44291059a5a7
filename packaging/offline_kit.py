"""Make a folder from which cxrlens installs on a machine without a network.

    python3 packaging/offline_kit.py -o KIT

It holds wheels of cxrlens, of the model in the box and of all that they need, at the versions of
constraints.txt, and README.txt with the line that installs them. A kit is for the system, the processor and
the Python that made it: make it on a machine like the one that it is for. Needs pip and a network.
"""

import argparse
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODEL = "evidence-lungs"
README = """cxrlens without a network, for {system} and Python {python} (made with extras: {extras}).

In this folder:

    python3 -m venv cxrlens
    cxrlens/bin/pip install --no-index --find-links . -c constraints.txt 'cxrlens[{extras}]' {wheel}
    cxrlens/bin/cxrlens predict FILM

Research use only: not a medical device, not a diagnosis. The weights have terms of their own: cxrlens models.
"""


def make(kit: Path, extras: str, model: str) -> None:
    """Fill a new folder.

    Parameters
    ----------
    kit
        The folder; it must not exist, or be empty.
    extras
        Of cxrlens, as pip writes them, e.g. ``serve,dicom``.
    model
        The folder in ``models/`` of the one that comes along.
    """
    if kit.exists() and any(kit.iterdir()):
        sys.exit(f"{kit} holds something already: name a new folder")
    wanted = [f"{ROOT}[{extras}]", str(ROOT / "models" / model)]
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "-w", str(kit)]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), *wanted], check=True)
    shutil.copy(ROOT / "constraints.txt", kit)
    system = f"{platform.system()} {platform.machine()}"
    python = "{}.{}".format(*sys.version_info)
    wheel = f"cxrlens-model-{model}"
    told = README.format(system=system, python=python, extras=extras, wheel=wheel)
    (kit / "README.txt").write_text(told, encoding="utf-8")
    wheels = list(kit.glob("*.whl"))
    megabytes = sum(path.stat().st_size for path in wheels) / 1e6
    print(
        f"{kit}: {len(wheels)} wheels, {megabytes:.0f} MB; {kit / 'README.txt'} says how to install"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="KIT", help="a new folder")
    parser.add_argument("--extras", default="serve,dicom", help="of cxrlens (default: serve,dicom)")
    parser.add_argument("--model", default=MODEL, help=f"a folder of models/ (default: {MODEL})")
    given = parser.parse_args()
    make(given.out, given.extras, given.model)
