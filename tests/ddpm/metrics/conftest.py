"""Scikit-learn's digits, and the classifier of them that gives features."""

import pytest
import torch

from ddpm.metrics.feature_classifier import train_feature_classifier


@pytest.fixture(scope="session")
def digits():
    """Images (1797, 1, 8, 8) and labels; the last 360 are by other writers than the first 1437."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images).float().view(-1, 1, 8, 8) / 8 - 1, torch.tensor(labels).long()


@pytest.fixture(scope="session")
def digits_classifier(digits):
    """Trained on the first 1437 digits; its name tells the accuracy on the rest."""
    images, labels = digits
    held_out = images[1437:], labels[1437:]
    options = {"held_out": held_out, "data_name": "digits", "epochs": 6}
    return train_feature_classifier(images[:1437], labels[:1437], **options)
