"""Training: from a recipe and a collection to a run folder."""

import cxrlens.models  # noqa: F401 - makes torchvision importable before lightning asks for it
