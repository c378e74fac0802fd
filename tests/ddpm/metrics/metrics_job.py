"""Scores numbered images on as many processes as there are, and writes each one's figures."""

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from ddpm.metrics.features import FeatureExtractor
from ddpm.metrics.quality import ImageQualityEvaluation

NUM_REFERENCE, NUM_SAMPLES = 61, 47


def images(count, seed):
    made = torch.randn(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return (0.3 * made + 0.1 * seed).clamp(-1, 1)


def pixels(batch):
    return batch.flatten(1), batch.flatten(1)[:, :4].softmax(1)


def shares(count, split, process, number):
    """This process's image numbers, in batches of which the last is ragged."""
    everyone = torch.arange(count)
    mine = {
        "strided": everyone[process::number],
        "halves": everyone.tensor_split(number)[process],
        "main only": everyone if process == 0 else everyone[:0],
    }[split]
    return mine.split(10)


def evaluate(split, process, number, max_kept=None):
    extractor = FeatureExtractor("pixels", pixels)
    options = {"seed": 5, "max_kept": max_kept, "kid_subsets": 8, "kid_subset_size": 12}
    evaluation = ImageQualityEvaluation(extractor, **options)
    for count, seed, update in (
        (NUM_REFERENCE, 1, evaluation.update_reference),
        (NUM_SAMPLES, 2, evaluation.update),
    ):
        for numbers in shares(count, split, process, number):
            update(images(count, seed)[numbers], None if split == "strided" else numbers)
    return evaluation.compute().as_dict()


def main():
    state = PartialState(cpu=True)
    number = state.num_processes
    process = state.process_index
    results = {
        split: [evaluate(split, process, number, kept) for kept in (None, 0, 20)]
        for split in ("strided", "halves", "main only")
    }
    path = Path(f"{sys.argv[1]}-{process}-of-{number}.json")
    path.write_text(json.dumps(results), encoding="utf-8")
    state.destroy_process_group()


if __name__ == "__main__":
    main()
