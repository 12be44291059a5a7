"""Networks that turn a batch of films into scores: backbones, heads, and the map of evidence.

Importing this package makes torchvision importable first (see `torchvision_gap`), because timm,
torchmetrics and lightning all import it.
"""

from cxrlens.models.torchvision_gap import bridge_torchvision

bridge_torchvision()
