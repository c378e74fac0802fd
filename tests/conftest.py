"""Tiny random models, and their exact distributions: partly masked rows looked up in a table."""

import itertools
import os
import re

import hypothesis
import pytest
import torch

from .hub_stub import hub as hub

torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other

# one profile: no time limits, and in CI the same examples every time
hypothesis.settings.register_profile("laws", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("laws")


def pytest_make_parametrize_id(config, val, argname):
    """Functions by their names, not by their addresses: all workers must name a test alike."""
    if callable(val):
        return getattr(val, "__name__", None)
    if isinstance(val, (dict, list, tuple)):
        text = re.sub(r"<function (\S+) at 0x\w+>", r"\1", str(val))
        return None if re.search(r"<.*\w{8}", text) else text
    return None


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def data_cache(tmp_path_factory):
    """The tests of a file have a cache of data sets of their own."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="session")
def tiny_model():
    return _tiny_model


@pytest.fixture(scope="session")
def enumeration():
    return Enumeration


@torch.no_grad()
def _tiny_model(seed: int = 0, scale: float = 0.7, **changes):
    """All weights are drawn at random: a fresh model is uniform, and laws would hold trivially."""
    # here: not every process that starts tests needs it
    from ardm import ARDMConfig, ARDMForMaskedLM

    sizes = {
        "vocab_size": 4,  # 3 data symbols and the mask
        "mask_token_id": 3,
        "max_position_embeddings": 8,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    model = ARDMForMaskedLM(ARDMConfig(**(sizes | changes))).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.normal_(0, scale, generator=generator)
    return model


class Enumeration:
    """The exact distribution of a model whose data symbols are 0..K-1 and whose mask id is K."""

    @torch.no_grad()
    def __init__(self, model, length: int):
        self.length = length
        self.mask = model.config.mask_token_id
        self.sequences = torch.tensor(list(itertools.product(range(self.mask), repeat=length)))
        self.orders = [torch.tensor(order) for order in itertools.permutations(range(length))]
        states = torch.tensor(list(itertools.product(range(self.mask + 1), repeat=length)))
        self.table = model(states).logits.double().log_softmax(-1)

    def log_prob(self, order, plan=None, start=None, sequences=None):
        """log p(x | order, plan) of all or the given sequences, from the masks of `start`."""
        sequences = self.sequences if sequences is None else sequences
        start = torch.full((self.length,), self.mask) if start is None else start
        state = start.expand(len(sequences), -1).clone()
        log_prob = 0.0
        queue = [
            position for position in torch.as_tensor(order).tolist() if start[position] == self.mask
        ]
        for size in plan or [1] * len(queue):
            group = queue[:size]
            queue = queue[size:]
            known = self.table[
                (state * (self.mask + 1) ** torch.arange(self.length).flip(0)).sum(1)
            ]
            log_prob = log_prob + known[:, group].gather(2, sequences[:, group, None]).sum((1, 2))
            state[:, group] = sequences[:, group]
        assert not queue
        return log_prob

    def random_order_probs(self, plan=None):
        return torch.stack([self.log_prob(order, plan).exp() for order in self.orders]).mean(0)

    def p_value(self, samples, probs):
        """Of the chi-square test that samples follow the probabilities of `self.sequences`."""
        from scipy import stats

        index = (samples * self.mask ** torch.arange(self.length).flip(0)).sum(1)
        observed = torch.bincount(index, minlength=len(probs)).double()
        expected = probs * len(samples)
        assert observed[expected == 0].sum() == 0
        # pooled into one cell, as the chi-square distribution is that of large cells
        rare = expected < 5
        cells = [
            torch.cat((x[~rare], x[rare].sum()[None])) if rare.any() else x
            for x in (observed, expected)
        ]
        cells = [x[cells[1] > 0] for x in cells]
        return stats.chisquare(*[x.numpy() for x in cells]).pvalue
