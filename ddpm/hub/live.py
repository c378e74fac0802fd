"""Live: images that appear out of noise, as an iterator of grids for a page."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ardm.training.relays import Show, relay

from ..drawing import chosen_labels, draw_images, gathered
from ..guidance import classifier_free_guidance
from ..samplers import SamplingState
from .companions import SavedModels
from .pictures import image_grid

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_IMAGES = 64  # of one batch: all of them appear together


def can_be_steered(models: SavedModels) -> bool:
    """Whether the network knows images with a class and without one, for its guidance."""
    return bool(models.model.config.num_classes and models.model.config.null_class)


def watch_drawing(
    models: SavedModels,
    num_images: int,
    *,
    class_name: str | None = None,
    guidance_scale: float = 1.0,
    num_columns: int | None = None,
    **options: Any,
) -> Iterator["Image"]:
    """Draws images while they are looked at.

    Args:
        models: of [`load_together`], of which the model and its classes are used.
        num_images: 1..64.
        class_name: of all images; None = all classes in turn.
        guidance_scale: of classifier-free guidance; 1 = off.
        num_columns: images a row of the grid; None = as square a grid as can be.
        **options: of `ddpm.drawing.draw_images`: seed, sampler, steps, eta, clip.

    Yields:
        The noisy images about ten times a second, and at last the images, each time as a grid.

    Raises:
        ValueError: if a number is out of range, there is no such class, the network has no null
            class to be guided by, it enlarges images, or an option is not as it should be.
    """
    config = models.model.config
    if config.low_resolution:
        raise ValueError("the model enlarges images; expected one that draws them of noise alone.")
    if num_images > MOST_IMAGES:
        raise ValueError(f"num_images is {num_images}; expected 1 to {MOST_IMAGES}.")
    labels = chosen_labels(num_images, models.class_names, class_name)
    shape = (config.in_channels, config.image_size, config.image_size)
    if guidance_scale != 1:
        guide = classifier_free_guidance(guidance_scale)
        options["guidance_for"] = lambda numbers: guide

    def work(show: Show["Image"]) -> "Image":
        def draw(now: SamplingState) -> None:
            show(lambda: image_grid(now.x.clamp(-1, 1), num_columns))

        drawn = draw_images(
            models.model,
            models.diffusion,
            num_images,
            shape,
            labels=labels,
            callback=draw,
            progress=False,
            **options,
        )
        return image_grid(gathered(drawn, shape), num_columns)

    yield from relay(work)
