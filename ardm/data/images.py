"""Images as sequences of values: every channel of every pixel is a token.

    position = (row * width + column) * channels + channel         raster order, channels last
    value    = floor(pixel * num_values / 256)                     256 values: the pixel itself

Images come as arrays of uint8, whoever read them. A class, if there is one, is a token that is
given: id num_values + 1 + class, behind the last pixel; num_values itself is the mask.

Shapes: N images, C channels, H height, W width, L = H*W*C.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..training import check_integer


@dataclass(frozen=True)
class ImageFormat:
    """How images are written as tokens.

    Args:
        shape: (C, H, W).
        num_values: K, 2..256.
        num_classes: ids for classes; 0 = there are none.

    Raises:
        ValueError: if a number is out of range.
    """

    shape: tuple[int, int, int]
    num_values: int = 256
    num_classes: int = 0

    def __post_init__(self) -> None:
        if len(self.shape) != 3:
            raise ValueError(f"shape is {self.shape}; expected (channels, height, width).")
        for name, size in zip(("channels", "height", "width"), self.shape, strict=True):
            check_integer(f"shape's {name}", size, 1)
        check_integer("num_values", self.num_values, 2, 256)
        check_integer("num_classes", self.num_classes, 0)

    @property
    def num_pixels(self) -> int:
        """L, values of an image."""
        channels, height, width = self.shape
        return channels * height * width

    @property
    def sequence_length(self) -> int:
        """Tokens of a sequence, the class included."""
        return self.num_pixels + bool(self.num_classes)

    @property
    def model_settings(self) -> dict[str, Any]:
        """What a network's configuration says of this format.

        Returns:
            `vocab_size`, `mask_token_id`, `num_values`, `max_position_embeddings` and
            `position_shape`, (H, W, C).
        """
        channels, height, width = self.shape
        return {
            "vocab_size": self.num_values + 1 + self.num_classes,
            "mask_token_id": self.num_values,
            "num_values": self.num_values,
            "max_position_embeddings": self.sequence_length,
            "position_shape": [height, width, channels],
        }

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Tokens of images.

        Args:
            images: uint8 (N, C, H, W).
            labels: int64 (N,), classes; needed if and only if the format has some.

        Returns:
            int64 (N, sequence length).

        Raises:
            ValueError: if images or labels are of another kind.
        """
        if images.dtype != torch.uint8 or images.shape[1:] != self.shape:
            raise ValueError(
                f"images are {images.dtype} {tuple(images.shape)}; expected uint8"
                f" (N, {', '.join(map(str, self.shape))})."
            )
        values = images.long().mul(self.num_values).div(256, rounding_mode="floor")
        rows = values.permute(0, 2, 3, 1).flatten(1)
        return self._with_classes(rows, labels)

    def class_ids(self, labels: Tensor | Sequence[int]) -> Tensor:
        """The tokens of classes.

        Args:
            labels: (N,), 0..num_classes-1.

        Returns:
            int64 (N,).

        Raises:
            ValueError: if a label is no class.
        """
        labels = torch.as_tensor(labels)
        if labels.numel() and (labels.dtype == torch.bool or labels.is_floating_point()):
            raise ValueError(f"labels have dtype {labels.dtype}; expected integers.")
        labels = labels.long()
        if labels.numel() and not (0 <= int(labels.min()) <= int(labels.max()) < self.num_classes):
            raise ValueError(
                f"labels are in {int(labels.min())}..{int(labels.max())};"
                f" expected 0..{self.num_classes - 1}."
            )
        return self.num_values + 1 + labels

    def prompt_mask(self, num_images: int) -> Tensor | None:
        """int64 (N, sequence length), 1 at the class; None where there is none."""
        if not self.num_classes:
            return None
        mask = torch.zeros(num_images, self.sequence_length, dtype=torch.long)
        mask[:, -1] = 1
        return mask

    def canvas(self, num_images: int, labels: Tensor | Sequence[int] | None = None) -> Tensor:
        """Sequences of which every pixel is to be generated.

        Args:
            num_images: N.
            labels: (N,), their classes, if the format has some.

        Returns:
            int64 (N, sequence length).

        Raises:
            ValueError: as [`encode`] on labels.
        """
        rows = torch.full((num_images, self.num_pixels), self.num_values)
        return self._with_classes(rows, labels)

    def _with_classes(self, rows: Tensor, labels: Tensor | Sequence[int] | None) -> Tensor:
        """Rows of pixels, and behind each its class where the format has some."""
        if (labels is None) == bool(self.num_classes):
            raise ValueError(
                f"labels are {'missing' if labels is None else 'given'} and num_classes is"
                f" {self.num_classes}; expected labels if there are classes, and none otherwise."
            )
        if labels is None:
            return rows
        if len(labels) != len(rows):
            raise ValueError(f"there are {len(labels)} labels; expected {len(rows)}, one an image.")
        return torch.cat((rows, self.class_ids(labels)[:, None].to(rows)), 1)

    def decode(self, values: Tensor) -> Tensor:
        """Images of values, which may lie between two: coarse ones do.

        Args:
            values: (N, sequence length or L), 0..K-1, of any dtype.

        Returns:
            uint8 (N, C, H, W); of 256 values they are the pixels.

        Raises:
            ValueError: if there are too few values of an image, or others, as masks.
        """
        channels, height, width = self.shape
        values = values[:, : self.num_pixels].double()
        if (
            values.shape[1] < self.num_pixels
            or not ((values >= 0) & (values <= self.num_values - 1)).all()
        ):
            raise ValueError(
                f"values are {tuple(values.shape)}, in {values.amin():g}..{values.amax():g};"
                f" expected {self.num_pixels} an image, in 0..{self.num_values - 1}."
            )
        # from black to white, but never beyond the pixels that a value stands for
        pixels = (values * 255 / (self.num_values - 1)).round()
        first = (values * 256 / self.num_values).ceil()
        last = ((values + 1) * 256 / self.num_values).ceil() - 1
        images = pixels.clamp(min=first, max=last).to(torch.uint8)
        return images.view(-1, height, width, channels).permute(0, 3, 1, 2)


class ImageTokens:
    """Images as rows for a training, map-style: `input_ids` and, with classes, `prompt_mask`.

    Args:
        input_ids: int64 (N, sequence length), of [`ImageFormat.encode`].
        image_format: theirs.
    """

    def __init__(self, input_ids: Tensor, image_format: ImageFormat):
        # a data set of images has many of them
        small = image_format.model_settings["vocab_size"] < 2**15
        self.input_ids = input_ids.to(torch.int16 if small else torch.int32)
        self.format = image_format
        self.prompt_mask = image_format.prompt_mask(1)

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"index is {index}; expected 0..{len(self) - 1}.")
        row = {"input_ids": self.input_ids[index].long()}
        if self.prompt_mask is not None:
            row["prompt_mask"] = self.prompt_mask[0]
        return row

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return map(self.__getitem__, range(len(self)))
