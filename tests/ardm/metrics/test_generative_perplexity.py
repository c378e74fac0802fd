"""Generative perplexity pools the scorer's nats, and never comes without the samples' entropy."""

import math

import pytest
import torch
from scipy import stats
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from ardm.data.tokenization import build_tokenizer
from ardm.metrics.bits import perplexity
from ardm.metrics.external_scorers import load_scorer
from ardm.metrics.generative_perplexity import generative_perplexity

TEXTS = ["abcd dcba", "", "bad cab", "a"]
TOKENIZER = build_tokenizer("char", "abcd ")


def scorer(kind):
    if kind == "causal":
        sizes = {
            "n_layer": 1,
            "n_embd": 8,
            "n_head": 2,
            "n_positions": 16,
            "initializer_range": 0.5,
        }
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=8, bos_token_id=None, eos_token_id=None, **sizes)
        )
    sizes = {
        "num_hidden_layers": 1,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    return BertForMaskedLM(
        BertConfig(vocab_size=8, max_position_embeddings=16, initializer_range=0.5, **sizes)
    )


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_it_pools_the_nats_of_all_texts_and_gives_their_entropy(kind):
    model = scorer(kind)
    figures = generative_perplexity(TEXTS, model, TOKENIZER, batch_size=2)
    nats, num_tokens = load_scorer(model, TOKENIZER).nats(TOKENIZER(TEXTS)["input_ids"])
    assert figures.perplexity.value == pytest.approx(math.exp(nats.sum() / num_tokens.sum()))
    assert figures.perplexity == pytest.approx(perplexity(nats, num_tokens))
    entropies = [
        stats.entropy([text.count(letter) for letter in set(text)]) if text else 0 for text in TEXTS
    ]
    entropy = figures.mean_unigram_entropy_nats
    assert entropy == pytest.approx((sum(entropies) / 4, stats.sem(entropies)))
    assert figures.mean_num_tokens == sum(map(len, TEXTS)) / 4
    assert figures.scorer_kind == kind
    assert figures.reference is None and figures.has_low_entropy is None
    assert "entropy is low it means nothing" in figures.note and "WARNING" not in figures.note


def test_a_uniform_scorer_has_the_size_of_the_vocabulary_as_perplexity():
    model = scorer("masked")
    torch.nn.init.zeros_(model.cls.predictions.decoder.weight)
    assert generative_perplexity(TEXTS, model, TOKENIZER).perplexity == pytest.approx(
        (8, 0), abs=1e-5
    )


@pytest.mark.parametrize(
    ("texts", "low", "note"),
    [
        (["aaaa bbbb", "aaaaaaaaa"], True, "WARNING: the samples vary less than real text"),
        (["abcd dbca", "dcba abcd"], False, "vary about as much"),
        (
            ["ab", "a"],
            None,
            "WARNING: the samples have 2 tokens on average and the reference texts 9",
        ),
    ],
)
def test_the_note_compares_with_real_text(texts, low, note):
    model = scorer("causal")
    real = ["abcd dcba", "bad dcabc"]
    figures = generative_perplexity(texts, model, TOKENIZER, reference_texts=real)
    assert figures.has_low_entropy is low
    assert note in figures.note and "means nothing" in figures.note
    alone = generative_perplexity(real, model, TOKENIZER)
    assert figures.reference == alone
    for figure in (figures, alone):
        assert f"{figure.mean_unigram_entropy_nats.value:.2f} nats" in figures.note
        assert f"{figure.perplexity.value:.1f}" in figures.note


@pytest.mark.parametrize("texts", [[], "one text", [1, 2], [["a"]]])
@pytest.mark.parametrize("name", ["texts", "reference_texts"])
def test_what_is_no_list_of_texts_is_refused_before_the_scorer_is_loaded(name, texts):
    with pytest.raises(ValueError, match=f"^{name} is"):
        generative_perplexity(**{"texts": ["a"], name: texts}, model="no such model")


def test_texts_without_a_token_to_score_are_refused():
    with pytest.raises(ValueError, match="no token to score"):
        # no BOS: one token alone is not scored
        generative_perplexity(["", "a"], scorer("causal"), TOKENIZER)


@pytest.mark.parametrize("kind", ["causal", "masked"])
@pytest.mark.parametrize(
    ("texts", "share"), [(["abcd", "東京ab"], 2 / 8), (["dcba", " a b "], 0), (["a", "éé"], 2 / 3)]
)
def test_what_is_unknown_to_the_scorer_is_said(kind, texts, share):
    figures = generative_perplexity(texts, scorer(kind), TOKENIZER)
    assert figures.lost_share == pytest.approx(share)
    assert ("WARNING" in figures.note) == (share > 0)
    beside = generative_perplexity(["ab"], scorer(kind), TOKENIZER, reference_texts=texts)
    assert beside.lost_share == 0 and beside.reference.lost_share == pytest.approx(share)
    assert ("reference texts' characters are unknown" in beside.note) == (share > 0)


def test_dropped_and_changed_characters_are_lost_to_the_scorer(lossy):
    figures = generative_perplexity(["Ab 東"], scorer("causal"), lossy)
    assert figures.lost_share == pytest.approx(2 / 4)


@pytest.fixture
def lossy():
    """Without an unknown token, and in lower case."""
    backend = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, " ": 2}, merges=[]))
    backend.normalizer = normalizers.Lowercase()
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend)
