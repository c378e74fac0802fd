"""The NELBO of models whose truth is known: a Markov chain, and one trained on repeated symbols."""

import math
import types

import pytest
import torch

from ardm import ARDMConfig, ARDMForMaskedLM, log_prob, nelbo, random_ratio_mask
from ardm.layers_ardm import select_positions
from ardm.reveals import mean_cross_entropy


class MarkovModel:
    """The exact conditionals of a stationary Markov chain given any known positions."""

    def __init__(self, transition):
        self.transition, states = transition, len(transition)
        self.stationary = torch.linalg.matrix_power(transition, 500)[0]
        self.config = types.SimpleNamespace(
            vocab_size=states + 1, mask_token_id=states, pad_token_id=None
        )

    def __call__(self, input_ids, attention_mask=None, logits_positions=None):
        num_rows, length = input_ids.shape
        states = len(self.transition)
        evidence = torch.ones(num_rows, length, states, dtype=torch.float64)
        known = input_ids < states
        evidence[known] = torch.eye(states, dtype=torch.float64)[input_ids[known]]
        forward, backward = torch.empty_like(evidence), torch.ones_like(evidence)
        forward[:, 0] = self.stationary
        for i in range(1, length):
            forward[:, i] = (forward[:, i - 1] * evidence[:, i - 1]) @ self.transition
            backward[:, -i - 1] = (backward[:, -i] * evidence[:, -i]) @ self.transition.T
        logits = torch.full((num_rows, length, states + 1), -torch.inf, dtype=torch.float64)
        logits[..., :-1] = (forward * backward).log()
        return types.SimpleNamespace(logits=select_positions(logits, logits_positions))

    def sample(self, num_rows, length):
        columns = [torch.multinomial(self.stationary, num_rows, replacement=True)]
        for _ in range(length - 1):
            columns.append(torch.multinomial(self.transition[columns[-1]], 1)[:, 0])
        return torch.stack(columns, 1)

    def entropy(self, length):
        """H(x_1) + (L - 1) H(x_2 | x_1), nats."""
        rows = -(self.transition * self.transition.log()).sum(1)
        first = -(self.stationary * self.stationary.log()).sum()
        return float(first + (length - 1) * (self.stationary * rows).sum())


def test_a_perfect_model_of_a_markov_chain_has_its_entropy():
    transition = torch.tensor(
        [[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.3, 0.05, 0.65]], dtype=torch.float64
    )
    model, length = MarkovModel(transition), 12
    ids = model.sample(1500, length)
    out = nelbo(model, ids, num_samples=8)
    error = out.nats.std() / math.sqrt(len(ids))
    assert abs(
        out.nats.mean() - model.entropy(length)
    ) < 4 * error and error < 0.01 * model.entropy(length)
    # in whatever order the chain rule gives the same -log p(x): there is no gap to the truth
    first, steps = model.stationary[ids[:, 0]], transition[ids[:, :-1], ids[:, 1:]]
    truth = -(first.log() + steps.log().sum(1))
    for order in ("left_to_right", torch.randperm(length), "confidence"):
        torch.testing.assert_close(-log_prob(model, ids[:50], order), truth[:50])
    noise = out.nats - truth
    assert abs(noise.mean()) < 4 * noise.std() / math.sqrt(len(ids))
    assert 0.9 < noise.std() / out.standard_error.square().mean().sqrt() < 1.1


@pytest.fixture(scope="module")
def trained():
    """Has learned rows of one repeated symbol out of 16: the first costs much, the rest little."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    model = ARDMForMaskedLM(
        ARDMConfig(vocab_size=17, mask_token_id=16, max_position_embeddings=8, **sizes)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(150):
        masked_ids, labels = random_ratio_mask(torch.randint(0, 16, (64, 1)).expand(-1, 8), 16)
        loss = mean_cross_entropy(model(masked_ids).logits, labels).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.mark.slow
@torch.no_grad()
def test_stratified_counts_have_a_twentieth_of_the_variance_on_a_trained_model(trained):
    """Of a batch's mean loss: the sequences are the same, counts and orders are new."""
    ids = torch.arange(16)[:, None].expand(-1, 8)
    means = {"stratified": [], "independent": []}
    for _ in range(150):
        for name, num_known in (("stratified", None), ("independent", torch.randint(0, 8, (16,)))):
            masked_ids, labels = random_ratio_mask(ids, 16, num_known=num_known)
            means[name].append(mean_cross_entropy(trained(masked_ids).logits, labels).mean())
    stratified, independent = (torch.stack(values).double() for values in means.values())
    assert stratified.var() <= independent.var() / 20
    assert abs(stratified.mean() - independent.mean()) < 4 * independent.std() / math.sqrt(150)
    # it has learned something: a fresh one has no variance at all
    assert independent.mean() < 0.75 * math.log(16)
