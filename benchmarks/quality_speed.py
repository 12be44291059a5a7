"""What the robust chain costs, as ratios in one run.

    python benchmarks/quality_speed.py [--films 1000]

Films of the sizes of the untouched originals, repeated. Two ratios: decode + whole chain against
decode + resize; and the chain's looking (after decoding) against the same steps written with
scikit-image (`quality_reference`), whose verdicts are compared too, on some of the films. Processor
time is counted, so that a busy machine does not spoil the ratios. Writes results/quality_speed.json, .md.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np
import pandas as pd

from cxrlens.quality import Chain
from cxrlens.quality.borders import EvenBorders
from cxrlens.radiographs import read_radiograph, resize
from quality_films import RAW
from quality_measure import markdown, write_results
from quality_reference import detect


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=1000)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    chain = Chain.named("robust")
    # The reference has no gate: its network is measured by gate_measure.py.
    looking = Chain(chain.name, chain.side, chain.native, chain.square)
    paths = [RAW / image for image in pd.read_csv(RAW / "raw.csv")["image"]]
    rounds = -(-options.films // len(paths))
    plain = whole = 0.0
    for path in (paths * rounds)[: options.films]:
        # One right after the other, so that both meet the same load of the machine.
        start = time.process_time()
        resize(read_radiograph(path), 224)
        middle = time.process_time()
        chain.examine(read_radiograph(path))
        plain, whole = plain + middle - start, whole + time.process_time() - middle
    ours = theirs = 0.0
    differences: dict[str, list[float]] = {}
    decided_alike, decisions = 0, 0
    for path in paths:
        film = read_radiograph(path)
        start = time.process_time()
        findings = looking.check(film).findings
        middle = time.process_time()
        values = detect(looking, film)
        ours, theirs = ours + middle - start, theirs + time.process_time() - middle
        if any(chain_step_repairs(chain, findings)):
            continue  # the reference looks at the film as it is; ours looks at what repairs left
        for step in looking.steps:
            if isinstance(step, EvenBorders):
                threshold, value = 0.0, values["padded"]
            elif hasattr(step, "regression"):
                threshold, value = step.regression.threshold, values[step.defect]
            else:
                threshold = getattr(step, "surrounded", getattr(step, "threshold", 0.0))
                value = values[step.defect]
            decisions += 1
            decided_alike += (value > threshold) == findings[step.defect].present
            score = np.clip(findings[step.defect].score, 1e-15, 1 - 1e-15)
            if hasattr(step, "regression") or step.defect == "negative":
                logit = float(np.log(score / (1 - score))) + threshold
                differences.setdefault(step.defect, []).append(abs(logit - value))
    document = {
        "films": options.films,
        "decode_resize_ms": 1000 * plain / options.films,
        "decode_chain_ms": 1000 * whole / options.films,
        "ratio_to_decode_resize": whole / plain,
        "chain_ms": 1000 * ours / len(paths),
        "scikit_image_ms": 1000 * theirs / len(paths),
        "scikit_image_ratio": theirs / ours,
        "decisions_alike": [decided_alike, decisions],
        "median_logit_difference": {d: float(np.median(v)) for d, v in differences.items()},
        "largest_logit_difference": {d: float(np.max(v)) for d, v in differences.items()},
    }
    text = markdown(
        ("what", "ms a film", "ratio"),
        [
            ("decode + resize", f"{document['decode_resize_ms']:.1f}", "1"),
            ("decode + robust chain", f"{document['decode_chain_ms']:.1f}", f"{whole / plain:.2f}"),
            ("robust chain after decoding", f"{document['chain_ms']:.1f}", "1"),
            (
                "same detectors with scikit-image",
                f"{document['scikit_image_ms']:.1f}",
                f"{theirs / ours:.1f}",
            ),
        ],
    )
    text += (
        f"\n{options.films} films; on those without repairs {decided_alike} of {decisions} verdicts are "
        "those of the scikit-image version; largest difference of a logit: "
        + ", ".join(f"{d} {np.max(v):.2g}" for d, v in differences.items())
        + ".\n"
    )
    write_results("quality_speed", document, text, text)


def chain_step_repairs(chain: Chain, findings: dict) -> list[bool]:
    """Tell which steps changed the film."""
    return [bool(s.repair_name) and findings[s.defect].present for s in chain.steps]


if __name__ == "__main__":
    main()
