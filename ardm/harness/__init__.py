"""Models under lm-evaluation-harness; importing this registers the model "ardm" there."""

from .model import ARDMHarness

__all__ = ["ARDMHarness"]
