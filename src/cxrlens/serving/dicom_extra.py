"""Whether the extra ``dicom`` is installed; the node's modules import its packages at their top."""

from importlib.util import find_spec

from cxrlens.errors import MissingExtraError

PACKAGES = ("pynetdicom", "highdicom", "dicomweb_client")
"""What the extra ``dicom`` brings."""


def require_dicom() -> None:
    """Refuse to go on without the extra.

    Raises
    ------
    MissingExtraError
        If one of its packages is not installed.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(
                f"the DICOM node needs the extra 'dicom' ({package} is missing): "
                "pip install -c constraints.txt 'cxrlens[dicom]'"
            )
