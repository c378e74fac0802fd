"""Draws the picture of README.md: a text and some images, each at four moments of their making.

    python recipes/draw_readme.py        # what train_ardm.py and train_ddpm.py left in runs/
    python recipes/draw_readme.py --text_seed 3 --image_seed 3 --output_file picture.png

Above, a text written between two given ends, two characters a pass in random order; below, images
from noise, one of each class. Nothing is selected but the seeds. Any CPU: some seconds.
"""

import argparse
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import ddpm.hub
from ardm.hub import DEMO_FOLDER, load_folder
from ardm.training import new_figure, png, quieten, recipe_parser, run_recipe, write_atomically
from ardm.viewing import Trace
from ardm.viewing.colours import ORDER, colour, ink
from ddpm.drawing import balanced_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

NUM_FRAMES = 4
START = "The value of "
END = " is returned."
NUM_CHARACTERS = 120
COLUMNS = 24  # characters a line
NUM_IMAGES = 10  # in two lines
TITLES = (
    ("ardm: text, in any order", "colour = the pass that wrote it, bold = given, grey = hidden"),
    ("ddpm: images, from noise", "one of each class, 0 to 9"),
)
WIDTH = 10.6  # inches: at 160 dpi twice the pixels of a page
MARGIN = 0.1
GAP = 0.2  # between frames
LINE = 0.215  # height of a line of text
ROW = 0.27  # height of a title or a caption
FRAME = (WIDTH - 2 * MARGIN - (NUM_FRAMES - 1) * GAP) / NUM_FRAMES


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    parser.add_argument("--text_model", default=DEMO_FOLDER, help="a folder, or user/name")
    parser.add_argument("--image_model", default="runs/ddpm", help="a folder, or user/name")
    parser.add_argument("--text_seed", type=int, default=38)
    parser.add_argument("--image_seed", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50, help="from noise to images")
    parser.add_argument("--output_file", default="docs/picture.png")
    return parser.parse_args(argv)


def write_text(model_name: str, seed: int) -> Trace:
    """How a text came to be, between the two given ends."""
    model, tokenizer = load_folder(model_name)
    gap = START + tokenizer.mask_token * (NUM_CHARACTERS - len(START + END)) + END
    input_ids = tokenizer(gap, add_special_tokens=False, return_tensors="pt").input_ids
    output = model.generate(
        input_ids, tokens_per_step=2, seed=seed, return_dict_in_generate=True, output_history=True
    )
    return Trace.of(tokenizer, output)


def make_images(model_name: str, steps: int, seed: int) -> list[Tensor]:
    """The images (N, C, H, W) after each step, the noise that they begin as first."""
    model, diffusion = ddpm.hub.load_folder(model_name)
    config = model.config
    shape = (NUM_IMAGES, config.in_channels, config.image_size, config.image_size)
    images = [torch.randn(shape, generator=torch.Generator().manual_seed(seed))]
    ddpm.sample(
        model,
        shape,
        diffusion,
        sampler="ddim",
        steps=steps,
        labels=balanced_labels(NUM_IMAGES, config.num_classes),
        noise=images[0],
        callback=lambda state: images.append(state.x),
    )
    return images


def draw_text(axes: "Axes", trace: Trace, passes: int, left: float, top: float) -> None:
    """The characters after so many passes, one cell each."""
    from matplotlib.patches import Rectangle

    width = FRAME / COLUMNS
    font: dict[str, Any] = {"family": "DejaVu Sans Mono", "fontsize": 10}
    font |= {"ha": "center", "va": "center_baseline"}
    written = trace.writings()
    for position, token in enumerate(trace.frame(passes)):
        x = left + position % COLUMNS * width
        y = top + position // COLUMNS * LINE
        face = (255, 255, 255) if trace.start[position] is not None else (235, 235, 235)
        if token is not None and written[position]:
            face = colour(ORDER, written[position][-1].step / max(trace.num_steps - 1, 1))
        shade = [channel / 255 for channel in face]
        axes.add_patch(Rectangle((x, y), width - 0.008, LINE - 0.012, color=shade, linewidth=0))
        if token is not None:
            font["fontweight"] = "normal" if written[position] else "bold"
            font["color"] = [channel / 255 for channel in ink(face)]
            axes.text(x + width / 2, y + 0.52 * LINE, trace.pieces[token], **font)


def grid_of(images: Tensor) -> "Image":
    return ddpm.hub.image_grid(images.clamp(-1, 1), num_columns=NUM_IMAGES // 2).convert("RGB")


def draw(trace: Trace, images: list[Tensor]) -> bytes:
    """A PNG file's content: two rows of frames, at the same shares of the way."""
    grid = grid_of(images[0])
    grid_height = FRAME * grid.height / grid.width
    upper = MARGIN + 2 * ROW  # where frames begin
    lower = upper + -(-NUM_CHARACTERS // COLUMNS) * LINE + GAP + 2 * ROW
    height = lower + grid_height + MARGIN
    figure = new_figure((WIDTH, height), layout=None, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    grey: dict[str, Any] = {"fontsize": 10.5, "color": "0.35", "va": "center"}
    for top, (title, note) in zip((upper, lower), TITLES, strict=True):
        axes.text(MARGIN, top - 1.5 * ROW, title, fontsize=12, fontweight="bold", va="center")
        axes.text(WIDTH - MARGIN, top - 1.5 * ROW, note, ha="right", **grey)
    for number in range(NUM_FRAMES):
        left = MARGIN + number * (FRAME + GAP)
        passes = round((number + 1) / NUM_FRAMES * trace.num_steps)
        step = round((number + 1) / NUM_FRAMES * (len(images) - 1))
        axes.text(left, upper - 0.5 * ROW, f"pass {passes} of {trace.num_steps}", **grey)
        draw_text(axes, trace, passes, left, upper)
        axes.text(left, lower - 0.5 * ROW, f"step {step} of {len(images) - 1}", **grey)
        extent = (left, left + FRAME, lower + grid_height, lower)
        axes.imshow(grid_of(images[step]), extent=extent, aspect="auto", interpolation="nearest")
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))  # imshow moved them
    return png(figure)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    quieten(True)
    trace = write_text(args.text_model, args.text_seed)
    picture = draw(trace, make_images(args.image_model, args.steps, args.image_seed))
    write_atomically(args.output_file, picture)
    print(f"{args.output_file}: {len(picture) / 1000:.0f} kB")


if __name__ == "__main__":
    run_recipe(main)
