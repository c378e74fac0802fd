"""Images and a denoiser that cost nothing, for what evaluates them."""

import torch
from torch import nn


def dataset(count, labels=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return [
        {"images": image} | ({"labels": torch.tensor(k % 3)} if labels else {})
        for k, image in enumerate(images)
    ]


class Net(nn.Module):
    """A denoiser of sorts, with dropout that must be off."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.6))
        self.dropout = nn.Dropout(0.5)
        self.labels = []

    def forward(self, x, t, labels=None):
        self.labels.append(labels)
        return self.dropout(torch.cat((self.scale * x, 0.1 * x), dim=1))
