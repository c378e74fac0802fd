"""`python -m ddpm COMMAND`: the recipes for images as commands."""

import sys

from ardm.training.commands import run_command

COMMANDS = {
    "train": "train_ddpm",
    "train-classifier": "train_classifier",
    "train-upsampler": "train_upsampler",
    "sample": "sample_ddpm",
    "guide": "guided_samples",
}


def main() -> None:
    """Runs the command that the words of this process name."""
    run_command("ddpm", COMMANDS, sys.argv[1:])


if __name__ == "__main__":
    main()
