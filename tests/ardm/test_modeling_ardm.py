"""The network is bidirectional, blind to padding, gives masks no probability."""

import copy
import itertools
import json
import warnings

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, pipeline

from ardm import ARDMConfig, ARDMForMaskedLM, ARDMGenerationConfig, ARDMModel
from ardm.data.tokenization import build_tokenizer
from ardm.layers_ardm import ARDMShortConv

MASK, PAD = 3, 4
ROWS = [[0, MASK, 2, 1, MASK, 0], [MASK], [1, MASK, MASK]]
RIGHT = torch.tensor([row + [PAD] * (8 - len(row)) for row in ROWS])
LEFT = torch.tensor([[PAD] * (8 - len(row)) + row for row in ROWS])


@pytest.fixture
def model(tiny_model):
    return tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)


def close(first, second, atol=1e-5):
    torch.testing.assert_close(first, second, rtol=0, atol=atol)


def labels_of(ids):
    return torch.randint(0, 3, ids.shape).where(ids == MASK, -100)


def gradients(model, **inputs):
    model.zero_grad()
    model(**inputs).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_same_gradients(first, second, atol=1e-5):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=atol, msg=name)


# ------------------------------------------------------------------------------------ probabilities
def test_mask_and_pad_have_probability_zero(model):
    logits = model(RIGHT, RIGHT != PAD).logits
    assert logits.shape == (3, 8, 5)
    assert (logits[..., [MASK, PAD]] == -torch.inf).all() and logits[..., :3].isfinite().all()
    torch.testing.assert_close(logits.softmax(-1)[..., :3].sum(-1), torch.ones(3, 8))


def test_only_the_mask_where_there_is_no_padding(tiny_model):
    assert (tiny_model()(torch.tensor([[0, 3]])).logits == -torch.inf).sum(1).tolist() == [
        [0, 0, 0, 2]
    ]


@pytest.mark.parametrize("conv_kernel_size", [0, 5])
def test_a_fresh_model_is_exactly_uniform(conv_kernel_size):
    model = ARDMForMaskedLM(
        ARDMConfig(hidden_size=8, num_attention_heads=2, conv_kernel_size=conv_kernel_size)
    )
    probs = model(torch.randint(0, 28, (2, 9))).logits.softmax(-1)
    assert (probs[..., 27] == 0).all() and (probs[..., :27] == probs[0, 0, 0]).all()
    for layer in model.model.layers:  # each block starts as the identity
        assert not layer.attn.o_proj.weight.any() and not layer.mlp.down_proj.weight.any()
        assert layer.attn.q_proj.weight.any() and layer.mlp.up_proj.weight.any()


def test_a_fresh_tied_model_has_small_logits():
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    model = ARDMForMaskedLM(ARDMConfig(**sizes, tie_word_embeddings=True))
    assert model(torch.full((1, 8), 27)).logits[..., :27].std() < 1.5


# ------------------------------------------------------------------------------------- what is read
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_its_side_and_the_batch_change_nothing(model, attention):
    model.set_attn_implementation(attention)
    labels_right = labels_of(RIGHT)
    right = model(RIGHT, RIGHT != PAD, labels=labels_right)
    labels_left = torch.full_like(LEFT, -100).masked_scatter(
        LEFT == MASK, labels_right[RIGHT == MASK]
    )
    left = model(LEFT, (LEFT != PAD).long(), labels=labels_left)
    close(right.loss, left.loss)
    garbage = model(RIGHT.where(RIGHT != PAD, 1), RIGHT != PAD)
    total = 0.0
    for row, ids in enumerate(ROWS):
        n = len(ids)
        alone = model(torch.tensor([ids]), labels=labels_right[row : row + 1, :n])
        close(alone.logits[0], right.logits[row, :n])
        close(alone.logits[0], left.logits[row, 8 - n :])
        close(alone.logits[0], garbage.logits[row, :n])
        total = total + n * alone.loss
    close(right.loss, total / sum(map(len, ROWS)))  # rows count by their maskable tokens


def test_every_position_reads_every_position(model):
    for conv in (0, 5):
        reader = ARDMForMaskedLM(
            ARDMConfig(**(model.config.to_dict() | {"conv_kernel_size": conv}))
        ).eval()
        reader.load_state_dict(model.state_dict(), strict=False)
        embeddings = torch.randn(1, 8, 8, requires_grad=True)
        logits = reader(inputs_embeds=embeddings).logits[0, :, :3]
        for position in range(8):
            (gradient,) = torch.autograd.grad(logits[position].std(), embeddings, retain_graph=True)
            assert (gradient[0].abs().sum(1) > 0).all() and gradient.isfinite().all()


@pytest.mark.parametrize("taps", [1, 5, 9])
def test_short_convolution_is_torchs_centred_one(taps):
    conv = ARDMShortConv(ARDMConfig(hidden_size=24, conv_kernel_size=taps))
    torch.nn.init.normal_(conv.weight)
    states, real = torch.randn(2, 6, 24), (torch.arange(6) < 4)[None, :, None]
    for real_BL1, inputs in ((None, states), (real.float(), states * real)):
        expected = F.conv1d(inputs.mT, conv.weight.T[:, None], padding=taps // 2, groups=24).mT
        close(conv(states, real_BL1), expected)


def test_what_differs_in_position_or_distance_is_told_apart(model):
    first, second = (torch.tensor([ids]) for ids in ([0, 1, MASK, 2, 0, 1], [0, 1, MASK, 0, 2, 1]))
    assert (model(first).logits - model(second).logits)[0, 2, :3].abs().max() > 1e-3
    # relative: a common shift is invisible
    shifted = model(first, position_ids=torch.arange(6)[None] + 90).logits
    close(shifted, model(first).logits)


# ------------------------------------------------------------------------------- loss and positions
def test_loss_is_the_bound_by_hand(model):
    ids, labels, weights = RIGHT, labels_of(RIGHT), [6, 1, 3]
    out = model(ids, ids != PAD, labels=labels)
    log_probs = out.logits.double().log_softmax(-1)
    total = 0.0
    for row in range(3):
        terms = [-log_probs[row, p, labels[row, p]] for p in range(8) if labels[row, p] != -100]
        total = total + weights[row] * sum(terms) / len(terms)
    close(out.loss.double(), total / 10)
    given = {"labels": labels, "num_maskable": torch.tensor(weights)}
    for count in (20, torch.tensor(20)):  # the batch has 5 of 20 labels: that share of the whole
        share = model(ids, ids != PAD, **given, num_items_in_batch=count).loss
        close(share.double(), total / 10 * 5 / 20)
    given_weights = model(ids, ids != PAD, **given).loss
    close(given_weights, out.loss)
    assert model(ids, ids != PAD, labels=torch.full_like(ids, -100)).loss == 0
    without_mask = model(ids[:1], labels=labels[:1]).loss
    assert without_mask.isfinite()
    assert model(ids, ids != PAD, labels=labels, return_dict=False)[0] == out.loss


def test_logits_of_chosen_positions_are_those_of_all(model):
    attention_mask, labels = RIGHT != PAD, labels_of(RIGHT)
    full, chosen = model(RIGHT, attention_mask).logits, RIGHT == MASK
    close(model(RIGHT, attention_mask, logits_positions=chosen).logits, full[chosen])
    index = torch.tensor([[4, 1], [0, 0], [2, 1]])
    close(
        model(RIGHT, attention_mask, logits_positions=index).logits,
        full[torch.arange(3)[:, None], index],
    )
    assert model(RIGHT, attention_mask, logits_positions=torch.zeros_like(chosen)).logits.shape == (
        0,
        5,
    )

    inputs = {"input_ids": RIGHT, "attention_mask": attention_mask, "labels": labels}
    whole, part = gradients(model, **inputs), gradients(model, **inputs, logits_positions=chosen)
    assert_same_gradients(whole, part)
    close(model(**inputs).loss, model(**inputs, logits_positions=chosen).loss)
    every_token = RIGHT.where(RIGHT != PAD, -100)  # labels elsewhere do not count
    only_chosen = every_token.where(chosen, -100)
    one = model(
        RIGHT,
        attention_mask,
        labels=every_token.clamp(max=2).where(every_token != -100, -100),
        logits_positions=chosen,
    )
    two = model(
        RIGHT, attention_mask, labels=only_chosen.clamp(max=2).where(only_chosen != -100, -100)
    )
    close(one.loss, two.loss)
    for bad in (index, chosen[:, :4]):
        with pytest.raises(ValueError, match="logits_positions"):
            model(**inputs, logits_positions=bad)


def test_gradients_of_positions_by_index(model):
    def gradient(**options):
        model.zero_grad()
        logits = model(RIGHT[:1], **options).logits
        logits = logits[:, [4, 1]] if not options else logits
        logits.log_softmax(-1)[..., 0].sum().backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    assert_same_gradients(gradient(), gradient(logits_positions=torch.tensor([[4, 1]])))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("conv_kernel_size", [0, 3])
def test_every_parameter_has_a_finite_gradient(tiny_model, tied, conv_kernel_size):
    model = tiny_model(tie_word_embeddings=tied, conv_kernel_size=conv_kernel_size)
    ids = torch.tensor([[0, 3, 2, 1, 3, 0]])
    for name, gradient in gradients(model, input_ids=ids, labels=labels_of(ids)).items():
        assert gradient.isfinite().all() and gradient.abs().sum() > 0, name
        if name == "lm_head.weight":
            assert not gradient[3].any()  # the mask's row of the head is out of the loss


def test_gradient_checkpointing_gives_the_same_gradients(model):
    inputs = {
        "input_ids": RIGHT,
        "attention_mask": RIGHT != PAD,
        "labels": labels_of(RIGHT),
        "logits_positions": RIGHT == MASK,
    }
    model.train()
    plain = gradients(model, **inputs)
    # the newer name
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    assert all(layer.gradient_checkpointing for layer in model.model.layers)
    assert_same_gradients(gradients(model, **inputs), plain)


def test_dropout_acts_in_training_alone(tiny_model):
    for name in ("hidden_dropout", "attention_dropout"):
        model = tiny_model(**{name: 0.5})
        ids = torch.tensor([[0, 3, 2, 1]])
        assert torch.equal(model(ids).logits, model(ids).logits)
        model.train()
        assert not torch.equal(model(ids).logits, model(ids).logits)


# -------------------------------------------------------------------------------- attention kernels
def test_eager_is_sdpa(model):
    labels = labels_of(RIGHT)
    inputs = {"input_ids": RIGHT, "attention_mask": RIGHT != PAD, "labels": labels}
    model.set_attn_implementation("sdpa")
    sdpa, sdpa_gradients = model(**inputs), gradients(model, **inputs)
    model.set_attn_implementation("eager")
    eager = model(**inputs, output_attentions=True, output_hidden_states=True)
    close(eager.loss, sdpa.loss)
    assert_same_gradients(gradients(model, **inputs), sdpa_gradients)
    assert len(eager.attentions) == 2 and len(eager.hidden_states) == 3
    for weights in eager.attentions:
        assert weights.shape == (3, 2, 8, 8)
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 8))
        assert weights.transpose(1, 3)[RIGHT == PAD].sum() == 0  # nobody looks at padding


def test_flex_is_sdpa(tiny_model, monkeypatch):
    # Not compiled: torch's kernel for CPUs is wrong (NaN) on some of them, with any model.
    monkeypatch.setattr(
        "transformers.integrations.flex_attention.compile_friendly_flex_attention",
        lambda *qkv, training=False, **options: flex_attention(*qkv, **options),
    )
    # heads of 16
    model = tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD, hidden_size=32)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is not compiled
        sdpa = model(RIGHT, RIGHT != PAD).logits
        model.set_attn_implementation("flex_attention")
        flex = model(RIGHT, RIGHT != PAD).logits
    close(flex[RIGHT != PAD], sdpa[RIGHT != PAD], atol=1e-4)


def test_bfloat16_is_finite_and_near(model):
    labels = labels_of(RIGHT)
    exact = model(RIGHT, RIGHT != PAD, labels=labels)
    out = copy.deepcopy(model).bfloat16()(RIGHT, RIGHT != PAD, labels=labels)
    assert out.logits.dtype == torch.bfloat16 and out.loss.dtype == torch.float32
    assert out.logits[..., :3].isfinite().all()
    assert abs(float(out.loss.detach()) - float(exact.loss.detach())) < 0.3


@pytest.mark.slow
def test_compiled_gives_the_same_loss_and_gradients(model):
    inputs = {"input_ids": RIGHT, "attention_mask": RIGHT != PAD, "labels": labels_of(RIGHT)}
    plain = gradients(model, **inputs)
    compiled = torch.compile(model)
    model.zero_grad()
    loss = compiled(**inputs).loss
    loss.backward()
    close(loss, model(**inputs).loss)
    assert_same_gradients({name: p.grad for name, p in model.named_parameters()}, plain)


# ----------------------------------------------------------------------------- a transformers model
@pytest.mark.parametrize("tied", [False, True])
def test_save_and_load_give_the_same_bits(tiny_model, tmp_path, tied):
    model = tiny_model(tie_word_embeddings=tied)
    model.generation_config = ARDMGenerationConfig(
        steps=3, temperature=0.5, order="left_to_right", mask_token_id=3
    )
    model.save_pretrained(tmp_path)
    ids = torch.tensor([[0, 3, 2, 1]])
    for loaded in (
        ARDMForMaskedLM.from_pretrained(tmp_path),
        AutoModelForMaskedLM.from_pretrained(tmp_path),
    ):
        assert type(loaded) is ARDMForMaskedLM and not loaded.training
        assert torch.equal(loaded(ids).logits, model(ids).logits)
        assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
        assert type(loaded.generation_config) is ARDMGenerationConfig
        assert loaded.generation_config.to_diff_dict() | {"transformers_version": 0} == (
            model.generation_config.to_diff_dict() | {"transformers_version": 0}
        )
        assert torch.equal(loaded.generate(ids, seed=1), model.generate(ids, seed=1))
    base = AutoModel.from_pretrained(tmp_path)
    assert type(base) is ARDMModel
    assert torch.equal(base(ids).last_hidden_state, model.model(ids).last_hidden_state)
    assert type(AutoConfig.from_pretrained(tmp_path)) is ARDMConfig
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert {"steps": 3, "temperature": 0.5, "order": "left_to_right"}.items() <= saved.items()


def test_settings_at_loading_and_a_model_without_generation_config(tiny_model, tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    chosen = ARDMGenerationConfig(steps=2)
    loaded = ARDMForMaskedLM.from_pretrained(tmp_path, generation_config=chosen)
    assert loaded.generation_config.steps == 2
    (tmp_path / "generation_config.json").unlink()
    loaded = ARDMForMaskedLM.from_pretrained(tmp_path)
    assert type(loaded.generation_config) is ARDMGenerationConfig
    assert loaded.generation_config.mask_token_id == 3
    assert torch.equal(loaded.generate(seed=1), model.generate(seed=1))


def test_fill_mask_pipeline(tiny_model):
    tokenizer = build_tokenizer("char", "abc")
    model = tiny_model(
        vocab_size=len(tokenizer),
        mask_token_id=tokenizer.mask_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    text = f"ab{tokenizer.mask_token}a"
    answers = pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")(text, top_k=3)
    probs = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0, 2]
    for answer in answers:
        assert abs(answer["score"] - float(probs[answer["token"]].detach())) < 1e-5
    assert [a["token"] for a in answers] == probs.topk(3).indices.tolist()


def test_resized_vocabulary(model):
    before = model(RIGHT, RIGHT != PAD).logits
    model.resize_token_embeddings(9, mean_resizing=False)
    after = model(RIGHT, RIGHT != PAD).logits
    assert after.shape == (3, 8, 9) and model.config.vocab_size == 9
    close(after[..., :5], before)
    assert (after[..., [MASK, PAD]] == -torch.inf).all()
    assert (model.generate(torch.full((1, 4), MASK)) != MASK).all()


def test_bad_input_is_refused(model):
    with pytest.raises(ValueError, match="9 positions; expected at most max_position_embeddings=8"):
        model(torch.zeros(1, 9, dtype=torch.long))
    for inputs in ({}, {"input_ids": RIGHT, "inputs_embeds": torch.zeros(3, 8, 8)}):
        with pytest.raises(ValueError, match="exactly one"):
            model(**inputs)


def test_corners(model):
    assert model(torch.full((2, 1), MASK)).logits.shape == (2, 1, 5)
    close(model(RIGHT.int()).logits, model(RIGHT).logits)
    close(model(RIGHT.t().contiguous().t()).logits, model(RIGHT).logits)
    without_labels = model(RIGHT, RIGHT != PAD, labels=torch.full_like(RIGHT, -100))
    assert without_labels.loss == 0


def test_parameters_carry_no_bias_and_names_are_stable(model):
    names = set(model.state_dict())
    assert not any(name.endswith("bias") for name in names)
    assert {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"} <= names
    assert {f"model.layers.1.attn.{part}_proj.weight" for part in "qkvo"} <= names


def test_positions_run_along_the_axes_of_an_image(tiny_model):
    """Beyond one axis see test_layers_ardm.py; here that the network goes by them."""
    ids = torch.randint(0, 3, (2, 8))
    along = {
        str(shape): tiny_model(position_shape=shape, hidden_size=16)(ids).logits
        for shape in (None, [8], [1, 8], [8, 1, 1], [2, 4], [2, 2, 2])
    }
    for shape in ("[8]", "[1, 8]", "[8, 1, 1]"):
        assert torch.equal(along[shape], along["None"]) == (shape != "[1, 8]")
    pairs = itertools.combinations(("None", "[2, 4]", "[2, 2, 2]"), 2)
    assert all((along[one] - along[other])[..., :3].abs().max() > 1e-3 for one, other in pairs)
