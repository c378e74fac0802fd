"""What a training step costs outside the network, and how fast the network is for the machine.

    python recipes/benchmark_training.py

2 CPU cores, about 3 minutes; each figure is the median over chunks of three runs, interleaved. For
batches of 32 and 4 sequences of 128 tokens (4 layers, width 192, 1.8M parameters): total / inside =
the whole step (data, masking, clipping, EMA, logging) over forward + backward + optimiser; tokens
per second; utilisation = 6 * parameters * tokens over the float32 matrix product at n = 2048; the
same for `BertForMaskedLM` under `transformers.Trainer`. The figures are in the documentation; the
speed of `generate` is benchmark_generation.py's.
"""

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from ardm import ARDMConfig, ARDMForMaskedLM, random_ratio_mask
from ardm.objective import RandomRatioObjective
from ardm.training import (
    TrainingConfig,
    make_accelerator,
    muon_adamw,
    quieten,
    recipe_parser,
    run_recipe,
    train,
)
from ardm.training.timing import Stopwatch, matmul_flops

LENGTH = 128
MASK = 27
SIZES: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "max_position_embeddings": LENGTH,
}
ROWS = torch.randint(MASK, (1000, LENGTH), generator=torch.Generator().manual_seed(0))
DATA = [{"input_ids": row} for row in ROWS]


def ardm(
    batch_size: int, steps: int, folder: str, watch: Stopwatch, muon: bool = True
) -> PreTrainedModel:
    config = ARDMConfig(vocab_size=28, mask_token_id=MASK, intermediate_size=512, **SIZES)
    model = ARDMForMaskedLM(config)
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    optimizer = muon_adamw(model, 1e-2, muon_learning_rate=0.02) if muon else adamw
    settings = TrainingConfig(
        folder, steps, batch_size, resume_from_checkpoint="none", checkpointing_steps=0
    )
    accelerator = make_accelerator(settings)
    watch.over_all((model, "forward"), (optimizer, "step"), (accelerator, "backward"))
    objective = RandomRatioObjective(MASK, weight_power=1.0, start_ratio=0.5)
    train(model, objective, DATA, config=settings, optimizer=optimizer, accelerator=accelerator)
    return model


def bert(batch_size: int, steps: int, folder: str, watch: Stopwatch) -> PreTrainedModel:
    model = BertForMaskedLM(BertConfig(vocab_size=28, intermediate_size=768, **SIZES))

    def collate(examples: list[dict]) -> dict[str, torch.Tensor]:
        rows = torch.stack([example["input_ids"] for example in examples])
        input_ids, labels = random_ratio_mask(rows, MASK)
        return {"input_ids": input_ids, "labels": labels}

    arguments = TrainingArguments(
        folder,
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        learning_rate=1e-3,
        logging_steps=10,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
    )
    trainer = Trainer(model, arguments, train_dataset=DATA, data_collator=collate)
    trainer.remove_callback(PrinterCallback)
    trainer.create_optimizer()
    optimizer = trainer.optimizer
    watch.over_all((model, "forward"), (optimizer, "step"), (trainer.accelerator, "backward"))
    trainer.train()
    return model


LOOPS: dict[str, Callable[..., PreTrainedModel]] = {
    "ardm, Muon": ardm,
    "ardm, AdamW": partial(ardm, muon=False),
    "BERT, Trainer, AdamW": bert,
}


def measure(name: str, batch_size: int, steps: int) -> tuple[float, float, int]:
    """Total / inside, seconds a step, and the network's parameters."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        model = LOOPS[name](batch_size, steps, str(Path(folder) / "run"), watch)
    return *watch.medians("step", num_chunks=3), model.num_parameters()


def main() -> None:
    parser = recipe_parser(__doc__)
    parser.add_argument(
        "--steps", type=int, default=80, help="at batch 4; a fourth of it at batch 32"
    )
    args = parser.parse_args()
    quieten(False)
    peak = matmul_flops()
    print(f"matrix product: {peak / 1e9:.0f} GFLOP/s, {torch.get_num_threads()} threads")
    for batch_size, steps in ((32, args.steps // 4), (4, args.steps)):
        # in turn, so that the machine's drift meets all alike
        runs = [[measure(name, batch_size, steps) for name in LOOPS] for _ in range(3)]
        for name, figures in zip(LOOPS, zip(*runs, strict=True), strict=True):
            ratio, seconds, size = map(statistics.median, zip(*figures, strict=True))
            tokens = batch_size * LENGTH / seconds
            print(
                f"batch {batch_size:2d}  {name:22s} total / inside {ratio:.3f}  "
                f"{tokens:7.0f} tokens/s  utilisation {6 * size * tokens / peak:.2f}"
            )


if __name__ == "__main__":
    run_recipe(main)
