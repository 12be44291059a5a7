"""Defects of a film's pixels and their repairs: one file a kind of defect, one chain.

`Chain.named` gives the chain; `Chain.examine` finds and repairs, `Chain.check` only finds.
"""

from cxrlens.quality.chain import CHAINS, Chain
from cxrlens.quality.step import DEFECTS, Examination, Finding

__all__ = ["CHAINS", "DEFECTS", "Chain", "Examination", "Finding"]
