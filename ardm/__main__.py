"""`python -m ardm COMMAND`: the recipes for text, pixels and proteins as commands."""

import sys

from .training.commands import run_command

COMMANDS = {
    "train": "train_ardm",
    "train-pixels": "train_ardm_pixels",
    "train-proteins": "train_ardm_proteins",
    "finetune": "finetune_instruct",
    "generate": "generate_ardm",
    "evaluate": "evaluate_ardm",
    "plan": "plan_steps",
    "watch": "watch_generation",
    "app": "app",
    "lm-eval": "lm_eval_ardm",
    "push": "push_to_hub",
}


def main() -> None:
    """Runs the command that the words of this process name."""
    run_command("ardm", COMMANDS, sys.argv[1:])


if __name__ == "__main__":
    main()
