"""Back from a data URI to pixels."""

import base64
import io

import numpy as np
from PIL import Image


def picture_of(uri):
    """Decode a PNG data URI into an array."""
    head, data = uri.split(",", 1)
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
