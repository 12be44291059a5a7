"""Evidence: the map from which a network pools its own scores, for networks that have one.

Such a network is its own explanation: what the map does not hold cannot move the score.
"""

import numpy as np

from cxrlens.errors import CxrlensError
from cxrlens.explanation.method import Answer, Method, Question


def evidence(question: Question) -> Answer:
    """Show a disease's layer of the network's own map, as shares in [0, 1].

    Raises
    ------
    CxrlensError
        If the class is normal, for which there is no evidence but the want of it.
    """
    if question.target == 0:
        raise CxrlensError(
            f"the map holds evidence of diseases, there is none for {question.label!r}: "
            "explain a disease"
        )
    layer = question.evidence()[question.target - 1].astype(np.float64)
    values = (1 / (1 + np.exp(-np.clip(layer, -60, 60)))).astype(np.float32)
    strongest = float(values.max())
    return Answer(
        values,
        strongest,
        f"The network pools its score from this map; its strongest place reads {strongest:.2g} of 1",
        absolute=True,
    )


METHOD = Method(
    name="evidence",
    title="Evidence",
    about="the map from which the model itself pools its score",
    needs="map",
    quick=True,
    signed=False,
    explain=evidence,
    diseases_only=True,
)
