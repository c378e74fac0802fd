"""What a recipe learns in five minutes on two CPU cores: bits per character on held-out text.

    python recipes/benchmark_learning.py --data wiki27

2 CPU cores, about 14 minutes. The first 20M characters of wiki27 (English Wikipedia in 27 symbols),
windows of 128, 4 layers, width 192, 1.8M parameters, 300 s of training each: this project's default
recipe, and the ARDM paper's (AdamW 5e-4, constant after warm-up, clip 0.25, EMA 0.995, independent
counts; arXiv 2110.02037, appendix D) on the same network. Both are scored by the bound on the same
2,000 validation windows. The figures are in the documentation.
"""

import lzma
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ardm import ARDMConfig, ARDMForMaskedLM, random_ratio_mask
from ardm.evaluation.bound import BoundEvaluation
from ardm.id_checks import IGNORED
from ardm.objective import RandomRatioObjective
from ardm.reveals import mean_cross_entropy
from ardm.training import TrainingConfig, muon_adamw, quieten, recipe_parser, run_recipe, train

LENGTH = 128
MASK = 27
SIZES: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "intermediate_size": 512,
    "max_position_embeddings": LENGTH,
}


class Recipe(NamedTuple):
    """How to train a model."""

    objective: Any
    optimizer: torch.optim.Optimizer
    settings: dict[str, Any]


def ours(model: ARDMForMaskedLM, seed: int) -> Recipe:
    optimizer = muon_adamw(model, 1e-2, muon_learning_rate=0.02)
    objective = RandomRatioObjective(MASK, seed, weight_power=1.0, start_ratio=0.5)
    return Recipe(objective, optimizer, {})


def papers(model: ARDMForMaskedLM, seed: int) -> Recipe:
    generator = torch.Generator().manual_seed(seed)

    def objective(model: torch.nn.Module, batch: dict) -> torch.Tensor:
        input_ids = batch["input_ids"]
        # the counts are independent, not stratified over the batch
        num_known = torch.randint(LENGTH, (len(input_ids),), generator=generator)
        masked, labels = random_ratio_mask(
            input_ids, MASK, num_known=num_known, generator=generator
        )
        positions = labels != IGNORED
        logits = model(input_ids=masked, logits_positions=positions).logits
        return mean_cross_entropy(logits, labels, positions).mean()

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=5e-4, betas=(0.9, 0.99), weight_decay=1e-3, fused=True
    )
    settings = {
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.25,
        "ema_decay": 0.995,
        "warmup_ratio": 0.05,
    }
    return Recipe(objective, optimizer, settings)


RECIPES = {"ours": ours, "papers": papers}


def letters(path: Path, num_characters: int) -> list[dict[str, Any]]:
    """Non-overlapping windows of a-z and space, as ids 1..26 and 0."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; expected the folder of wiki27 as --data.")
    with lzma.open(path) as file:
        text = torch.frombuffer(bytearray(file.read(num_characters)), dtype=torch.uint8)
    ids = (text[: len(text) // LENGTH * LENGTH].clamp(min=96) - 96).long().view(-1, LENGTH)
    return [{"input_ids": row, "num_characters": LENGTH} for row in ids]


def fit(name: str, data: list, steps: int, seed: int) -> tuple[ARDMForMaskedLM, float]:
    """The model after so many steps, and the seconds that they took."""
    torch.manual_seed(seed)
    model = ARDMForMaskedLM(ARDMConfig(vocab_size=28, mask_token_id=MASK, **SIZES))
    objective, optimizer, settings = RECIPES[name](model, seed)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(
            folder,
            steps,
            per_device_train_batch_size=16,
            seed=seed,
            checkpointing_steps=0,
            logging_steps=100,
            **settings,
        )
        result = train(model, objective, data, config=config, optimizer=optimizer)
    return model, result.seconds


def main() -> None:
    parser = recipe_parser(__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train.txt.xz and valid.txt.xz"
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="of training, for each recipe")
    parser.add_argument("--windows", type=int, default=2000, help="of validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    args = parser.parse_args()
    quieten(False)
    data = letters(args.data / "train.txt.xz", 20_000_000)
    held_out = letters(args.data / "valid.txt.xz", 5_000_000)
    spread = [held_out[i] for i in torch.linspace(0, len(held_out) - 1, args.windows).long()]
    evaluate = BoundEvaluation(spread, max_windows=args.windows, num_samples=4, seed=1234)
    for name in args.recipes:
        # the speed of 40 steps decides how many steps there are, and so the schedule; they are the
        # fastest, as the curriculum begins with few masked tokens
        _, seconds = fit(name, data, 40, args.seed)
        steps = int(0.93 * 40 * args.seconds / seconds)
        model, seconds = fit(name, data, steps, args.seed)
        bound = evaluate(model)
        value = bound["bits_per_character"]
        error = bound["bits_per_character_standard_error"]
        print(
            f"{name:7s} {steps:5d} steps, {seconds:.0f} s  "
            f"{value:.3f} +- {error:.3f} bits per character"
        )


if __name__ == "__main__":
    run_recipe(main)
