"""Pictures become tensors: where they come from, how they are cut and sized, and how they are
split.
"""

from .images import ImageDataset, add_image_arguments, data_name, load_images
from .pixels import prepare_image, to_model_range, to_uint8

__all__ = [
    "ImageDataset",
    "add_image_arguments",
    "data_name",
    "load_images",
    "prepare_image",
    "to_model_range",
    "to_uint8",
]
