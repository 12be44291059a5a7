"""The offline kit: what installs from it alone predicts a film."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from cxrlens.phantoms import draw_phantom

ROOT = Path(__file__).parents[1]
KIT = ROOT / "packaging" / "offline_kit.py"
PYTHON = Path(sys.base_prefix) / "bin" / "python3"


def test_a_folder_with_something_in_it_is_no_kit(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    said = subprocess.run(
        [sys.executable, KIT, "-o", tmp_path], capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    assert "holds something already: name a new folder" in said.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_the_kit_s_own_lines_install_without_an_index(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    subprocess.run([PYTHON, KIT, "-o", kit, "--extras", "serve"], check=True, cwd=tmp_path)
    told = (kit / "README.txt").read_text(encoding="utf-8").splitlines()
    lines = [line.strip() for line in told if line.startswith("    ")]
    cv2.imwrite(str(tmp_path / "film.png"), draw_phantom(1, "tuberculosis", 256).film)
    # No index is asked, whatever the machine is set to; and nothing of this checkout is on the path.
    apart = {name: of for name, of in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    apart |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/none"}
    for line in lines:
        done = subprocess.run(
            line.replace("python3", str(PYTHON)).replace("FILM", str(tmp_path / "film.png")),
            shell=True,
            cwd=kit,
            env=apart,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert "predicted: 1 films" in done.stdout
    about = [kit / "cxrlens" / "bin" / "cxrlens", "serve", "--help"]
    assert subprocess.run(about, env=apart, capture_output=True, check=False).returncode == 0
