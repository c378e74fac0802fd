"""Pictures become tensors: where they come from, how they are cut, sized and split."""

from .images import ImageDataset, ImageSplits, load_images
from .pixels import prepare_image

__all__ = ["ImageDataset", "ImageSplits", "load_images", "prepare_image"]
