"""The InceptionV3 that FID, KID and the Inception score are defined with: inception-2015-12-05.

    phi(x) = mean over positions of Mixed_7c (2048),    p(y|x) = softmax(W phi(x)) over 1008 outputs

Its weights circulate as `pt_inception-2015-12-05-6726825d.pth`, under the names that torchvision
gives the same layers. It differs from torchvision's network (arXiv 1512.00567) where TensorFlow and
that file do: average pools leave out the padding, the last block's pool is a maximum, and there are
1008 outputs, whose bias the Inception score leaves out.

Images are resized bilinearly to 299 x 299 without anti-aliasing and stay in [-1, 1]. Published
figures are those of images rounded to 8 bits.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..denoisers import check_images
from .features import FeatureExtractor

_NUM_FEATURES = 2048
_NUM_CLASSES = 1008
_SIDE = 299

_Size = int | tuple[int, int]
_Layer = tuple[str, int, _Size]  # name, channels, kernel: of stride 1, the image's size is kept
# layers one after another; a list of layers at the end = each of them on what came before
_Path = list[Any]


class Convolution(nn.Module):
    """Convolution, batch normalisation, ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side, or height and width.
        stride: of the convolution.
        padding: zeros at each side.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Size,
        stride: int = 1,
        padding: _Size = 0,
    ):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, images: Tensor) -> Tensor:
        """Float (B, in_channels, H, W) -> (B, out_channels, H', W')."""
        return F.relu(self.bn(self.conv(images)))


class Mixed(nn.Module):
    """Paths of convolutions side by side and a pool, joined by channels in that order.

    Args:
        in_channels: channels of the input.
        paths: the convolutions; the pool's is the last, and is empty if the pool's output is joined
            as it is.
        pool: "average" or "maximum", at stride 1.
        halve: the last layer of each path and the pool, then a maximum, have stride 2 and no
            padding.
    """

    def __init__(
        self, in_channels: int, paths: list[_Path], pool: str = "average", halve: bool = False
    ):
        super().__init__()
        self.paths = paths
        for path in paths:
            self._add(in_channels, path, halve)
        if halve:
            self.pool: nn.Module = nn.MaxPool2d(3, stride=2)
        elif pool == "average":
            self.pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        else:
            self.pool = nn.MaxPool2d(3, stride=1, padding=1)

    def _add(self, channels: int, path: _Path, halve: bool) -> None:
        for place, layer in enumerate(path):
            for name, out_channels, kernel in layer if isinstance(layer, list) else [layer]:
                last = halve and place == len(path) - 1
                height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
                padding = (0, 0) if last else (height // 2, width // 2)
                self.add_module(
                    name, Convolution(channels, out_channels, kernel, 2 if last else 1, padding)
                )
            channels = out_channels

    def _run(self, images: Tensor, path: _Path) -> list[Tensor]:
        for layer in path:
            if isinstance(layer, list):
                return [self.get_submodule(name)(images) for name, _, _ in layer]
            images = self.get_submodule(layer[0])(images)
        return [images]

    def forward(self, images: Tensor) -> Tensor:
        """Float (B, in_channels, H, W) -> the joined outputs (B, channels, H', W')."""
        *paths, pooled_path = self.paths
        parts = [part for path in paths for part in self._run(images, path)]
        return torch.cat(parts + self._run(self.pool(images), pooled_path), 1)


def _block_35(in_channels: int, pool_channels: int) -> Mixed:
    double: _Path = [
        ("branch3x3dbl_1", 64, 1),
        ("branch3x3dbl_2", 96, 3),
        ("branch3x3dbl_3", 96, 3),
    ]
    fives: _Path = [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)]
    return Mixed(
        in_channels, [[("branch1x1", 64, 1)], fives, double, [("branch_pool", pool_channels, 1)]]
    )


def _block_17(channels: int) -> Mixed:
    c = channels
    row = (1, 7)
    column = (7, 1)
    sevens = [("branch7x7_1", c, 1), ("branch7x7_2", c, row), ("branch7x7_3", 192, column)]
    sides = [column, row, column, row]
    double: _Path = [("branch7x7dbl_1", c, 1)]
    double += [
        (f"branch7x7dbl_{i + 2}", 192 if i == 3 else c, side) for i, side in enumerate(sides)
    ]
    return Mixed(768, [[("branch1x1", 192, 1)], sevens, double, [("branch_pool", 192, 1)]])


def _block_8(in_channels: int, pool: str) -> Mixed:
    def fork(name: str) -> list[_Layer]:
        return [(f"{name}a", 384, (1, 3)), (f"{name}b", 384, (3, 1))]

    threes = [("branch3x3_1", 384, 1), fork("branch3x3_2")]
    double = [("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3), fork("branch3x3dbl_3")]
    return Mixed(
        in_channels, [[("branch1x1", 320, 1)], threes, double, [("branch_pool", 192, 1)]], pool
    )


def _to_17() -> Mixed:
    double = [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)]
    return Mixed(288, [[("branch3x3", 384, 3)], double, []], halve=True)


def _to_8() -> Mixed:
    threes = [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)]
    sevens = [
        ("branch7x7x3_1", 192, 1),
        ("branch7x7x3_2", 192, (1, 7)),
        ("branch7x7x3_3", 192, (7, 1)),
    ]
    return Mixed(768, [threes, [*sevens, ("branch7x7x3_4", 192, 3)], []], halve=True)


class FIDInception(nn.Module):
    """The network; fresh weights are random and of no use but in tests, see [`load_inception`]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)
        self.Mixed_5b = _block_35(192, 32)
        self.Mixed_5c = _block_35(256, 64)
        self.Mixed_5d = _block_35(288, 64)
        self.Mixed_6a = _to_17()
        self.Mixed_6b = _block_17(128)
        self.Mixed_6c = _block_17(160)
        self.Mixed_6d = _block_17(160)
        self.Mixed_6e = _block_17(192)
        self.Mixed_7a = _to_8()
        self.Mixed_7b = _block_8(1280, "average")
        self.Mixed_7c = _block_8(2048, "maximum")
        self.fc = nn.Linear(_NUM_FEATURES, _NUM_CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and class probabilities.

        Args:
            images: float (B, C, H, W) in [-1, 1]; C is 3, or 1 for grey.

        Returns:
            Features (B, 2048) and probabilities (B, 1008), float32.

        Raises:
            ValueError: if these are no images in [-1, 1] or have another number of channels.
        """
        check_images(images, flat=False)
        if images.shape[1] not in (1, 3):
            raise ValueError(f"images have {images.shape[1]} channels; expected 1 or 3.")
        images = images.to(self.fc.weight.dtype).expand(-1, 3, -1, -1)
        maps = F.interpolate(images, size=(_SIDE, _SIDE), mode="bilinear", align_corners=False)
        for name, layer in self.named_children():
            if name != "fc":
                maps = layer(maps)
        features = maps.mean((2, 3))
        logits = F.linear(features, self.fc.weight)  # no bias: as published scores are computed
        return features, logits.softmax(1)


def load_inception(path: str | Path) -> FeatureExtractor:
    """The extractor that pytorch-fid has, from a file of its weights.

    TensorFlow's own resizing differs slightly.

    Args:
        path: a state dict written by `torch.save`, which is read without executing pickled code, or
            safetensors.

    Returns:
        The extractor, in float32 on the CPU; move `.function` to a device for speed. It is named
        after the file and the first digits of the weights' SHA-256, as files of other weights may
        bear the same name.

    Raises:
        ValueError: if there is no such file, it cannot be read safely, or its weights are not this
            network's.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"there is no file {str(path)!r}; expected weights as"
            " pt_inception-2015-12-05-6726825d.pth."
        )
    try:
        weights = _read(path)
        with torch.device("meta"):
            model = FIDInception()
        model = model.to_empty(device="cpu")
        _reset_counters(model)
        model.load_state_dict(weights)
    except Exception as error:  # of several libraries, each with its own types
        raise ValueError(
            f"{str(path)!r} holds no weights of the FID InceptionV3: {error}"
        ) from error
    name = f"{path.stem} (InceptionV3, sha256 {_digest(path)})"
    return FeatureExtractor(name, model.eval().requires_grad_(False))


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _reset_counters(model: nn.Module) -> None:
    """Batches that were seen: of no use here, and missing in files that carry no version."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d) and part.num_batches_tracked is not None:
            part.num_batches_tracked.zero_()


def _digest(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()[:8]
