"""Orthogonalised momentum: what it does to singular values, and which parameters get it."""

import copy
import math

import pytest
import torch
from torch import nn

from ardm.training.optim import MuonAdamW, muon_adamw, orthogonalise

# Measured over matrices whose singular values spread over up to three decades.
BANDS = {3: (0.09, 1.9), 5: (0.65, 1.15)}


def matrix_with(singular_values, rows, columns, dtype=torch.float64):
    """A random matrix U S V^T of the given singular values, and its polar factor U V^T."""
    rank = len(singular_values)
    left = torch.linalg.qr(torch.randn(rows, rank, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(columns, rank, dtype=torch.float64)).Q
    values = torch.as_tensor(singular_values, dtype=torch.float64)
    return (left * values @ right.T).to(dtype), (left @ right.T).to(dtype)


@pytest.mark.parametrize("num_steps", BANDS)
@pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 48)])
def test_singular_values_come_near_1(num_steps, shape):
    low, high = BANDS[num_steps]
    for spread in (1.0, 10.0, 100.0, 1000.0):
        matrix, _ = matrix_with(torch.logspace(0, -math.log10(spread), 16), *shape)
        values = torch.linalg.svdvals(orthogonalise(7.3 * matrix, num_steps))
        assert low <= values.min() and values.max() <= high, (spread, values)


def test_more_steps_come_nearer():
    matrix, polar = matrix_with(torch.logspace(0, -2, 16), 16, 32)
    errors = [(orthogonalise(matrix, num_steps) - polar).norm().item() for num_steps in range(1, 6)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("shape", [(12, 12), (30, 12), (12, 30)])
def test_singular_vectors_are_kept(shape):
    matrix, _ = matrix_with(torch.linspace(1, 0.1, 12), *shape)
    result = orthogonalise(matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.mT @ result @ right.mT
    assert torch.allclose(inner, inner.diagonal().diag(), atol=1e-9)
    assert (inner.diagonal() > 0).all()


def test_low_rank_stays_low_rank():
    matrix, _ = matrix_with([1.0, 0.5], 10, 8)
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert (values[:2] > 0.2).all() and (values[2:] < 1e-9).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 6), (6, 1)])
def test_batches_are_one_matrix_at_a_time(shape, dtype):
    batch = torch.randn(2, 3, *shape).to(dtype)
    result = orthogonalise(batch)
    assert result.shape == batch.shape and result.dtype == dtype
    singles = torch.stack([orthogonalise(matrix) for matrix in batch.flatten(0, 1)])
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-5
    singles = singles.unflatten(0, (2, 3)).double()
    torch.testing.assert_close(result.double(), singles, rtol=1e-5, atol=tolerance)


def test_zero_and_tiny_and_huge_matrices():
    assert torch.equal(orthogonalise(torch.zeros(2, 4, 3)), torch.zeros(2, 4, 3))
    matrix = torch.randn(6, 4)
    for scale in (1e-3, 1e6):
        assert torch.allclose(orthogonalise(scale * matrix), orthogonalise(matrix), atol=1e-3)


# -------------------------------------------------------------------------------- the optimiser
def quadratic(params, targets):
    return sum(((param - target) ** 2).sum() for param, target in zip(params, targets, strict=True))


def test_other_groups_are_adamw_exactly():
    kwargs = {"lr": 0.03, "betas": (0.8, 0.9), "eps": 1e-7, "weight_decay": 0.1}
    targets = [torch.randn(4, 3), torch.randn(5)]
    ours, theirs = ([nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(5))] for _ in range(2))
    muon = nn.Parameter(torch.randn(3, 3))
    optimizers = [
        MuonAdamW([{"params": [muon], "use_muon": True}, {"params": ours}], **kwargs),
        torch.optim.AdamW(theirs, fused=True, **kwargs),
    ]
    for _ in range(5):
        for optimizer, params in zip(optimizers, ([*ours, muon], theirs), strict=True):
            optimizer.zero_grad()
            quadratic(params, [*targets, torch.zeros(3, 3)][: len(params)]).backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("shape", [(4, 4), (9, 4), (4, 9)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_a_muon_step_is_the_formula(shape, weight_decay):
    lr = 0.1
    beta = 0.9
    params = [nn.Parameter(torch.randn(shape)) for _ in range(2)]
    expected = [param.detach().clone() for param in params]
    momenta = [torch.zeros(shape) for _ in params]
    optimizer = MuonAdamW(
        [{"params": params, "use_muon": True}], lr=lr, momentum=beta, weight_decay=weight_decay
    )
    for _ in range(3):
        for i, param in enumerate(params):
            param.grad = grad = torch.randn(shape)
            momenta[i] = beta * momenta[i] + (1 - beta) * grad
            update = orthogonalise(beta * momenta[i] + (1 - beta) * grad)
            scale = max(1, shape[0] / shape[1]) ** 0.5
            expected[i] = expected[i] * (1 - lr * weight_decay) - lr * scale * update
        optimizer.step()
    for param, value in zip(params, expected, strict=True):
        assert torch.allclose(param, value, atol=1e-5)


def test_parameters_without_a_gradient_stay():
    used = nn.Parameter(torch.ones(2, 2))
    unused = nn.Parameter(torch.ones(2, 2))
    optimizer = MuonAdamW([{"params": [used, unused], "use_muon": True}])
    used.sum().backward()
    optimizer.step()
    assert torch.equal(unused, torch.ones(2, 2)) and not torch.equal(used, torch.ones(2, 2))
    assert unused not in optimizer.state


def test_state_dict_round_trip_is_exact():
    def steps(model, optimizer, num_steps):
        for _ in range(num_steps):
            optimizer.zero_grad()
            model(torch.ones(1, 4)).square().sum().backward()
            optimizer.step()

    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    optimizer = muon_adamw(model, 1e-2, muon_learning_rate=3e-2, weight_decay=0.1)
    steps(model, optimizer, 3)
    other = copy.deepcopy(model)
    loaded = muon_adamw(other, 1.0, muon_learning_rate=1.0)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(model, optimizer, 3)
    steps(other, loaded, 3)
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_step_returns_the_closures_loss_and_keeps_the_groups():
    param = nn.Parameter(torch.ones(2, 2))
    other = nn.Parameter(torch.ones(1))
    optimizer = MuonAdamW([{"params": [param], "use_muon": True}, {"params": [other]}])

    def closure():
        optimizer.zero_grad()
        loss = param.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert [group["use_muon"] for group in optimizer.param_groups] == [True, False]
    assert not torch.equal(param, torch.ones(2, 2))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_muon_takes_matrices_only(shape):
    with pytest.raises(ValueError, match=r"shape \[\(.*\)\]; expected matrices only"):
        MuonAdamW([{"params": [nn.Parameter(torch.zeros(shape))], "use_muon": True}])


# ------------------------------------------------------------------------------ the usual split
def names_by_group(model, optimizer):
    names = {id(param): name for name, param in model.named_parameters()}
    groups = {True: [], False: []}
    for group in optimizer.param_groups:
        groups[group["use_muon"]] += [names[id(param)] for param in group["params"]]
    return groups


@pytest.mark.parametrize("tied", [True, False])
def test_split_of_a_pretrained_model(tiny_model, tied):
    model = tiny_model(tie_word_embeddings=tied)
    optimizer = muon_adamw(model, 1e-3, muon_learning_rate=2e-2)
    groups = names_by_group(model, optimizer)
    names = [name for name, _ in model.named_parameters()]
    assert sorted(groups[True] + groups[False]) == sorted(names)  # each once
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    embeddings, head = (
        [name for name, param in model.named_parameters() if param is layer.weight]
        for layer in layers
    )
    assert (embeddings == head) == tied
    assert set(embeddings + head) <= set(groups[False])
    matrices = {name for name, param in model.named_parameters() if param.ndim == 2}
    assert set(groups[True]) == matrices - set(embeddings + head) and groups[True]
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 2e-2]


def test_split_of_any_module():
    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(5, 4),
            "conv": nn.Conv1d(4, 4, 3),
            "norm": nn.LayerNorm(4),
            "linear": nn.Linear(4, 4),
            "frozen": nn.Linear(4, 4).requires_grad_(False),
        }
    )
    groups = names_by_group(model, muon_adamw(model, 1e-3, muon_learning_rate=1e-2))
    assert groups[True] == ["linear.weight"]
    expected = "embedding.weight conv.weight conv.bias norm.weight norm.bias linear.bias"
    assert set(groups[False]) == set(expected.split())


def test_a_module_of_one_kind_has_one_group():
    for module in (nn.Linear(3, 3, bias=False), nn.LayerNorm(3)):
        assert len(muon_adamw(module, 1e-3, muon_learning_rate=1e-2).param_groups) == 1


def test_a_closure_that_clears_gradients_clears_all_of_them():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 4)
    optimizer = muon_adamw(model, 1e-3, muon_learning_rate=1e-3)
    inputs = torch.randn(8, 4)
    norms = []

    def closure():
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        norms.append(float(model.weight.grad.norm()))
        return loss

    for _ in range(3):
        optimizer.step(closure)
    # they fall, as the loss does; kept ones would add up
    assert norms == sorted(norms, reverse=True)


def test_a_group_added_later_is_complete_and_amp_stays_off():
    model = torch.nn.Linear(4, 4)
    optimizer = MuonAdamW([{"params": [model.weight], "use_muon": True}])
    optimizer.add_param_group({"params": [model.bias]})
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert not optimizer._step_supports_amp_scaling
