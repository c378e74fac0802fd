"""Draws follow the distribution that temperature, top_k and such leave of the logits."""

import pytest
import torch
from scipy import stats

from ardm.draws import inverse_cdf, most_likely, sampling

from .rows import full

MASK = 3


def filtered(logits, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """Probabilities of one position by definition, in float64."""
    probs = (logits.double() / temperature).softmax(0)
    ranked = probs.sort(descending=True).values
    keep = torch.ones_like(probs, dtype=torch.bool)
    if top_k is not None:
        keep &= probs >= ranked[min(top_k, len(ranked)) - 1]
    if top_p is not None:  # the fewest tokens whose mass reaches top_p
        keep &= probs >= ranked[min((ranked.cumsum(0) < top_p).sum(), len(ranked) - 1)]
    if min_p is not None:
        keep &= probs >= min_p * ranked[0]
    return torch.where(keep, probs, 0.0) / probs[keep].sum()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 2},
        {"top_k": 99},
        {"top_p": 0.7},
        {"top_p": 1.0},
        {"min_p": 0.3},
        {"temperature": 1.5, "top_k": 3},
    ],
)
def test_filters_draw_from_the_filtered_distribution(tiny_model, settings):
    model = tiny_model(vocab_size=7, mask_token_id=6, scale=0.5)
    ids = torch.tensor([[0, 6, 2]])
    probs = filtered(model(ids).logits[0, 1].detach(), **settings)
    out = full(model, ids, num_return_sequences=6000, seed=3, **settings)
    observed = out.sequences[:, 1].bincount(minlength=7)
    assert observed[probs == 0].sum() == 0
    kept = probs > 0
    assert stats.chisquare(observed[kept], (probs * 6000)[kept]).pvalue > 1e-3
    torch.testing.assert_close(
        out.log_probs[:, 1], probs[out.sequences[:, 1]].log(), rtol=1e-5, atol=1e-5
    )


def test_inverse_cdf_never_draws_what_has_probability_zero():
    probs = torch.tensor(
        [[0, 0.5, 0, 0.5, 0], [1e-300, 0, 0, 1, 0], [0, 0, 0, 0, 3.0]], dtype=torch.float64
    )
    for uniform in (0.0, 0.3, 0.5, 0.75, 1 - 2**-52):
        drawn = inverse_cdf(probs, torch.full((3,), uniform, dtype=torch.float64))
        assert (probs.gather(1, drawn[:, None]) > 0).all()
        assert drawn.tolist() == [1 if uniform < 0.5 else 3, 0 if uniform == 0 else 3, 4]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 3)])
def test_a_draw_is_the_inverse_cdf_and_comes_with_its_log_probability(shape):
    logits = torch.randn(*shape, 6).mul(3)
    logits[..., 2] = -torch.inf
    uniforms = torch.rand(shape, dtype=torch.float64)
    log_probs = logits.double().log_softmax(-1)
    for draw, expected in (
        (sampling(), inverse_cdf(log_probs.exp(), uniforms)),
        (most_likely, logits.argmax(-1)),
    ):
        tokens, found = draw(logits, uniforms)
        assert tokens.shape == shape and torch.equal(tokens, expected)
        torch.testing.assert_close(found, log_probs.gather(-1, tokens[..., None])[..., 0])
