"""Any masked language model gives the logits asked for, wherever its weights lie."""

import copy
from types import SimpleNamespace

import accelerate
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    FNetConfig,
    FNetForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from ardm import ARDMGenerationConfig, ARDMGenerationMixin, log_prob, nelbo, per_step_losses
from ardm.networks import evaluating, execution_device, position_logits

from .rows import MASK, masks

SIZES = {
    "vocab_size": 8,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
    "mask_token_id": 7,
    "pad_token_id": 0,
    "eos_token_id": None,
    "bos_token_id": None,
    "initializer_range": 1.0,
}
KINDS = {
    "bert": (BertConfig, BertForMaskedLM),
    "roberta": (RobertaConfig, RobertaForMaskedLM),
    "modernbert": (ModernBertConfig, ModernBertForMaskedLM),
}


class Narrow(nn.Module):
    """A model of someone else's that takes ids and a mask, and nothing more."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.config = inner.config
        self.device = inner.device

    def forward(self, input_ids, attention_mask):
        return self.inner(input_ids=input_ids, attention_mask=attention_mask)


class Wrapped(Narrow):
    """A wrapper that passes everything on."""

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


def with_generate(model_class):
    settings = {"generation_config_class": ARDMGenerationConfig}
    return type("WithGenerate", (ARDMGenerationMixin, model_class), settings)


@pytest.fixture(scope="module", params=[*KINDS])
def foreign(request):
    torch.manual_seed(0)
    config_class, model_class = KINDS[request.param]
    return with_generate(model_class)(config_class(**SIZES)).eval()


def possible(logits):
    """No text holds the mask, or a mere pad."""
    return logits.index_fill(-1, torch.tensor([0, 7]), -torch.inf)


def every_positions(length):
    yield None
    yield torch.rand(2, length) < 0.5
    yield torch.ones(2, length, dtype=torch.bool)
    for width in (1, length - 1, length):  # as many as the row has tell nothing by their shape
        yield torch.rand(2, length).argsort(1)[:, :width]


def test_the_positions_asked_for_are_those_that_come(foreign, plain):
    ids = torch.randint(1, 7, (2, 6))
    expected = possible(foreign(input_ids=ids).logits)
    wrappers = (foreign, Narrow(foreign), Wrapped(foreign), torch.nn.DataParallel(foreign))
    wrappers[-1].config = foreign.config
    for model in wrappers[:3]:
        for positions in every_positions(6):
            logits = position_logits(model)(ids, None, positions)
            torch.testing.assert_close(logits, _at(expected, positions), rtol=0, atol=1e-6)
    ids = torch.randint(0, 3, (2, 6))
    expected = plain(ids).logits
    for model in (plain, Wrapped(plain)):
        for positions in every_positions(6):
            logits = position_logits(model)(ids, None, positions)
            torch.testing.assert_close(logits, _at(expected, positions), rtol=0, atol=1e-5)


def _at(logits, positions):
    if positions is None:
        return logits
    if positions.dtype == torch.bool:
        return logits[positions]
    return torch.stack([row[index] for row, index in zip(logits, positions, strict=True)])


@pytest.mark.parametrize("order", ["random", "right_to_left", "confidence", "drawn_confidence"])
@pytest.mark.parametrize("steps", [1, 3, 6])
def test_a_model_that_drops_unknown_arguments_fills_the_right_positions(foreign, order, steps):
    ids = torch.full((2, 6), 7)
    ids[:, 2] = 3
    settings = {"order": order, "steps": steps, "do_sample": False, "seed": 1}
    out = foreign.generate(ids, return_dict_in_generate=True, **settings)
    for step in range(int(out.order.max()) + 1):  # what a plain call says of each step
        now = out.order == step
        before = out.sequences.masked_fill(out.order >= step, 7)
        best = possible(foreign(input_ids=before).logits).argmax(-1)
        assert torch.equal(out.sequences[now], best[now])
    assert (out.sequences[:, 2] == 3).all() and not torch.isin(
        out.sequences, torch.tensor([0, 7])
    ).any()


def test_likelihoods_of_a_model_that_drops_unknown_arguments(foreign):
    text = torch.randint(1, 7, (2, 4))
    exact = log_prob(foreign, text, torch.tensor([2, 0, 3, 1]))
    ids = torch.full((2, 4), 7)
    expected = torch.zeros(2, dtype=torch.float64)
    for position in (2, 0, 3, 1):
        log_probs = possible(foreign(input_ids=ids).logits)[:, position].double().log_softmax(-1)
        expected += log_probs.gather(1, text[:, position, None])[:, 0]
        ids[:, position] = text[:, position]
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-5)
    assert (nelbo(foreign, text, num_samples=2).nats > 0).all()


# ---------------------------------------------------------------------------------------- offloaded
@pytest.mark.parametrize("where", ["disk", "cpu"])
def test_an_offloaded_model_does_the_same(plain, tmp_path, where):
    model = copy.deepcopy(plain)
    device = torch.device("cpu")
    if where == "disk":
        accelerate.disk_offload(model, tmp_path, execution_device=device)
    else:
        accelerate.cpu_offload(model, execution_device=device)
    assert model.device.type == "meta" and execution_device(model) == device
    text = torch.randint(0, 3, (2, 5))
    for settings in ({}, {"order": "confidence"}, {"guidance_scale": 2.0}):
        ids = torch.cat((text[:, :2], masks(2, 4)), 1)
        expected = plain.generate(ids, seed=1, **settings)
        assert torch.equal(model.generate(ids, seed=1, **settings), expected)
    assert torch.equal(model.generate(seed=1), plain.generate(seed=1))
    assert torch.equal(log_prob(model, text, "confidence"), log_prob(plain, text, "confidence"))
    assert torch.equal(
        nelbo(model, text, num_samples="all").nats.isfinite(), torch.tensor([True] * 2)
    )


@pytest.mark.parametrize(
    "device_map",
    [{"": "disk"}, {"model": "disk", "lm_head": "cpu"}, {"model": "cpu", "lm_head": "disk"}],
)
def test_a_model_loaded_in_parts_does_the_same(plain, tmp_path, device_map):
    plain.save_pretrained(tmp_path / "model")
    options = {"device_map": device_map, "offload_folder": tmp_path / "offloaded"}
    model = type(plain).from_pretrained(tmp_path / "model", **options)
    assert torch.equal(model.generate(masks(2, 5), seed=1), plain.generate(masks(2, 5), seed=1))


# ------------------------------------------------------------------------------------------ dropout
def test_a_model_in_training_generates_as_in_evaluation(tiny_model):
    model = tiny_model(hidden_dropout=0.5, attention_dropout=0.5)
    expected = model.generate(masks(3, 6), seed=1)
    model.train()
    model.model.layers[0].eval()  # as frozen parts are
    modes = [module.training for module in model.modules()]
    for _ in range(2):
        assert torch.equal(model.generate(masks(3, 6), seed=1), expected)
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(ZeroDivisionError):
        model.generate(masks(1, 6), logits_processor=[lambda ids, logits: 1 / 0])
    assert [module.training for module in model.modules()] == modes
    with evaluating(lambda ids: ids):
        pass


def test_the_mask_is_never_drawn(foreign):
    rows = foreign.generate(torch.full((200, 3), 7), seed=1, temperature=5.0)
    assert not torch.isin(rows, torch.tensor([0, 7])).any() and MASK in rows


class Answers(nn.Module):
    """A model whose answer is cut or made longer: `change` of its logits (B, L, V)."""

    def __init__(self, inner, change):
        super().__init__()
        self.inner = inner
        self.change = change
        self.config = inner.config
        self.device = inner.device

    def forward(self, input_ids, attention_mask):
        logits = self.inner(input_ids=input_ids, attention_mask=attention_mask).logits
        return SimpleNamespace(logits=self.change(logits))


class Generating(ARDMGenerationMixin, Answers):
    generation_config_class = ARDMGenerationConfig

    def __init__(self, *args):
        super().__init__(*args)
        self.generation_config = ARDMGenerationConfig.from_model_config(self.config)


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: logits[:, -1:],  # as if asked for the last position alone
        lambda logits: logits[:, :-1],
        lambda logits: logits[:1],
        lambda logits: logits.flatten(0, 1),
        lambda logits: nn.functional.pad(logits, (0, 1)),  # a padded head
        lambda logits: logits[..., :-1],
    ],
)
def test_an_answer_of_another_shape_is_refused(foreign, change):
    model = Generating(foreign, change)
    text = torch.randint(1, 7, (2, 4))
    calls = (
        lambda: model.generate(torch.full((2, 4), 7), steps=1),
        lambda: model.generate(torch.full((2, 4), 7), order="confidence"),
        lambda: nelbo(model, text, num_samples=2),
        lambda: log_prob(model, text, "left_to_right"),
        lambda: log_prob(model, text, "confidence"),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"the model answers with logits \(.*vocab_size=8"):
            call()


DECODERS = {
    "gpt2": (GPT2Config, GPT2LMHeadModel),
    "llama": (LlamaConfig, LlamaForCausalLM),
}


@pytest.mark.parametrize("kind", DECODERS)
def test_a_model_of_next_tokens_is_refused(kind):
    config_class, model_class = DECODERS[kind]
    config = config_class(**SIZES)
    text = torch.randint(1, 7, (2, 4))
    for model in (model_class(config), with_generate(model_class)(config)):
        for call in (nelbo, lambda *args: log_prob(*args, "left_to_right")):
            with pytest.raises(ValueError, match=f"is a {type(model).__name__}, which predicts"):
                call(model.eval(), text)
    with pytest.raises(ValueError, match="predicts the next token"):
        model.generate(torch.full((1, 4), 7))

    class Bidirectional(config_class):  # someone's own, with another attention
        model_type = "own"

    config = Bidirectional(**SIZES)
    assert nelbo(model_class(config).eval(), text, num_samples=2).nats.isfinite().all()


def test_a_configuration_without_mask_id_is_named():
    model = BertForMaskedLM(BertConfig(**{**SIZES, "mask_token_id": None})).eval()
    text = torch.randint(1, 7, (2, 4))
    for call in (nelbo, per_step_losses, lambda *args: log_prob(*args, "left_to_right")):
        with pytest.raises(ValueError, match=r"tokenizer\.mask_token_id"):
            call(model, text)
    del model.config.mask_token_id  # as configurations on the Hub
    with pytest.raises(ValueError, match=r"tokenizer\.mask_token_id"):
        nelbo(model, text)
    model.config.mask_token_id = 7
    assert (nelbo(model, text, num_samples=2).nats > 0).all()


def test_a_model_that_swallows_the_attention_mask_reads_no_padding():
    sizes = {name: SIZES[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers")}
    config = FNetConfig(**sizes, intermediate_size=8, mask_token_id=7, pad_token_id=0)
    model = FNetForMaskedLM(config).eval()
    text = torch.randint(1, 7, (2, 4))
    real = torch.ones_like(text)
    alone = nelbo(model, text, generator=torch.Generator().manual_seed(0)).nats
    assert torch.equal(
        nelbo(model, text, real, generator=torch.Generator().manual_seed(0)).nats, alone
    )
    real[0, 3] = 0
    with pytest.raises(ValueError, match="would read padding as text"):
        nelbo(model, text, real)


def test_positions_that_count_behind_the_paddings_are_that_many_fewer(foreign):
    """RoBERTa's first token has position 2; without ids the longest text is generated."""
    longest = 15 if foreign.config.model_type == "roberta" else 16
    assert foreign.generate(seed=0).shape == (1, longest)
    with pytest.raises(
        ValueError, match=rf"expected at most (max_position_embeddings=)?{longest}\b"
    ):
        foreign.generate(max_new_tokens=longest + 1)
