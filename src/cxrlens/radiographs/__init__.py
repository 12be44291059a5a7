"""Pixels of one film: reading to one grey array, resizing, filters. Knows nothing of labels.

Every film becomes a ``(height, width)`` array of ``uint8`` in which bone is bright and air is dark,
0 is black and 255 is white; see `cxrlens.radiographs.read`.
"""

from cxrlens.radiographs.grey import resize
from cxrlens.radiographs.read import decode_radiograph, find_films, read_radiograph

__all__ = ["decode_radiograph", "find_films", "read_radiograph", "resize"]
