"""Drawn chest radiographs with known lungs, lesions and defects.

`draw_phantom` gives one film, `write_phantoms` a folder of them with its table; both depend only on
their seeds (another release of NumPy or OpenCV can change single grey values). The drawings are made to
exercise the whole path from film to report, never to stand for patients: what is measured on them says
nothing about real films.
"""

from cxrlens.phantoms.film import Phantom, boxes_round, draw_phantom, write_phantoms

__all__ = ["Phantom", "boxes_round", "draw_phantom", "write_phantoms"]
