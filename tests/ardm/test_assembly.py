"""From settings to objects: names become callables, and a call that is refused has no effect."""

import pytest
import torch

from ardm import ARDMGenerationConfig
from ardm.assembly import assemble, make_draw, make_selection
from ardm.draws import most_likely
from ardm.orders import LOGIT_ORDERS, QUEUE_ORDERS
from ardm.ranking import TIE

MASK = 3


def settings(**changes):
    defaults = ARDMGenerationConfig._get_default_generation_params()
    return ARDMGenerationConfig(**defaults | changes)


def callable_order(logits, masked, generator):
    return torch.rand(masked.shape, generator=generator)


@pytest.mark.parametrize("name", LOGIT_ORDERS)
def test_an_order_by_logits_is_a_selection_by_its_scores(name):
    logits = torch.randn(2, 5, 4)
    selection = make_selection(settings(order=name, order_temperature=0.5), None)
    is_open = torch.ones(2, 5, dtype=torch.bool)
    assert torch.equal(selection.order.score(logits, is_open), LOGIT_ORDERS[name](logits))
    assert selection.order.tie == TIE and selection.noise == 0.5
    assert not selection.whole_rows and selection.amount is None


@pytest.mark.parametrize("order", [*QUEUE_ORDERS, torch.arange(4)])
def test_an_order_without_logits_needs_a_selection_only_to_take_more(order):
    assert make_selection(settings(order=order), None) is None
    for amount in ({"threshold": 0.5}, {"entropy_bound": 1.0}):
        selection = make_selection(settings(order=order, **amount), None)
        assert selection.order is None and selection.amount is not None


def test_a_callable_order_sees_whole_rows_and_has_the_calls_randomness():
    logits, is_open = torch.zeros(2, 5, 4), torch.ones(2, 5, dtype=torch.bool)

    def scores(generator=None, **changes):
        selection = make_selection(settings(order=callable_order, **changes), generator)
        assert selection.whole_rows and selection.order.tie is None
        return selection.order.score(logits, is_open)

    def seeded():
        return torch.Generator().manual_seed(7)

    expected = torch.rand(2, 5, generator=seeded())
    assert torch.equal(scores(seed=7), expected)
    assert torch.equal(scores(seed=[7, 8]), expected)
    assert torch.equal(scores(seeded(), seed=1), expected)
    torch.manual_seed(7)
    assert torch.equal(scores(), expected)


def test_without_sampling_the_likeliest_token_is_drawn():
    assert make_draw(settings(do_sample=False, temperature=0.5, top_k=1)) is most_likely
    logits = torch.tensor([[[0.0, 2.0, -1.0]]])
    uniforms = torch.tensor([[0.999]], dtype=torch.float64)
    assert make_draw(settings(top_k=1))(logits, uniforms)[0] == 1
    assert make_draw(settings())(logits, uniforms)[0] == 2


class Recorder:
    """A streamer that keeps what it is shown."""

    def __init__(self):
        self.values = []

    def put(self, value):
        self.values.append(value)

    def end(self):
        raise AssertionError("ended without a beginning")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan": [1]}, "plan sums to 1"),
        ({"resample_steps": 2, "steps": 2}, "expected more steps"),
        ({"eos_token_id": 9}, "eos_token_id is 9"),
    ],
)
def test_a_call_that_is_refused_shows_nothing(tiny_model, changes, message):
    streamer = Recorder()
    ids = torch.full((1, 4), MASK)
    with pytest.raises(ValueError, match=message):
        assemble(tiny_model(), ids, None, settings(**changes), streamer=streamer)
    assert not streamer.values


def test_nothing_is_made_that_the_settings_do_not_ask_for(tiny_model):
    decoding = assemble(tiny_model(), torch.full((2, 4), MASK), None, settings())
    optional = ("selection", "resampling", "logits_processing", "stopping", "streaming", "history")
    assert all(getattr(decoding, name) is None for name in optional)
    assert decoding.passes.widths == [1] * 4
