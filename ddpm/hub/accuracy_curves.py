"""The picture of a noisy classifier: how well it knows images, against the timestep."""

import numpy as np

from ardm.training import new_figure, plain, png

from ..classification import NUM_QUARTILES, TOP, AccuracyByNoise, quartiles

_BLUE = "#08519c"
_LIGHT = "#9ecae1"
_ORANGE = "#d94801"


def accuracy_curve(figures: AccuracyByNoise) -> bytes:
    """Draws accuracy against the timestep, with standard errors, quarters' means and chance.

    Args:
        figures: of a classifier.

    Returns:
        A PNG file's content.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    figure = new_figure((7.2, 4.2))
    last = figures.num_timesteps
    axes = figure.add_subplot(xlabel="timestep t", ylabel="accuracy, %", xlim=(0, last))
    axes.set(ylim=(0, 108), yticks=range(0, 101, 20), xticks=np.linspace(0, last, 5).round())
    plain(axes)
    for number in range(1, NUM_QUARTILES):
        axes.axvline(number * last / NUM_QUARTILES, color="0.85", linewidth=0.8, zorder=0.5)
    for number, share in enumerate(quartiles(figures.accuracy)):
        middle = (number + 0.5) * last / NUM_QUARTILES
        axes.text(middle, 106, f"mean {100 * share:.1f} %", ha="center", va="center", color=_BLUE)
    if figures.num_classes > TOP:
        top = 100 * np.array(figures.top5_accuracy)
        axes.plot(figures.middles, top, color=_LIGHT, linewidth=1.2, label=f"among the first {TOP}")
    shares = np.array(figures.accuracy)
    errors = np.sqrt(shares * (1 - shares) / figures.num_images)
    axes.errorbar(
        figures.middles,
        100 * shares,
        100 * errors,
        fmt="o-",
        markersize=4,
        capsize=3,
        color=_BLUE,
        label="accuracy (± 1 standard error)",
    )
    axes.plot(
        [0],
        [100 * figures.clean_accuracy],
        "D",
        color=_ORANGE,
        clip_on=False,
        zorder=3,
        label="without noise",
    )
    chance = 100 / figures.num_classes
    axes.axhline(chance, color="0.4", linewidth=1, linestyle="--", label="chance")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, chance / 108))
    return png(figure)
