"""Checkpoints with code of their own, written for transformers 4: LLaDA's and Dream's kinds."""

import json
import textwrap

import pytest
import torch
from safetensors.torch import save_file

from ardm import adopt

CODE = {
    # no post_init, tie_weights without arguments, a network that is called past its hooks and
    # gives logits itself, and a table that no file holds
    "llada": """
        import torch
        from torch import nn
        from transformers import PretrainedConfig, PreTrainedModel
        from transformers.modeling_outputs import CausalLMOutputWithPast

        class TinyConfig(PretrainedConfig):
            model_type = "tiny-llada"

        class Network(nn.Module):
            def __init__(self, config):
                super().__init__()
                self.wte = nn.Embedding(config.vocab_size, config.d_model)
                self.mix = nn.Linear(config.d_model, config.d_model)
                self.out = nn.Linear(config.d_model, config.vocab_size, bias=False)
                places = torch.arange(40.0)[:, None] / (1 + torch.arange(config.d_model))
                self.register_buffer("places", places.sin(), persistent=False)

            def forward(self, ids, mask):
                states = self.wte(ids)
                place = (mask.long().cumsum(1) - 1).clamp(min=0)
                states = (states + self.places[place]) * mask[..., None]
                mean = states.sum(1, keepdim=True) / mask.sum(1)[:, None, None]
                return self.out(torch.tanh(self.mix(states) + 3 * mean))

        class TinyModelLM(PreTrainedModel):
            config_class = TinyConfig
            base_model_prefix = "model"

            def __init__(self, config):
                super().__init__(config)
                self.model = Network(config)

            def forward(self, input_ids=None, inputs_embeds=None, attention_mask=None,
                        use_cache=None, return_dict=None):
                if attention_mask is None:
                    attention_mask = torch.ones_like(input_ids)
                return CausalLMOutputWithPast(logits=self.model.forward(input_ids, attention_mask))

            def can_generate(self):
                return True

            def get_output_embeddings(self):
                return self.model.out

            def get_input_embeddings(self):
                return self.model.wte

            def tie_weights(self):
                pass
    """,
    # a list of tied weights, its own loading and generation settings, a mask of all pairs
    "Dream": """
        import torch
        from torch import nn
        from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel
        from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput

        class TinyConfig(PretrainedConfig):
            model_type = "Dream"

        class Network(PreTrainedModel):
            config_class = TinyConfig

            def __init__(self, config):
                super().__init__(config)
                self.embed = nn.Embedding(config.vocab_size, config.d_model)
                self.mix = nn.Linear(config.d_model, config.d_model)
                places = torch.arange(40.0)[:, None] / (1 + torch.arange(config.d_model))
                self.register_buffer("places", places.sin(), persistent=False)

            def forward(self, input_ids, attention_mask, position_ids):
                length = input_ids.shape[1]
                if position_ids is None:
                    position_ids = torch.arange(length)[None]
                states = self.embed(input_ids) + self.places[position_ids]
                pairs = torch.ones(1, 1, length, length)
                if attention_mask is not None:
                    assert attention_mask.dtype == torch.bool and attention_mask.ndim == 4
                    pairs = attention_mask.float()
                weights = pairs[:, 0] / pairs[:, 0].sum(-1, keepdim=True)
                states = torch.tanh(self.mix(states) + 3 * weights @ states)
                return BaseModelOutput(last_hidden_state=states)

        class TinyModelLM(PreTrainedModel):
            config_class = TinyConfig
            base_model_prefix = "model"
            _tied_weights_keys = ["lm_head.weight"]

            def __init__(self, config):
                super().__init__(config)
                self.model = Network(config)
                self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
                self.post_init()

            def forward(self, input_ids=None, attention_mask=None, position_ids=None,
                        use_cache=None, return_dict=None):
                states = self.model(input_ids, attention_mask, position_ids)[0]
                return MaskedLMOutput(logits=self.lm_head(states))

            @classmethod
            def from_pretrained(cls, name, *args, config=None, **kwargs):
                model = super().from_pretrained(name, *args, config=config, **kwargs)
                model.generation_config = GenerationConfig.from_pretrained(name)
                return model

            def get_output_embeddings(self):
                return self.lm_head

            def get_input_embeddings(self):
                return self.model.embed
    """,
}
MASK = 12
GAPS = torch.tensor([[3, 4, MASK, MASK, 5, MASK]])


@pytest.fixture(params=sorted(CODE))
def kind(request):
    return request.param


@pytest.fixture
def folder(kind, tmp_path, monkeypatch):
    """A repository as such models have it: code, configuration, weights."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    folder = tmp_path / f"tiny-{kind.lower()}"
    folder.mkdir()
    (folder / "modeling_tiny.py").write_text(textwrap.dedent(CODE[kind]))
    config = {
        "model_type": "Dream" if kind == "Dream" else "tiny-llada",
        "architectures": ["TinyModelLM"],
        "auto_map": {
            "AutoConfig": "modeling_tiny.TinyConfig",
            "AutoModel": "modeling_tiny.TinyModelLM",
        },
        "vocab_size": 13,
        "d_model": 8,
        "mask_token_id": MASK,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text('{"alg": "origin", "steps": 512}')
    torch.manual_seed(0)
    names = {
        "llada": ("model.wte", "model.mix", "model.out"),
        "Dream": ("model.embed", "model.mix", "lm_head"),
    }[kind]
    shapes = ((13, 8), (8, 8), (13, 8))
    weights = {f"{n}.weight": torch.randn(s) for n, s in zip(names, shapes, strict=True)}
    weights["model.mix.bias"] = torch.randn(8)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_it_generates_and_rows_do_not_depend_on_each_other(folder, kind):
    model = adopt(folder, trust_remote_code=True)
    assert model.config.right_shift_logits == (kind == "Dream")
    assert model.config.given_token_ids == []  # such a model writes the end of its text
    written = model.generate(GAPS, seed=[0])
    assert torch.equal(written[GAPS != MASK], GAPS[GAPS != MASK]) and not (written == MASK).any()
    two = torch.tensor([[0, 0, 0, 3, 4, MASK, MASK, 5, MASK], [3, MASK, MASK, MASK, 4, 5, 6, 7, 8]])
    real = torch.ones_like(two)
    real[0, :3] = 0
    assert torch.equal(model.generate(two, real, seed=[0, 1])[0, 3:], written[0])


def test_what_no_file_holds_is_computed(folder):
    model = adopt(folder, trust_remote_code=True)
    expected = (torch.arange(40.0)[:, None] / (1 + torch.arange(8))).sin()
    assert torch.equal(model.model.places, expected)


def test_it_is_saved_with_its_code_and_comes_back(folder, tmp_path):
    model = adopt(folder, trust_remote_code=True)
    model.generation_config.tokens_per_step = 2
    model.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "modeling_tiny.py").is_file()
    again = adopt(tmp_path / "saved", trust_remote_code=True)
    assert torch.equal(again(GAPS).logits, model(GAPS).logits)
    assert torch.equal(again.generate(GAPS, seed=1), model.generate(GAPS, seed=1))
    assert again.generation_config.tokens_per_step == 2


def test_code_is_not_run_unasked(folder):
    with pytest.raises(ValueError, match="trust_remote_code"):
        adopt(folder, trust_remote_code=False)
