"""How much of a training step is spent outside the network, and how fast the network is for what
the machine can do.

    python recipes/benchmark_training.py

2 CPU cores, about 3 minutes; each figure is the median over chunks of three runs, interleaved. For
batches of 32 and 4 sequences of 128 tokens (4 layers, width 192, 1.8M parameters): total / inside =
the whole step (data, masking, clipping, EMA, logging) over forward + backward + optimiser; tokens
per second; utilisation = 6 * parameters * tokens over the float32 matrix product at n = 2048; the
same for `BertForMaskedLM` under `transformers.Trainer`. Figures:
README.md. The speed of `generate`: recipes/benchmark_generation.py.
"""

import argparse
import statistics
import tempfile
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
from ardm.training.launching import run_recipe
from ardm.training.loop import TrainingConfig, make_accelerator, quieten, train
from ardm.training.optim import muon_adamw
from ardm.training.timing import Stopwatch, matmul_flops

LENGTH = 128
MASK = 27
SIZES: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "intermediate_size": 512,
    "max_position_embeddings": LENGTH,
}
DATA = [
    {"input_ids": row}
    for row in torch.randint(MASK, (1000, LENGTH), generator=torch.Generator().manual_seed(0))
]


def ardm(
    batch_size: int, steps: int, folder: str, watch: Stopwatch, muon: bool = True
) -> PreTrainedModel:
    model = ARDMForMaskedLM(ARDMConfig(vocab_size=28, mask_token_id=MASK, **SIZES))
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    optimizer = muon_adamw(model, 1e-2, muon_learning_rate=0.02) if muon else adamw
    config = TrainingConfig(
        folder, steps, batch_size, resume_from_checkpoint="none", checkpointing_steps=0
    )
    accelerator = make_accelerator(config)
    watch.over_all((model, "forward"), (optimizer, "step"), (accelerator, "backward"))
    objective = RandomRatioObjective(MASK, weight_power=1.0, start_ratio=0.5)
    train(model, objective, DATA, config=config, optimizer=optimizer, accelerator=accelerator)
    return model


def bert(batch_size: int, steps: int, folder: str, watch: Stopwatch) -> PreTrainedModel:
    model = BertForMaskedLM(BertConfig(vocab_size=28, **SIZES | {"intermediate_size": 768}))

    def collate(examples: list[dict]) -> dict[str, torch.Tensor]:
        input_ids, labels = random_ratio_mask(
            torch.stack([example["input_ids"] for example in examples]), MASK
        )
        return {"input_ids": input_ids, "labels": labels}

    settings: dict[str, Any] = {
        "max_steps": steps,
        "per_device_train_batch_size": batch_size,
        "learning_rate": 1e-3,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
    }
    arguments = TrainingArguments(folder, logging_steps=10, dataloader_pin_memory=False, **settings)
    trainer = Trainer(model, arguments, train_dataset=DATA, data_collator=collate)
    trainer.remove_callback(PrinterCallback)
    trainer.create_optimizer()
    watch.over_all(
        (model, "forward"), (trainer.optimizer, "step"), (trainer.accelerator, "backward")
    )
    trainer.train()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--steps", type=int, default=80, help="at batch 4; a fourth of it at batch 32"
    )
    args = parser.parse_args()
    quieten(False)
    peak = matmul_flops()
    print(f"matrix product: {peak / 1e9:.0f} GFLOP/s, {torch.get_num_threads()} threads")
    loops: dict[str, Any] = {
        "ardm, Muon": ardm,
        "ardm, AdamW": partial(ardm, muon=False),
        "BERT, Trainer, AdamW": bert,
    }
    for batch_size, steps in ((32, args.steps // 4), (4, args.steps)):
        figures: dict[str, list[tuple]] = {name: [] for name in loops}
        for _ in range(3):
            for name, loop in loops.items():
                watch = Stopwatch()
                with tempfile.TemporaryDirectory() as folder:
                    model = loop(batch_size, steps, str(Path(folder) / "run"), watch)
                figures[name].append((*watch.medians("step", num_chunks=3), model.num_parameters()))
        for name, runs in figures.items():
            ratio, seconds, size = map(statistics.median, zip(*runs, strict=True))
            tokens = batch_size * LENGTH / seconds
            used = 6 * size * tokens / peak
            print(
                f"batch {batch_size:2d}  {name:22s} total / inside {ratio:.3f}  "
                f"{tokens:7.0f} tokens/s  utilisation {used:.2f}"
            )


if __name__ == "__main__":
    run_recipe(main)
