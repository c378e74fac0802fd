"""The laws of the loop: what it draws, by enumeration, whatever order, amount and resampling."""

import functools
import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ardm import ARDMGenerationConfig, ARDMGenerationMixin

from .rows import MASK, full, masks

SAMPLES = 8000


# ----------------------------------------------------------------- the law of a policy, written out
def known_log_probs(exact, state):
    """Log-probabilities (L, K) of the data symbols in a state (tuple)."""
    base = exact.mask + 1
    return exact.table[sum(token * base**power for power, token in enumerate(reversed(state)))][
        :, : exact.mask
    ]


def law(exact, policy, start=None):
    """Distribution over `exact.sequences` when a policy says which positions are filled next.

    `policy(state, log_probs)` returns [(positions, probability), ...]; the filled tokens are
    independent given the state.
    """
    states = {start or (exact.mask,) * exact.length: 1.0}
    done: dict[tuple, float] = {}
    while states:
        following: dict[tuple, float] = {}
        for state, weight in states.items():
            log_probs = known_log_probs(exact, state)
            for positions, chance in policy(state, log_probs):
                for tokens in itertools.product(range(exact.mask), repeat=len(positions)):
                    new, chance_here = list(state), weight * chance
                    for position, token in zip(positions, tokens, strict=True):
                        new[position] = token
                        chance_here *= float(log_probs[position, token].exp())
                    target = following if exact.mask in new else done
                    target[tuple(new)] = target.get(tuple(new), 0.0) + chance_here
        states = following
    return torch.tensor(
        [done.get(tuple(row.tolist()), 0.0) for row in exact.sequences], dtype=torch.float64
    )


def hidden(state, block=None):
    positions = [position for position, token in enumerate(state) if token == MASK]
    return (
        positions
        if block is None
        else [p for p in positions if p // block == positions[0] // block]
    )


SCORES = {
    "confidence": lambda log_probs: log_probs.amax(-1),
    "margin": lambda log_probs: log_probs.exp().sort(-1).values[:, -2:].diff(dim=1)[:, 0],
    "entropy": lambda log_probs: (log_probs.exp() * log_probs).sum(-1),
}


def ranked(name, state, log_probs, block=None):
    scores = SCORES[name](log_probs)
    return sorted(hidden(state, block), key=lambda position: -float(scores[position]))


def greedy(name, size=1, block=None):
    return lambda state, log_probs: [(ranked(name, state, log_probs, block)[:size], 1.0)]


def noisy(name, temperature):
    def policy(state, log_probs):
        positions = hidden(state)
        chances = (SCORES[name](log_probs)[positions] / temperature).softmax(0)
        return [
            ([position], float(chance)) for position, chance in zip(positions, chances, strict=True)
        ]

    return policy


def confident(threshold):
    def policy(state, log_probs):
        first = ranked("confidence", state, log_probs)
        sure = [position for position in first if log_probs[position].amax().exp() >= threshold]
        return [(sure or first[:1], 1.0)]

    return policy


def entropy_bounded(bound):
    def policy(state, log_probs):
        first = ranked("entropy", state, log_probs)
        nats = [-float((log_probs[p].exp() * log_probs[p]).sum()) for p in first]
        count = max(n for n in range(1, len(first) + 1) if sum(nats[:n]) - max(nats[:n]) <= bound)
        return [(first[:count], 1.0)]

    return policy


def random_inside(block, size=1):
    def policy(state, log_probs):
        groups = list(
            itertools.combinations(hidden(state, block), min(size, len(hidden(state, block))))
        )
        return [(group, 1 / len(groups)) for group in groups]

    return policy


def last_hidden_first(logits, masked, generator):
    return torch.arange(masked.shape[1]).expand_as(masked)


POLICIES = {
    "confidence": ({"order": "confidence"}, greedy("confidence")),
    "margin": ({"order": "margin"}, greedy("margin")),
    "entropy": ({"order": "entropy"}, greedy("entropy")),
    "two most confident": ({"order": "confidence", "tokens_per_step": 2}, greedy("confidence", 2)),
    "confidence, noise": (
        {"order": "confidence", "order_temperature": 0.3},
        noisy("confidence", 0.3),
    ),
    "entropy, noise": ({"order": "entropy", "order_temperature": 1.0}, noisy("entropy", 1.0)),
    "threshold": ({"order": "confidence", "threshold": 0.6}, confident(0.6)),
    "entropy bound": ({"order": "entropy", "entropy_bound": 0.8}, entropy_bounded(0.8)),
    "blocks": ({"block_length": 2}, random_inside(2)),
    "blocks at once": ({"block_length": 2, "tokens_per_step": 2}, random_inside(2, 2)),
    "blocks, confidence": ({"block_length": 2, "order": "confidence"}, greedy("confidence", 1, 2)),
    "callable": (
        {"order": last_hidden_first},
        lambda state, log_probs: [(hidden(state)[-1:], 1.0)],
    ),
}


@pytest.fixture(scope="module")
def laws(exact):
    """(length, policy) -> its law, worked out once."""
    return functools.cache(lambda length, name: law(exact[length], POLICIES[name][1]))


@pytest.mark.parametrize("name", POLICIES)
def test_samples_follow_the_law_of_their_policy(plain, exact, laws, name):
    settings, _ = POLICIES[name]
    for length in (3, 4):
        probs = laws(length, name)
        torch.testing.assert_close(probs.sum(), torch.tensor(1.0, dtype=torch.float64))
        samples = plain.generate(masks(SAMPLES, length), seed=1, **settings)
        assert exact[length].p_value(samples, probs) > 1e-3
        for other in POLICIES:  # the test can tell
            other_probs = laws(length, other)
            if (other_probs / probs).log().abs().amax() > 0.5:
                assert exact[length].p_value(samples, other_probs) < 1e-4, other


@pytest.mark.parametrize("name", ["confidence", "threshold", "blocks"])
def test_infilling_follows_the_same_law(plain, exact, name):
    settings, policy = POLICIES[name]
    start = (MASK, 1, MASK, MASK)
    if name == "blocks":  # blocks are of masks, wherever they lie: positions 0 and 2, then 3

        def policy(state, log_probs):
            open_now = [p for p in (0, 2) if state[p] == MASK] or [3]
            return [([position], 1 / len(open_now)) for position in open_now]

    samples = plain.generate(torch.tensor([start] * SAMPLES), seed=2, **settings)
    assert exact[4].p_value(samples, law(exact[4], policy, start)) > 1e-3


# --------------------------------------------------------------------------------------- resampling
class TableModel(ARDMGenerationMixin, nn.Module):
    """A model whose conditionals are those of a joint distribution (K, ..., K), exactly."""

    generation_config_class = ARDMGenerationConfig

    def __init__(self, joint):
        super().__init__()
        self.joint = joint
        symbols, length = joint.shape[0], joint.ndim
        self.config = SimpleNamespace(
            vocab_size=symbols + 1,
            mask_token_id=symbols,
            pad_token_id=None,
            max_position_embeddings=length,
        )
        self.device = torch.device("cpu")
        self.generation_config = ARDMGenerationConfig(mask_token_id=symbols)
        states = itertools.product(range(symbols + 1), repeat=length)
        table = torch.full((len(list(states)), length, symbols + 1), -torch.inf)
        for number, state in enumerate(itertools.product(range(symbols + 1), repeat=length)):
            index = tuple(slice(None) if token == symbols else token for token in state)
            known = joint[index]  # the hidden dimensions are left
            for axis, position in enumerate(p for p, token in enumerate(state) if token == symbols):
                others = tuple(a for a in range(known.ndim) if a != axis)
                table[number, position, :symbols] = (
                    (known.sum(others) if others else known).log().float()
                )
            for position in (p for p, token in enumerate(state) if token != symbols):
                table[number, position, :symbols] = 0.0  # not asked for
        self.table = table

    def forward(self, input_ids, attention_mask=None, logits_positions=None):
        base = self.config.vocab_size
        powers = base ** torch.arange(input_ids.shape[1]).flip(0)
        logits = self.table[(input_ids * powers).sum(1)]
        if logits_positions is not None:
            logits = logits.gather(1, logits_positions[..., None].expand(-1, -1, base))
        return SimpleNamespace(logits=logits)


@pytest.fixture(scope="module")
def joint():
    generator = torch.Generator().manual_seed(5)
    table = torch.randn(3, 3, 3, generator=generator, dtype=torch.float64).mul(1.2).exp()
    return table / table.sum()


def gibbs_kernel(joint):
    """Random-scan Gibbs: one uniformly chosen position is drawn from its conditional."""
    cells = list(itertools.product(range(3), repeat=3))
    kernel = torch.zeros(27, 27, dtype=torch.float64)
    for row, cell in enumerate(cells):
        for position in range(3):
            index = tuple(slice(None) if p == position else cell[p] for p in range(3))
            for token, chance in enumerate(joint[index] / joint[index].sum()):
                new = list(cell)
                new[position] = token
                kernel[row, cells.index(tuple(new))] += chance / 3
    return kernel


def chi_square(joint, enumeration, samples, probs):
    exact = enumeration.__new__(enumeration)
    exact.length, exact.mask = 3, 3
    return exact.p_value(samples, probs)


def test_gibbs_resampling_is_the_gibbs_kernel_and_leaves_the_joint_distribution(joint, enumeration):
    model, kernel = TableModel(joint), gibbs_kernel(joint)
    flat = joint.flatten()
    torch.testing.assert_close(flat @ kernel, flat)
    # one at a time the model draws from the joint distribution, and resampling changes nothing
    for steps in (0, 1, 5):
        samples = model.generate(
            masks(SAMPLES, 3), resample_steps=steps, resample_fraction=0.01, seed=3
        )
        assert chi_square(joint, enumeration, samples, flat) > 1e-3, steps
    # all at once it draws from the product of the marginals, and each pass is one step of the chain
    marginals = [joint.sum(tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    product = torch.einsum("a,b,c->abc", *marginals).flatten()
    for steps in (0, 1, 2, 6):
        settings = {"tokens_per_step": 3, "resample_steps": steps, "resample_fraction": 0.01}
        samples = model.generate(masks(SAMPLES, 3), seed=4, **settings)
        assert (
            chi_square(joint, enumeration, samples, product @ kernel.matrix_power(steps)) > 1e-3
        ), steps
        if steps < 2:
            assert chi_square(joint, enumeration, samples, flat) < 1e-6


@pytest.mark.parametrize("order", ["remdm_cap", "remdm_rescale"])
def test_one_token_at_a_time_remdm_leaves_the_joint_distribution(joint, enumeration, order):
    settings = {"resample_steps": 3, "resample_order": order, "resample_fraction": 0.01}
    out = full(TableModel(joint), masks(SAMPLES, 3), seed=5, **settings)
    assert out.num_forward_passes == 6
    assert chi_square(joint, enumeration, out.sequences, joint.flatten()) > 1e-3


def test_what_remdm_sends_back_has_no_earlier_turn_than_what_is_still_hidden(tiny_model):
    model = tiny_model(max_position_embeddings=100)
    settings = {
        "plan": [50, 50],
        "resample_steps": 1,
        "resample_order": "remdm_cap",
        "resample_fraction": 0.1,
    }
    out = full(model, masks(400, 100), seed=1, output_history=True, **settings)
    first, second, _ = out.history
    assert ((second != MASK).sum(1) == 50).all()
    # of the 5 sent back; 5 of 55 are drawn
    redrawn = ((first != MASK) & (out.order == 1)).sum(1).double()
    assert abs(float(redrawn.mean()) - 25 / 55) < 4 * float(redrawn.std()) / 20


def test_all_sent_back_is_a_new_independent_draw(plain, exact):
    settings = {"resample_steps": 1, "resample_fraction": 1.0}
    samples = plain.generate(masks(SAMPLES, 3), seed=6, **settings)
    assert exact[3].p_value(samples, exact[3].log_prob(range(3), [3]).exp()) > 1e-3


def test_the_passes_count(plain):
    ids = masks(2, 8)
    for settings, passes in (
        ({"resample_steps": 3}, 11),
        ({"resample_steps": 3, "resample_order": "remdm_conf"}, 11),
        ({"resample_steps": 3, "steps": 7}, 7),
        ({"resample_steps": 3, "steps": 7, "resample_order": "remdm_cap"}, 7),
        ({"resample_steps": 1, "tokens_per_step": 8}, 2),
        ({"steps": 5}, 5),
        ({"steps": 5, "block_length": 3}, 5),
        ({"plan": [3, 3, 2]}, 3),
        ({"plan": [3, 3, 2], "block_length": 6}, 3),
        ({"block_length": 3, "tokens_per_step": 2}, 5),
    ):
        out = full(plain, ids, output_history=True, **settings)
        assert out.num_forward_passes == passes == len(out.history), settings
        assert torch.equal(out.history[-1], out.sequences)
        assert out.tokens_per_forward == pytest.approx(8 / passes)


def test_a_resampled_token_carries_its_last_step_and_probability(plain):
    before = full(plain, masks(1, 8), seed=1, output_history=True)
    after = full(plain, masks(1, 8), seed=1, resample_steps=1, resample_fraction=0.25)
    again = after.order[0] == 8
    assert again.sum() == 2
    assert torch.equal(after.order[0][~again], before.order[0][~again])
    assert torch.equal(after.sequences[0][~again], before.sequences[0][~again])
    hidden_again = before.sequences.masked_fill(again, MASK)
    expected = (
        plain(hidden_again)
        .logits.double()
        .log_softmax(-1)
        .gather(-1, after.sequences[..., None])[..., 0]
    )
    torch.testing.assert_close(after.log_probs[0][again], expected[0][again], rtol=0, atol=1e-6)
