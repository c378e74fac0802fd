"""Guidance: the formula, its ends, and through generate the path by brute force."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ardm import ARDMForMaskedLM
from ardm.guidance import guided

MASK, PAD = 3, 4
IDS = torch.tensor([[PAD, 0, MASK, MASK, 1, MASK], [MASK, 2, MASK, PAD, PAD, PAD], [MASK] * 6])


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)


class Table:
    """A network that looks up a row's logits by its ids, and keeps what it was asked."""

    def __init__(self, length):
        self.calls, self.logits = [], torch.randn(5**length, length, 5)
        self.logits[..., MASK:] = -torch.inf
        self.powers = 5 ** torch.arange(length)

    def __call__(self, ids, positions):
        self.calls.append((ids.clone(), positions))
        logits = self.logits[(ids * self.powers).sum(1)]
        return (
            logits
            if positions is None
            else logits.gather(1, positions[..., None].expand(-1, -1, 5))
        )


@settings(max_examples=60)
@given(
    st.integers(0, 3), st.integers(1, 4), st.integers(0, 4), st.floats(0, 5), st.integers(0, 2**31)
)
def test_the_formula(batch, length, width, scale, seed):
    torch.manual_seed(seed)
    network, prompt = Table(length), torch.rand(batch, length) < 0.5
    ids = torch.where(
        prompt | (torch.rand(batch, length) < 0.5), torch.randint(0, MASK, (batch, length)), MASK
    )
    positions = torch.randint(0, length, (batch, width)) if width else None
    logits = guided(network, prompt, MASK, scale)(ids, positions)
    ((both, asked),) = network.calls
    masked = torch.where(prompt, MASK, ids)  # only the prompt: what has been generated stays
    assert torch.equal(both, torch.cat((ids, masked)))
    assert positions is None or torch.equal(asked, torch.cat((positions, positions)))
    with_prompt, without = network(ids, positions).double(), network(masked, positions).double()
    expected = without + scale * (with_prompt - without)
    assert not logits.isnan().any()
    assert (logits[..., MASK:] == -torch.inf).all()
    torch.testing.assert_close(
        logits[..., :MASK].double(), expected[..., :MASK], rtol=1e-5, atol=1e-5
    )


def test_scale_0_is_without_the_prompt_and_scale_1_with_it():
    network, prompt = Table(4), torch.tensor([[True, False, False, False]])
    ids = torch.tensor([[1, MASK, 2, MASK]])
    torch.testing.assert_close(guided(network, prompt, MASK, 1.0)(ids, None), network(ids, None))
    without = torch.tensor([[MASK, MASK, 2, MASK]])
    torch.testing.assert_close(
        guided(network, prompt, MASK, 0.0)(ids, None), network(without, None)
    )


@torch.no_grad()
def guided_log_probs(model, row, hidden, prompt, scale):
    """(L, V) of one row without padding, by definition in float64."""
    state = torch.where(hidden, MASK, row)
    with_prompt = model(state[None]).logits[0].double()
    without = model(torch.where(prompt, MASK, state)[None]).logits[0].double()
    possible = with_prompt > -torch.inf
    logits = torch.full_like(with_prompt, -torch.inf)
    logits[possible] = scale * with_prompt[possible] + (1 - scale) * without[possible]
    return logits.log_softmax(-1)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.5])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"order": "confidence"},
        {"tokens_per_step": 2},
        {"max_new_tokens": 2, "order": "left_to_right"},
        {"resample_steps": 1, "resample_fraction": 0.01},
        {"block_length": 2, "order": "entropy"},
    ],
)
def test_the_path_has_the_guided_probabilities(model, scale, options):
    out = model.generate(IDS, guidance_scale=scale, seed=2, return_dict_in_generate=True, **options)
    for sequence, order, log_probs in zip(out.sequences, out.order, out.log_probs, strict=True):
        real = sequence != PAD
        sequence, order, log_probs = sequence[real], order[real], log_probs[real]
        prompt = order < 0
        for step in order.unique().tolist():
            now = order == step
            if step < 0 or (options.get("resample_steps") and step < order.max()):
                continue  # of a token drawn before the last resampling the state then is not known
            hidden = now if options.get("resample_steps") else order >= step
            expected = guided_log_probs(model, sequence, hidden, prompt, scale)
            drawn = expected[now].gather(1, sequence[now, None])[:, 0]
            torch.testing.assert_close(log_probs[now], drawn, rtol=0, atol=1e-5)
            if options.get("order") == "confidence":  # the order looks at the guided logits
                assert expected.amax(-1).masked_fill(~hidden, -torch.inf).argmax() == int(
                    now.nonzero()
                )
    assert (
        torch.equal(out.sequences[:, : IDS.shape[1]][IDS < MASK], IDS[IDS < MASK])
        or "max_new_tokens" in options
    )


def test_guidance_moves_towards_what_the_prompt_makes_likely(model):
    """One mask behind a prompt: the distribution itself."""
    ids = torch.tensor([[0, 1, MASK]])
    prompt = ids != MASK
    for scale in (0.0, 1.0, 4.0):
        out = model.generate(ids, guidance_scale=scale, num_return_sequences=3000, seed=1)
        probs = guided_log_probs(model, ids[0], ~prompt[0], prompt[0], scale)[2].exp()
        observed = out[:, 2].bincount(minlength=5) / 3000
        torch.testing.assert_close(observed.double(), probs, rtol=0, atol=0.04)


@pytest.mark.parametrize(
    ("ids", "options", "rows"),
    [
        (IDS, {"guidance_scale": 2.0}, 6),
        (IDS, {"guidance_scale": 0.0}, 6),
        (IDS, {"guidance_scale": 1.0}, 3),
        (IDS, {"guidance_scale": 1}, 3),
        (IDS, {}, 3),
        (torch.full((3, 6), MASK), {"guidance_scale": 2.0}, 3),  # no prompt
        (torch.tensor([[MASK, MASK, PAD]]), {"guidance_scale": 2.0}, 1),
        (None, {"guidance_scale": 2.0, "max_new_tokens": 3}, 1),
        (IDS, {"guidance_scale": 2.0, "order": "confidence", "num_return_sequences": 2}, 12),
    ],
)
def test_rows_of_the_network_are_doubled_only_where_it_matters(
    model, monkeypatch, ids, options, rows
):
    asked = []
    forward = ARDMForMaskedLM.forward

    def spy(self, input_ids=None, attention_mask=None, **kwargs):
        asked.append(len(input_ids))
        assert attention_mask is None or attention_mask.shape == input_ids.shape
        return forward(self, input_ids, attention_mask, **kwargs)

    monkeypatch.setattr(ARDMForMaskedLM, "forward", spy)
    out = model.generate(ids, return_dict_in_generate=True, seed=1, **options)
    assert asked == [rows] * out.num_forward_passes
    if rows in (1, 3):  # nothing to guide by: the plain result
        plain = model.generate(
            ids, seed=1, **{name: v for name, v in options.items() if name != "guidance_scale"}
        )
        assert torch.equal(out.sequences, plain)


def test_a_rows_guidance_does_not_depend_on_its_neighbours(model):
    settings = {"guidance_scale": 3.0, "order": "margin", "return_dict_in_generate": True}
    together = model.generate(IDS, seed=[1, 2, 3], **settings)
    for row in range(3):
        alone = model.generate(IDS[row : row + 1, IDS[row] != PAD], seed=row + 1, **settings)
        assert torch.equal(alone.sequences[0], together.sequences[row, IDS[row] != PAD])
        torch.testing.assert_close(
            alone.log_probs[0], together.log_probs[row, IDS[row] != PAD], rtol=0, atol=1e-5
        )
