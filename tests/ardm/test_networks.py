"""Any masked language model gives the logits asked for, wherever its weights lie."""

import copy

import accelerate
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from ardm import ARDMGenerationConfig, ARDMGenerationMixin, log_prob, nelbo
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
