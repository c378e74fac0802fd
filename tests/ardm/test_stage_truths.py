"""What must be true of stages: no knowledge costs L log K, all of it the entropy, none is below."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from ardm import (
    ARDMConfig,
    ARDMForMaskedLM,
    log_prob,
    measure_step_losses,
    nelbo,
    per_step_losses,
)
from ardm.vocabulary import stages_of

from .staged import (
    ORDERS,
    PARAMETRIZATIONS,
    TREES,
    StagedEnumeration,
    close,
    generator,
    settings_of,
    take_all_orders,
)

# ------------------------------------------------------------------------------- what knows nothing
FULL = [
    {"vocab_size": 9, "mask_token_id": 8, "num_stages": 3, "branching_factor": 2},
    {"vocab_size": 17, "mask_token_id": 16, "num_stages": 2, "branching_factor": 4},
    {"vocab_size": 10, "mask_token_id": 9, "num_stages": 2, "branching_factor": 3},
    {"vocab_size": 10, "mask_token_id": 9, "value_tree": [[0, 1, 2] * 3]},
]


def fresh(**settings):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return ARDMForMaskedLM(ARDMConfig(intermediate_size=8, **sizes, **settings)).eval()


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@pytest.mark.parametrize("stage_order", ORDERS)
@pytest.mark.parametrize("settings", FULL)
def test_a_fresh_network_costs_the_logarithm_of_the_number_of_values(
    settings, stage_order, parametrization
):
    """All reveals of b^S values cost log b: whatever is drawn, L log K."""
    names = {"stage_order": stage_order, "parametrization": parametrization}
    model = fresh(**settings, **names)
    num_values = settings["vocab_size"] - 1
    ids = torch.randint(0, num_values, (5, 7))
    expected = torch.full((5,), 7 * math.log(num_values), dtype=torch.float64)
    for num_samples in (1, 6, "all"):
        out = nelbo(model, ids, num_samples=num_samples)
        close(out.nats, expected, 1e-6)
        close(out.bits_per_token, expected / 7 / math.log(2), 1e-6)
        assert num_samples == 1 or (out.standard_error < 1e-6).all()
    of_reveal = math.log(num_values) / model.stages.num_stages
    losses = per_step_losses(model, ids)
    close(losses, torch.full_like(losses, of_reveal), 1e-6)
    close(log_prob(model, ids, "confidence"), -expected, 1e-6)


@pytest.mark.parametrize("stage_order", ORDERS)
@pytest.mark.parametrize("tree", TREES)
def test_the_mass_of_leaves_is_uniform_over_them_in_any_tree(tree, stage_order):
    model = fresh(**settings_of(tree, stage_order))
    exact = StagedEnumeration(model, TREES[tree][1])
    order = torch.tensor(exact.arrangements()[-1])
    values = log_prob(model, exact.sequences, order)
    close(values, torch.full_like(values, -math.log(len(exact.sequences))), 1e-6)


# ------------------------------------------------------------------------------- what knows it all
def markov_chain(num_values, seed=0):
    """p(x_0) p(x_1 | x_0) p(x_2 | x_1), float64 (K, K, K)."""
    source = generator(seed)
    first = torch.randn(num_values, generator=source).double().mul(1.5).softmax(0)
    step = torch.randn(num_values, num_values, generator=source).double().mul(1.5).softmax(1)
    return torch.einsum("a,ab,bc->abc", first, step, step)


class PerfectModel:
    """Knows p(x_p | the values, coarse or fine, that the canvas holds), by enumeration.

    With noise on its logits it is another model, and worse.
    """

    def __init__(self, joint, noise=0.0, seed=0, **settings):
        num_values = len(joint)
        ids = {"vocab_size": num_values + 1, "mask_token_id": num_values}
        self.config = ARDMConfig(num_stages=2, branching_factor=2, **ids, **settings)
        self.stages = stages_of(self.config)
        self.nodes = self.stages.num_nodes
        below = torch.zeros(self.nodes, num_values, dtype=torch.float64)
        for value, level in itertools.product(range(num_values), range(3)):
            below[self.stages.coarsen(torch.tensor(value), level), value] = 1
        canvases = torch.tensor([*itertools.product(range(self.nodes), repeat=3)])
        weights = torch.einsum("abc,na,nb,nc->nabc", joint, *below[canvases].unbind(1))
        marginals = [weights.sum([a for a in (1, 2, 3) if a != axis]) for axis in (1, 2, 3)]
        logits = torch.stack(marginals, 1).log()
        logits = torch.cat((logits, torch.full_like(logits[..., :1], -torch.inf)), -1)
        if self.stages.direct:
            logits = self._of_children(logits)
        self.table = logits + noise * torch.randn(logits.shape, generator=generator(seed))

    def _of_children(self, logits):
        """The coarse digit's two logits, and the fine one's given what the canvas holds."""
        of_coarse = logits[..., :4].unflatten(-1, (2, 2)).logsumexp(-1)
        of_fine = logits[..., :4].unflatten(-1, (2, 2)).logsumexp(-2)
        return torch.cat((of_coarse, of_fine), -1)

    def __call__(self, input_ids, attention_mask=None, logits_positions=None):
        powers = self.nodes ** torch.arange(3).flip(0)
        logits = self.table[(input_ids * powers).sum(1)]
        if logits_positions is not None and logits_positions.dtype == torch.bool:
            logits = logits[logits_positions]
        elif logits_positions is not None:
            logits = logits.take_along_dim(logits_positions[..., None], 1)
        return SimpleNamespace(logits=logits)


ALL = torch.tensor([*itertools.product(range(4), repeat=3)])


@pytest.fixture(scope="module")
def joint():
    return markov_chain(4)


def bound_of(monkeypatch, model):
    """The exact bound of every sequence."""
    number = take_all_orders(monkeypatch, model.stages, 3)
    return nelbo(model, ALL, num_samples="all", num_orders=number, batch_size=9999).nats


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@pytest.mark.parametrize("stage_order", ORDERS)
def test_a_perfect_model_reaches_the_entropy(joint, monkeypatch, stage_order, parametrization):
    names = {"stage_order": stage_order, "parametrization": parametrization}
    model = PerfectModel(joint, **names)
    log_probs = joint.flatten().log()
    # whatever the order, the chain rule is that of the data
    orders = ([0, 1, 2, 2, 0, 1], [0, 0, 2, 1, 1, 2], [1, 2, 0, 0, 1, 2])
    for order in orders if stage_order == "interleaved" else orders[::2]:
        close(log_prob(model, ALL, torch.tensor(order)), log_probs, 1e-9)
    close(log_prob(model, ALL, "confidence"), log_probs, 1e-9)
    close(bound_of(monkeypatch, model), -log_probs, 1e-9)


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@pytest.mark.parametrize("stage_order", ORDERS)
def test_no_model_is_below_the_entropy(joint, monkeypatch, stage_order, parametrization):
    names = {"stage_order": stage_order, "parametrization": parametrization}
    entropy = -(joint * joint.log()).sum()
    for seed in range(3):
        bounds = []
        for noise in (0.01, 0.1, 1.0, 3.0):
            model = PerfectModel(joint, noise, seed, **names)
            bounds.append(float((joint.flatten() * bound_of(monkeypatch, model)).sum()))
        assert entropy < bounds[0] < entropy + 1e-3
        assert bounds == sorted(bounds) and bounds[-1] > entropy + 0.3


@pytest.mark.parametrize("stage_order", ORDERS)
def test_estimates_of_a_perfect_model_are_around_the_entropy(joint, stage_order):
    model = PerfectModel(joint, stage_order=stage_order)
    chosen = torch.multinomial(joint.flatten(), 4000, replacement=True, generator=generator(3))
    for num_samples in (2, 8):
        out = nelbo(model, ALL[chosen], num_samples=num_samples, generator=generator(4))
        surprise = out.nats + joint.flatten().log()[chosen]  # of mean 0, row by row
        assert abs(surprise.mean()) < 4 * surprise.std() / 4000**0.5


def test_a_stage_costs_the_entropy_of_what_it_tells(joint, monkeypatch):
    """Coarse values theirs, fine ones what is left of it."""
    model = PerfectModel(joint)
    number = take_all_orders(monkeypatch, model.stages, 3)
    losses = measure_step_losses(model, ALL, num_orders=number).sequence_nats
    of_stages = torch.einsum("n,nsl->s", joint.flatten(), losses)
    coarse = joint.unflatten(2, (2, 2)).unflatten(1, (2, 2)).unflatten(0, (2, 2)).sum((1, 3, 5))
    of_coarse = -(coarse * coarse.log()).sum()
    close(of_stages[0], of_coarse, 1e-9)
    close(of_stages[1], -(joint * joint.log()).sum() - of_coarse, 1e-9)
