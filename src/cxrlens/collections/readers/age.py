"""Ages as public sets and DICOM write them, in years."""

import math
import re

OLDEST = 120.0
"""Years above which an age is a slip of the pen: NIH's first table has patients of 411."""

_YEARS = {"y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
_AGE = re.compile(r"(\d{1,3})\s*([ymwd]?)", re.IGNORECASE)


def years(text: str) -> float:
    """Read the first age in a text: "058Y", "016M", "64days", "45yrs", "Patient's Age: 027Y", "58".

    Parameters
    ----------
    text
        A DICOM age string (PS3.5, AS: three digits and D, W, M or Y), a plain number, or a number
        with its unit spelled out.

    Returns
    -------
    float
        Years, a number without a unit counting as years; NaN where there is none from 0 to `OLDEST`.
    """
    found = _AGE.search(text)
    if not found:
        return math.nan
    age = int(found[1]) * _YEARS[found[2].lower() or "y"]
    return age if age <= OLDEST else math.nan
