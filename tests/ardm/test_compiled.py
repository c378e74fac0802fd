"""Models compile into one graph, with and without stages, before they have ever been called."""

import pytest
import torch

from ardm import ARDMConfig, ARDMForMaskedLM, random_ratio_mask


@pytest.mark.parametrize("stages", [{}, {"num_stages": 3, "branching_factor": 2}])
def test_a_fresh_model_compiles_into_one_graph(stages):
    torch._dynamo.reset()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ARDMConfig(vocab_size=9, mask_token_id=8, intermediate_size=8, **sizes, **stages)
    model = ARDMForMaskedLM(config)
    canvas, labels = random_ratio_mask(torch.arange(8)[None], 8, stages=model.stages)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    losses = [one(canvas, labels=labels).loss.detach() for one in (compiled, model)]
    assert torch.equal(*losses)
