"""Nats under tiny scorers against loops that read one token of one text at a time."""

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
)

from ardm.data.tokenization import build_tokenizer
from ardm.metrics.external_scorers import load_scorer

TEXTS = ["abc abd", "b", "", "cab dab acb bad cad dcba", "aaaa bbbb", "dcba" * 4]
LIMIT = 30  # positions of the scorers: longer than every text


def tokenizer(bos=False, special=False):
    built = build_tokenizer("char", "abcd ", model_max_length=LIMIT)
    if bos:
        built.add_special_tokens({"bos_token": "<s>"})
    if special:
        built.add_special_tokens({"cls_token": "<c>", "sep_token": "</c>"})
        ids = [(token, built.convert_tokens_to_ids(token)) for token in ("<c>", "</c>")]
        built._tokenizer.post_processor = TemplateProcessing(
            single="<c> <c> $A </c>", special_tokens=ids
        )
    return built


def randomised(model, scale=0.4):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, scale, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def causal():
    sizes = {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": LIMIT, "vocab_size": 10}
    return randomised(GPT2LMHeadModel(GPT2Config(bos_token_id=None, eos_token_id=None, **sizes)))


def bert_config(**changes):
    sizes = {
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    return BertConfig(max_position_embeddings=LIMIT, vocab_size=10, **sizes, **changes)


@pytest.fixture(scope="module")
def masked():
    return randomised(BertForMaskedLM(bert_config()))


@torch.no_grad()
def token_nats(model, ids, place, target):
    """-log p(target) at a place of one sequence."""
    return -model(torch.tensor([ids])).logits[0, place].double().log_softmax(-1)[target].item()


def window(i, length, capacity, stride):
    """Begin and end of the first window that reaches token i, from the formula for its number."""
    number = max(0, -(-(i + 1 - capacity) // stride))
    begin = max(min(number * stride, length - capacity), 0)
    return begin, min(begin + capacity, length)


def causal_nats(model, ids, capacity=LIMIT, stride=LIMIT // 2):
    """The first id is only read."""
    nats = []
    for i in range(1, len(ids)):
        begin, _ = window(i, len(ids), capacity, stride)
        nats.append(token_nats(model, ids[begin:i], -1, ids[i]))
    return sum(nats), len(nats)


def masked_nats(model, ids, mask, before, after, capacity=LIMIT, stride=LIMIT // 2):
    nats = []
    for i in range(len(ids)):
        begin, end = window(i, len(ids), capacity, stride)
        hidden = before + [mask if j == i else ids[j] for j in range(begin, end)] + after
        nats.append(token_nats(model, hidden, len(before) + i - begin, ids[i]))
    return sum(nats), len(nats)


def assert_scores(scorer, expected):
    nats, num_tokens = scorer.nats(scorer.ids(TEXTS))
    assert nats.dtype == torch.float64
    assert num_tokens.tolist() == [count for _, count in expected]
    assert nats.tolist() == pytest.approx([total for total, _ in expected], rel=1e-5)


@pytest.mark.parametrize("sizes", [{}, {"capacity": 5, "stride": 2}, {"capacity": 5, "stride": 4}])
@pytest.mark.parametrize("bos", [False, True])
def test_causal_nats_follow_the_chain_rule(causal, bos, sizes):
    tokens = tokenizer(bos=bos)
    scorer = load_scorer(
        causal, tokens, max_length=sizes.get("capacity"), stride=sizes.get("stride"), batch_size=3
    )
    prefix = [tokens.bos_token_id] if bos else []
    assert_scores(scorer, [causal_nats(causal, prefix + ids, **sizes) for ids in scorer.ids(TEXTS)])


def test_a_bos_that_is_there_is_not_doubled(causal):
    scorer = load_scorer(causal, tokenizer(bos=True))
    one, other = (scorer.nats(scorer.ids([text])) for text in ("<s>abc", "abc"))
    assert one == other


@pytest.mark.parametrize("sizes", [{}, {"capacity": 5, "stride": 2}])
@pytest.mark.parametrize("special", [False, True])
def test_masked_nats_hide_each_token_alone(masked, special, sizes):
    tokens = tokenizer(special=special)
    before = [tokens.cls_token_id] * 2 if special else []
    after = [tokens.sep_token_id] if special else []
    longest = sizes["capacity"] + len(before + after) if sizes else None
    scorer = load_scorer(
        masked, tokens, max_length=longest, stride=sizes.get("stride"), batch_size=7
    )
    expected = [
        masked_nats(masked, ids, tokens.mask_token_id, before, after, **sizes)
        for ids in scorer.ids(TEXTS)
    ]
    assert_scores(scorer, expected)


def test_a_model_of_this_package_is_a_masked_scorer(tiny_model):
    tokens = tokenizer()
    model = tiny_model(
        vocab_size=len(tokens), mask_token_id=tokens.mask_token_id, max_position_embeddings=LIMIT
    )
    scorer = load_scorer(model, tokens)
    assert_scores(
        scorer, [masked_nats(model, ids, tokens.mask_token_id, [], []) for ids in scorer.ids(TEXTS)]
    )


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_batching_and_neighbours_change_nothing(kind, request):
    model = request.getfixturevalue(kind)
    ids = [[0, 1, 2], [3] * 20, [4]]
    alone = [load_scorer(model, tokenizer(), batch_size=1).nats([row])[0] for row in ids]
    for batch_size in (1, 2, 5, 1000, None):
        together, _ = load_scorer(model, tokenizer(), batch_size=batch_size).nats(ids)
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-6, atol=1e-6)


def test_windows_advance_by_half_of_what_they_hold(causal):
    half, other, default = (
        load_scorer(causal, tokenizer(), max_length=6, stride=step) for step in (3, 2, None)
    )
    ids = half.ids(TEXTS)
    assert torch.equal(default.nats(ids)[0], half.nats(ids)[0])
    assert not torch.allclose(default.nats(ids)[0], other.nats(ids)[0])


@pytest.mark.parametrize(
    ("batch_size", "limit", "value"),
    [(2, None, None), (None, "_LOGITS_A_CALL", 500), (None, "_TOKENS_A_CALL", 50)],
)
@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_batches_keep_to_their_size_or_to_the_budget(
    kind, request, monkeypatch, batch_size, limit, value
):
    if limit is not None:
        monkeypatch.setattr(f"ardm.metrics.external_scorers.{limit}", value)
    shapes = []
    scorer = load_scorer(request.getfixturevalue(kind), tokenizer(), batch_size=batch_size)
    scorer.model.register_forward_hook(lambda module, args, out: shapes.append(out.logits.shape))
    scorer.nats(scorer.ids(TEXTS))
    scorer.model._forward_hooks.clear()
    rows = [shape[0] for shape in shapes]
    assert len(rows) > 1 and max(rows) > 1
    if batch_size is None:
        assert all(shape.numel() <= 500 or shape[0] == 1 for shape in shapes)
    else:
        assert max(rows) == batch_size


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_a_folder_is_loaded_and_its_kind_recognised(kind, request, tmp_path):
    model = request.getfixturevalue(kind)
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    for name in (tmp_path, str(tmp_path)):
        loaded = load_scorer(name)
        assert loaded.kind == kind
        torch.testing.assert_close(
            loaded.nats([[0, 1, 2]]), load_scorer(model, tokenizer()).nats([[0, 1, 2]])
        )


def test_the_model_keeps_its_mode_and_dropout_is_off(causal):
    scorer = load_scorer(causal, tokenizer())
    expected = scorer.nats([[0, 1, 2]])
    causal.train()
    frozen = next(causal.children()).eval()
    before = [module.training for module in causal.modules()]
    assert scorer.nats([[0, 1, 2]]) == expected
    assert load_scorer(causal, tokenizer()).kind == "causal"
    assert [module.training for module in causal.modules()] == before
    assert causal.training and not frozen.training
    causal.eval()


@pytest.mark.parametrize("model", [BertForMaskedLM, BertLMHeadModel])
def test_a_causal_scorer_that_sees_ahead_is_refused(model):
    with pytest.raises(ValueError, match="later tokens"):
        load_scorer(randomised(model(bert_config())), tokenizer(), kind="causal")


def test_ids_that_are_never_given_do_not_hide_that_a_scorer_sees_ahead(tiny_model):
    tokens = tokenizer()  # the mask id of a model of this package has logits of -inf
    model = tiny_model(
        vocab_size=len(tokens), mask_token_id=tokens.mask_token_id, max_position_embeddings=LIMIT
    )
    with pytest.raises(ValueError, match="later tokens"):
        load_scorer(model, tokens, kind="causal")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": None}, "tokenizer is None"),
        ({"kind": "seq2seq"}, "kind is 'seq2seq'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_length": LIMIT + 1}, f"max_length is {LIMIT + 1}"),
        ({"max_length": 1}, "max_length is 1"),
        ({"max_length": 0}, "max_length is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"max_length": 8, "stride": 8}, "stride is 8"),
    ],
)
def test_bad_options_are_refused(causal, options, message):
    with pytest.raises(ValueError, match=message):
        load_scorer(causal, **{"tokenizer": tokenizer(), **options})


def test_a_masked_scorer_needs_a_mask_token(masked):
    tokens = tokenizer()
    tokens.mask_token = None
    with pytest.raises(ValueError, match="mask token"):
        load_scorer(masked, tokens)


def test_a_tokenizer_of_another_model_is_refused(causal):
    with pytest.raises(ValueError, match="expected ids below the scorer's 10"):
        load_scorer(causal, build_tokenizer("byte", [])).ids(["abc"])
