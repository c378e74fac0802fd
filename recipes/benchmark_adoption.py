"""What pretraining brings: a ModernBERT and a Llama become ARDMs, beside the same from scratch.

    python recipes/benchmark_adoption.py

One thread of two busy CPU cores: 45 minutes. Characters of the documentation, windows of 128, 4
layers of width 192. A ModernBERT learns from 15 % masks and a Llama from left to right, 600 steps
each; then both are adopted and learn as ARDMs for 300 more, the Llama with its logits shifted or
not. All are scored by the bound, in bits per character; the figures are in docs/adoption.md.
"""

import argparse
import tempfile
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, ModernBertConfig, ModernBertForMaskedLM

from ardm import adopt
from ardm.data import Corpus, load_corpus
from ardm.evaluation import BoundEvaluation
from ardm.objective import RandomRatioObjective
from ardm.training import (
    TrainingConfig,
    muon_adamw,
    quieten,
    recipe_parser,
    run_recipe,
    train,
)
from ardm.training.card_parts import with_error

LENGTH = 128
SIZES: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "intermediate_size": 768,
    "max_position_embeddings": LENGTH,
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    add = parser.add_argument
    add("--pretraining_steps", type=int, default=600, help="as what it is")
    add("--steps", type=int, default=300, help="as an ARDM")
    add("--batch_size", type=int, default=16)
    add("--max_eval_windows", type=int, default=100)
    add("--seed", type=int, default=0)
    return parser.parse_args(argv)


def masked_loss(mask_token_id: int, seed: int) -> Any:
    """BERT's: 15 % of the tokens are masked, and the loss is the mean over all of them."""
    generator = torch.Generator().manual_seed(seed)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        ids = batch["input_ids"]
        hidden = torch.rand(ids.shape, generator=generator) < 0.15
        labels = ids.masked_fill(~hidden, -100)
        return model(input_ids=ids.masked_fill(hidden, mask_token_id), labels=labels).loss

    return loss


def next_token_loss(model: nn.Module, batch: Any) -> Tensor:
    return model(input_ids=batch["input_ids"], labels=batch["input_ids"]).loss


def fit(model: nn.Module, loss: Any, rows: Iterable, args: argparse.Namespace, steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(
            folder,
            steps,
            per_device_train_batch_size=args.batch_size,
            learning_rate=1e-2,
            seed=args.seed,
            checkpointing_steps=0,
            logging_steps=100,
        )
        optimizer = muon_adamw(model, config.learning_rate, muon_learning_rate=0.02)
        train(model, loss, rows, config=config, optimizer=optimizer)


def fresh(kind: str, vocab_size: int, seed: int) -> Any:
    torch.manual_seed(seed)
    ends: dict[str, Any] = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    if kind == "ModernBERT":
        ends |= dict.fromkeys(("cls_token_id", "sep_token_id"))
        return ModernBertForMaskedLM(ModernBertConfig(vocab_size=vocab_size, **ends, **SIZES))
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **ends, **SIZES))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    quieten(False)
    tokenizer, windows = load_corpus(Corpus(sequence_length=LENGTH))
    mask = tokenizer.mask_token_id
    evaluate = BoundEvaluation(windows["validation"], args.max_eval_windows, seed=args.seed)

    def bits(model: nn.Module) -> str:
        figures = evaluate(model)
        error = figures["bits_per_character_standard_error"]
        return with_error(figures["bits_per_character"], error, 3, "+-")

    print(f"bits per character, upper bounds on {len(evaluate)} validation windows")
    print(f"{'':24s}  as adopted       {args.steps} steps later   from scratch")
    pretraining = {"ModernBERT": masked_loss(mask, args.seed), "Llama": next_token_loss}
    for kind, loss in pretraining.items():
        pretrained = fresh(kind, len(tokenizer), args.seed)
        fit(pretrained, loss, windows["train"], args, args.pretraining_steps)
        weights = {name: value.clone() for name, value in pretrained.state_dict().items()}
        for shift in (False, True) if kind == "Llama" else (False,):
            rows = []
            for begun in (True, False):
                network = fresh(kind, len(tokenizer), args.seed)
                if begun:
                    network.load_state_dict(weights)
                model = adopt(network, mask_token_id=mask, right_shift_logits=shift)
                if begun:
                    rows.append(bits(model))
                objective = RandomRatioObjective(mask, args.seed)
                fit(model, objective, windows["train"], args, args.steps)
                rows.append(bits(model))
            name = f"{kind}, logits shifted" if shift else kind
            print(f"{name:24s}  {'  '.join(rows)}", flush=True)


if __name__ == "__main__":
    run_recipe(main)
