"""Costs on a page are those of plain formulas, and no plan is praised for noise."""

import math

import pytest
import torch
from transformers import AutoTokenizer, RobertaConfig, RobertaForMaskedLM

import ardm
from ardm import StepLosses, measure_step_losses, optimal_plan, plan_cost
from ardm.data.tokenization import build_tokenizer
from ardm.evaluation import cost_figure, costs_of_text, saved_costs, step_budgets
from ardm.evaluation.step_costs import PIECES, WINDOW, saved_step_losses, step_losses_of_text
from ardm.plans import monotone_fit

from ...foreign_models import write_bert

TEXT = "the quick brown fox jumps over the lazy dog. " * 20
TOKENIZER = build_tokenizer("char", TEXT)


@pytest.fixture
def model(tiny_model):
    ids = {"mask_token_id": TOKENIZER.mask_token_id, "pad_token_id": TOKENIZER.pad_token_id}
    return tiny_model(vocab_size=len(TOKENIZER), **ids, max_position_embeddings=24, hidden_size=16)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((1,), [1]), ((2,), [1, 2]), ((24,), [1, 2, 4, 8, 16, 24]), ((24, 3), [4, 8, 16, 24])],
)
def test_budgets_go_up_to_one_at_a_time(arguments, expected):
    assert step_budgets(*arguments) == expected


def test_the_curves_are_those_of_plain_formulas(model):
    noisy = torch.rand(3, 24, dtype=torch.float64) + torch.linspace(3, 1, 24, dtype=torch.float64)
    losses = StepLosses(noisy)
    (axes,) = cost_figure(losses, "title").axes
    curve = torch.tensor(monotone_fit(losses.nats), dtype=torch.float64)
    floor = float(noisy.mean()) / math.log(2)
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    for steps, bits in lines["optimal plan"]:
        cost = plan_cost(curve, optimal_plan(curve, int(steps))) / 24 / math.log(2)
        assert bits == pytest.approx(cost, rel=1e-9) and bits >= floor - 1e-9
    for kind in ("cosine plan", "uniform plan"):
        assert lines[kind][-1][1] == pytest.approx(floor)
        assert (lines[kind][:, 1] >= lines["optimal plan"][:, 1] - 1e-9).all()
    assert axes.get_title() == "title"


def test_a_text_is_measured_in_pieces_as_the_library_measures(model):
    losses = step_losses_of_text(model, TOKENIZER, TEXT, seed=2)
    ids = TOKENIZER(TEXT, return_tensors="pt").input_ids[:, : PIECES * 24].view(PIECES, 24)
    expected = measure_step_losses(model, ids, generator=torch.Generator().manual_seed(2))
    assert losses.sequence_nats.equal(expected.sequence_nats)
    assert step_losses_of_text(model, TOKENIZER, "the fox").sequence_nats.shape == (1, 7)


def test_a_blank_text_is_four_texts_of_the_model_s_own(model):
    losses = step_losses_of_text(model, TOKENIZER, "  \n")
    masks = torch.full((PIECES, 24), TOKENIZER.mask_token_id)
    own = model.generate(masks, seed=0)
    expected = measure_step_losses(model, own, generator=torch.Generator().manual_seed(0))
    assert losses.sequence_nats.equal(expected.sequence_nats) and WINDOW > 24


@pytest.mark.parametrize(("text", "named"), [("t", "has 1 tokens"), ("a [MASK] b", "mask")])
def test_what_cannot_be_measured_is_refused(model, text, named):
    with pytest.raises(ValueError, match=named):
        step_losses_of_text(model, TOKENIZER, text)


def test_a_figure_says_on_what_it_was_measured(model):
    (axes,) = costs_of_text(model, TOKENIZER, TEXT).axes
    assert axes.get_title() == "measured on 4 x 24 tokens of your text"
    (axes,) = costs_of_text(model, TOKENIZER, "").axes
    assert axes.get_title() == "measured on 4 x 24 tokens of texts of the model's own"


def test_what_was_saved_with_the_model_is_shown(model):
    assert saved_costs(model) is None
    model.generation_config.per_step_losses = [3.0, 2.0, 1.0]
    assert saved_step_losses(model).sequence_nats.tolist() == [[3.0, 2.0, 1.0]]
    (axes,) = saved_costs(model).axes
    assert axes.get_title() == "sequences of 3 tokens, as measured by plan_steps.py"


@pytest.mark.parametrize("text", ["", "The statement is executed, and so on."])
def test_what_a_foreign_model_sets_around_a_text_costs_nothing(tmp_path, text):
    write_bert(tmp_path / "bert", max_length=12)
    adopted = ardm.adopt(str(tmp_path / "bert"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "bert")
    losses = step_losses_of_text(adopted, tokenizer, text)
    assert losses.sequence_nats.shape == (37 // 10 if text else PIECES, 10)
    if text:
        rows = tokenizer([text[start : start + 10] for start in (0, 10, 20)], return_tensors="pt")
        generator = torch.Generator().manual_seed(0)
        expected = measure_step_losses(adopted, rows.input_ids, generator=generator)
        assert losses.sequence_nats.equal(expected.sequence_nats)


def test_positions_that_are_counted_behind_a_padding_row_are_fewer():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = RobertaConfig(
        vocab_size=len(TOKENIZER),
        mask_token_id=TOKENIZER.mask_token_id,
        pad_token_id=TOKENIZER.pad_token_id,
        bos_token_id=None,
        eos_token_id=None,
        intermediate_size=8,
        max_position_embeddings=TOKENIZER.pad_token_id + 1 + 12,
        **sizes,
    )
    adopted = ardm.adopt(RobertaForMaskedLM(config), TOKENIZER)
    assert step_losses_of_text(adopted, TOKENIZER, TEXT).sequence_nats.shape == (PIECES, 12)


@pytest.mark.parametrize("order", ["stagewise", "interleaved"])
def test_models_with_stages_have_their_costs(order):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    stages = {"num_stages": 2, "branching_factor": 8, "stage_order": order}
    ids = {"mask_token_id": TOKENIZER.mask_token_id, "pad_token_id": TOKENIZER.pad_token_id}
    config = ardm.ARDMConfig(
        vocab_size=len(TOKENIZER), **ids, **sizes, **stages, max_position_embeddings=12
    )
    model = ardm.ARDMForMaskedLM(config).eval()
    (axes,) = costs_of_text(model, TOKENIZER, TEXT).axes
    steps = axes.get_lines()[0].get_xdata()
    assert list(steps) == [2, 4, 8, 16, 24]
    model.generation_config.per_step_losses = measure_step_losses(
        model, TOKENIZER(TEXT, return_tensors="pt").input_ids[:, :12]
    ).for_plans.tolist()
    assert (saved_costs(model) is None) == (order == "interleaved")
