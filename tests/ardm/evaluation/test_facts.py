"""What is told of a run is what it followed, without this machine's folders."""

from argparse import Namespace

import pytest
import torch

from ardm.data import Corpus, build_tokenizer
from ardm.evaluation import (
    HeldOutWindows,
    new_model,
    run_facts,
    tracked_samples,
    tracked_settings,
    write_samples,
)
from ardm.evaluation.arguments import run_flags
from ardm.hub import CardFigures, model_card
from ardm.training import TrainingResult

TOKENIZER = build_tokenizer("char", "abcd ")
SIZES = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
CORPUS = Corpus(train_file="/secret/text.txt")
FLAGS = {
    "learning_rate": 0.01,
    "tokenizer": "char",
    "vocab_size": 77,
    "hub_model_id": None,
    "license": "cc-by-4.0",
    "language": ["en"],
    "seed": 3,
    "train_file": "/secret/text.txt",
    "output_dir": "/secret/run",
    "command_words": ["/secret/recipes/train_ardm.py", "--seed", "3"],
}


@pytest.fixture
def model():
    return new_model(TOKENIZER, 9, **SIZES).eval()


def flags(saved=None):
    return Namespace(**FLAGS, **dict.fromkeys(SIZES, 99), model_name_or_path=saved)


def test_a_card_tells_what_was_followed_and_sizes_as_they_are(model):
    facts = run_facts(flags(), CORPUS.name, model, TrainingResult(seconds=5.0))
    assert facts["hyperparameters"].items() >= (SIZES | {"learning_rate": 0.01}).items()
    assert facts["hyperparameters"]["tokenizer"] == "char"
    assert facts["num_parameters"] == model.num_parameters()
    card = model_card(CardFigures(**facts))
    assert "secret" not in card and "text.txt" in card
    assert "\naccelerate launch recipes/train_ardm.py --seed 3\n" in card
    assert "\nlicense: cc-by-4.0\n" in card and "\nlanguage: en\n" in card
    assert "| license |" not in card and "| command_words |" not in card


def test_of_a_saved_model_neither_tokenizer_nor_vocabulary_are_told_as_chosen(model):
    facts = run_facts(flags("/secret/begun"), CORPUS.name, model, TrainingResult())
    told = facts["hyperparameters"]
    assert told.items() >= SIZES.items() and told["initial_weights"] == "begun"
    assert not {"tokenizer", "vocab_size"} & told.keys()


def test_trackers_are_told_of_the_text_and_the_network(model):
    told = tracked_settings(flags(), CORPUS.name, model)
    expected = {"training_data": "text.txt", "vocab_size": len(TOKENIZER), "learning_rate": 0.01}
    assert told.items() >= (expected | SIZES).items()
    assert "secret" not in str(told)


def test_what_a_saved_model_was_read_for_is_told(model):
    """A recipe sets `alphabet` to that of the saved model; other flags of values are stale."""
    args = flags("/secret/begun")
    args.alphabet = "dna"
    assert run_flags(args)["alphabet"] == "dna" and "tokenizer" not in run_flags(args)
    assert tracked_settings(args, "genes", model)["alphabet"] == "dna"


def test_trackers_are_shown_samples_of_the_model(model):
    ids = torch.arange(5).repeat(6, 9)[:, :9] % 5
    windows = HeldOutWindows([{"input_ids": row} for row in ids])
    before = torch.random.get_rng_state()
    shown = tracked_samples(TOKENIZER, windows, seed=4)(model)
    assert torch.equal(torch.random.get_rng_state(), before)  # dropout of the training goes on
    texts, infilled = write_samples(model, TOKENIZER, ids[3], seed=4)
    assert shown == {"samples": texts, "infilled": infilled}


@pytest.mark.parametrize("used", ["no", "bf16"])
def test_the_precision_is_what_was_trained_in(model, used):
    args = flags()
    args.mixed_precision = "bf16"  # asked for; a CPU may not have it
    facts = run_facts(args, CORPUS.name, model, TrainingResult(mixed_precision=used))
    assert facts["hyperparameters"]["mixed_precision"] == used
