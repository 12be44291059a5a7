"""The audit: whether what is measured on a collection can be believed.

Copies and patients on both sides of a split; what tells the label without the lungs, within a source
and across; what a model makes of films without lungs. It returns data; `cxrlens.reports` writes it.
"""

from cxrlens.audit.collection import Audit, audit
from cxrlens.audit.views import Lungs

__all__ = ["Audit", "Lungs", "audit"]
