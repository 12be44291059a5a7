"""Whole numbers in place of floats in the network of the box: is it faster, and does it say the same.

    OMP_NUM_THREADS=1 python -m benchmarks quantised --films FOLDER [--count 24]

ONNX Runtime's own quantisation, of weights alone (dynamic) and of weights and activations (static, a scale a
channel, calibrated on half of the films). Processor time of one thread, films in batches of 16, in turn. Whether
an area under the curve moves need not be asked at a place where neither is faster and alike in its scores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from cxrlens.prediction import load
from cxrlens.radiographs.read import find_films
from cxrlens.runs import open_model
from record import keep_speed, machine, markdown, middle, said, shared, stamp

BATCH, REPEATS = 16, 5


class Films(CalibrationDataReader):
    """Films one by one, as ONNX Runtime asks for them."""

    def __init__(self, name: str, films: np.ndarray) -> None:
        self.left = iter([{name: film[None]} for film in films])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next one."""
        return next(self.left, None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--count", type=int, default=24)
    options = parser.parse_args()
    predictor = load()
    every = find_films([options.films])
    chosen = every[:: max(1, len(every) // options.count)][: options.count]
    films = np.stack([predictor.predict(path).examination.pixels for path in chosen])
    source = Path(open_model(None).path) / "model.onnx"
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as place:
        paths = {"float32": str(source)}
        for name in ("int8, weights alone", "int8, weights and activations"):
            paths[name] = f"{place}/{len(paths)}.onnx"
        # Weights come out of the network's own arithmetic: folded first, they can be quantised.
        folded = f"{place}/folded.onnx"
        quant_pre_process(source, folded, skip_symbolic_shape=True)
        quantize_dynamic(folded, paths["int8, weights alone"], weight_type=QuantType.QInt8)
        (asked,) = onnxruntime.InferenceSession(str(source), settings).get_inputs()
        quantize_static(
            folded, paths["int8, weights and activations"], Films(asked.name, films[::2]),
            quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add"],
        )  # fmt: skip
        sessions = {
            name: onnxruntime.InferenceSession(path, settings) for name, path in paths.items()
        }
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for turn in range(REPEATS + 1):
            for name, session in sessions.items():
                start = time.process_time()
                session.run(None, {asked.name: films[:BATCH]})
                if turn:
                    times[name].append((time.process_time() - start) * 1000 / BATCH)
        scores = {name: one.run(None, {asked.name: films})[0] for name, one in sessions.items()}
    plain = scores["float32"]
    found = {
        name: {
            "ms": middle(times[name]),
            "times": middle((np.array(times["float32"]) / times[name]).tolist()),
            "apart": float(np.abs(scores[name] - plain).mean() / plain.std()),
        }
        for name in sessions
    }
    table = pd.DataFrame(
        {
            "network": name,
            "ms a film": said(one["ms"], 2),
            "times as fast": said(one["times"], 2),
            "scores apart, of their deviation": f"{one['apart']:.2f}",
        }
        for name, one in found.items()
    )
    saved = (
        found["float32"]["ms"]["median"] - found["int8, weights and activations"]["ms"]["median"]
    )
    text = (
        f"Written by `python -m benchmarks quantised`: the model in the box by ONNX Runtime, one thread, batches of {BATCH}, "
        f"{len(films)} given films, {REPEATS} repeats in turn, median (least–most) of processor time.\n\n{markdown(table)}\n\n"
        f"Not taken: the better one saves {saved:.1f} ms, of a film that costs `predict` some four times as much as its network, and its "
        "scores are others, so that thresholds and calibration would have to be fitted anew. No place that training had "
        f"not seen was asked.\n\n{stamp(machine())}; {shared()}."
    )
    keep_speed("quantised", {"films": len(films), "networks": found}, text)
    print(text)


if __name__ == "__main__":
    main()
