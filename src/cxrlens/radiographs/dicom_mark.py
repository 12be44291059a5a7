"""What tells a DICOM file, apart from the reader so that other films do not wait for pydicom."""

_FIRST_ELEMENTS = frozenset(bytes([element, 0]) for element in (0x00, 0x01, 0x05, 0x08, 0x16))
"""Of group 8: its length, the length to the end, character set, image type, SOP class."""


def is_dicom(start: bytes) -> bool:
    """Tell a DICOM file by its first 132 bytes, or more.

    Old files lack the preamble that ends in "DICM"; they begin with the length, or with the first
    tags of the group that identifies the film.
    """
    if start[128:132] == b"DICM" or start.startswith(b"\x02\0\0\0UL\x04\0"):
        return True
    return start[:2] == b"\x08\0" and start[2:4] in _FIRST_ELEMENTS
