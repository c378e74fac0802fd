"""Our models under transformers' own model tests: what `test_suite.py` runs beside their files.

It is copied into a package with the tests of transformers' source distribution, which is where its
relative imports lead.
"""

import unittest

import torch
from transformers.models.auto import modeling_auto

from ardm import ARDMConfig, ARDMForMaskedLM, ARDMModel
from ddpm import NoisyClassifier, UNet, UNetConfig
from ddpm.models import ClassifierConfig

from .test_configuration_common import ConfigTester
from .test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor, random_attention_mask

# The tests look here for what a class is for; transformers' own classes stand in these tables.
modeling_auto.MODEL_MAPPING_NAMES["ardm"] = "ARDMModel"
modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES["ardm"] = "ARDMForMaskedLM"
modeling_auto.MODEL_MAPPING_NAMES["ddpm_unet"] = "UNet"
modeling_auto.MODEL_MAPPING_NAMES["ddpm_classifier"] = "NoisyClassifier"


class TextTester:
    """A small text model and a batch for it, by the names that the tests ask for."""

    batch_size = 3
    seq_length = 7
    hidden_size = 32
    num_hidden_layers = 2
    num_attention_heads = 4
    is_training = True

    def get_config(self):
        return ARDMConfig(
            vocab_size=99,
            mask_token_id=1,  # low, as the tests make the vocabulary smaller
            pad_token_id=2,  # not 0, which the tests' labels are
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=40,
            max_position_embeddings=64,
        )

    def prepare_config_and_inputs_for_common(self):
        size = [self.batch_size, self.seq_length]
        input_ids = ids_tensor(size, 80) + 3
        return self.get_config(), {
            "input_ids": input_ids,
            "attention_mask": random_attention_mask(size),
        }


class ImageTester:
    """A small network of images and a batch for it."""

    batch_size = 2
    is_training = False
    sizes = {
        "image_size": 8,
        "in_channels": 3,
        "model_channels": 32,
        "channel_mult": [1, 2],
        "num_res_blocks": 1,
        "attention_resolutions": [4],
    }

    def __init__(self, config_class, **more):
        self.config_class = config_class
        self.more = more

    def get_config(self):
        return self.config_class(**self.sizes, **self.more)

    def prepare_config_and_inputs_for_common(self):
        images = floats_tensor([self.batch_size, 3, 8, 8])
        return self.get_config(), {"x": images, "t": torch.tensor([3, 7])}


def image_config_tester(parent, config_class):
    """transformers' tests of a configuration, without what only text has."""
    sizes = ImageTester.sizes
    return ConfigTester(parent, config_class, False, ["image_size"], **sizes)


class ARDMTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (ARDMModel, ARDMForMaskedLM)
    all_generative_model_classes = ()  # `generate` is our own: not one token after the other

    def setUp(self):
        self.model_tester = TextTester()
        self.config_tester = ConfigTester(self, ARDMConfig, hidden_size=32, num_attention_heads=4)

    def test_config(self):
        self.config_tester.run_common_tests()


class UNetTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (UNet,)
    has_attentions = False  # some levels attend, none records it
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = ImageTester(UNetConfig)
        self.config_tester = image_config_tester(self, UNetConfig)

    def test_config(self):
        self.config_tester.run_common_tests()


class NoisyClassifierTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (NoisyClassifier,)
    has_attentions = False
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = ImageTester(ClassifierConfig, num_classes=5)
        self.config_tester = image_config_tester(self, ClassifierConfig)

    def test_config(self):
        self.config_tester.run_common_tests()
