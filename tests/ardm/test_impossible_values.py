"""Values of probability 0 are scored as such with stages, too; what cannot be is refused."""

from types import SimpleNamespace

import pytest
import torch
from transformers import PrefixConstrainedLogitsProcessor

from ardm import ARDMConfig, ARDMForMaskedLM, log_prob, nelbo

LOGITS = torch.tensor([0.3, 0.7, -torch.inf, -torch.inf, -torch.inf])
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


class TwoOfFour:
    """Gives two of four values a probability, whatever stands around."""

    def __init__(self, **stages):
        self.config = SimpleNamespace(vocab_size=5, mask_token_id=4, **stages)

    def __call__(self, input_ids, attention_mask=None, logits_positions=None):
        logits = LOGITS.expand(*input_ids.shape, 5)
        if logits_positions is None:
            return SimpleNamespace(logits=logits)
        if logits_positions.dtype == torch.bool:
            return SimpleNamespace(logits=logits[logits_positions])
        index = logits_positions[..., None].expand(-1, -1, 5)
        return SimpleNamespace(logits=logits.gather(1, index))


@pytest.mark.parametrize(
    "stages",
    [
        {},
        {"num_stages": 2, "branching_factor": 2},
        {"num_stages": 2, "branching_factor": 2, "stage_order": "interleaved"},
        {"num_stages": 3, "branching_factor": 2},
    ],
)
def test_what_cannot_be_has_probability_zero_and_the_rest_sums_to_one(stages):
    ids = torch.arange(4)[:, None]
    found = log_prob(TwoOfFour(**stages), ids, torch.tensor([0])).exp()
    torch.testing.assert_close(found[:2], LOGITS[:2].double().softmax(0), rtol=1e-6, atol=0)
    assert found[2:].tolist() == [0, 0]
    bound = nelbo(TwoOfFour(**stages), ids, num_samples="all").nats
    assert bound[:2].isfinite().all() and (bound[2:] == torch.inf).all()


def staged(**settings):
    torch.manual_seed(0)
    digits = {"num_stages": 2, "branching_factor": 3}
    return ARDMForMaskedLM(ARDMConfig(vocab_size=9, mask_token_id=8, **digits, **SIZES, **settings))


def test_a_label_that_a_position_cannot_become_is_refused():
    model = staged()
    canvas = torch.tensor([[9, 9, 8]])  # below the first coarse value: 0, 1, 2
    assert model(canvas, labels=torch.tensor([[0, 2, 7]])).loss.isfinite()
    with pytest.raises(ValueError, match="labels hold 3 at a position whose coarse value"):
        model(canvas, labels=torch.tensor([[0, 3, 7]]))
    # outside the positions that count anything may stand
    counted = torch.tensor([[True, False, True]])
    labels = torch.tensor([[0, 3, 7]])
    assert model(canvas, labels=labels, logits_positions=counted).loss.isfinite()


def test_a_loss_of_the_callers_own_is_refused():
    with pytest.raises(ValueError, match="num_items_in_batch comes without labels"):
        staged()(torch.tensor([[8, 8]]), num_items_in_batch=2)


def test_processors_that_read_what_is_left_of_a_token_are_refused():
    processor = PrefixConstrainedLogitsProcessor(lambda row, text: [0, 1], 1)
    with pytest.raises(ValueError, match="needs the text left of each position"):
        staged().generate(max_new_tokens=3, order="left_to_right", logits_processor=[processor])


def test_an_empty_sequence_has_an_empty_path():
    found = log_prob(staged(), torch.empty(2, 0).long(), torch.arange(0))
    assert found.tolist() == [0, 0]


@pytest.mark.parametrize(
    "settings", [{"num_stages": 2, "branching_factor": 2}, {"value_tree": [[]]}]
)
def test_a_vocabulary_without_values_is_refused(settings):
    with pytest.raises(ValueError, match="special ids alone"):
        ARDMConfig(vocab_size=1, mask_token_id=0, **settings)
