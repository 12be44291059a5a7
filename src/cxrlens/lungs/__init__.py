"""The lung fields of a film: where they lie, their outline, a crop to them, a film of them alone.

`find_lungs` asks a small network (``lungs.onnx``; its card, data and terms: ``README.md`` beside it).
onnxruntime runs it; nothing here needs PyTorch.
"""

from cxrlens.lungs.fields import Lungs, Outline, find_lungs

__all__ = ["Lungs", "Outline", "find_lungs"]
