"""Features of small images: the last hidden layer of a classifier trained on images of their kind.

    phi(x) = mean over positions of relu(conv(relu(conv(relu(conv(x)))))),
    p(y|x) = softmax(W phi(x) + b)

Inception's features are made for photographs; those of a classifier of the images' own kind tell
digits apart. Figures in its feature space are comparable only among samples scored by the very same
classifier, which its name identifies.

Shapes: N images, C channels, H x W pixels of 8 x 8 to 32 x 32, F features, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ardm.training import check_integer

from ..denoisers import check_images

_MAX_SHIFT = 1  # pixels by which training images are moved, in 8
_EPOCHS = 30
_MOST_SEEN = 120_000  # images of all epochs: more data need fewer passes


class SmallClassifier(nn.Module):
    """Three convolutions, global average pooling and a linear layer.

    Args:
        num_channels: C.
        num_classes: K.
        num_features: F.
        name: what the features are called in a report.

    Raises:
        ValueError: if a number is below 1.
    """

    def __init__(
        self,
        num_channels: int,
        num_classes: int,
        num_features: int = 64,
        name: str = "SmallClassifier",
    ):
        super().__init__()
        self.num_channels = check_integer("num_channels", num_channels, 1)
        check_integer("num_classes", num_classes, 1)
        check_integer("num_features", num_features, 1)
        self.name = name
        self.convolutions = nn.Sequential(
            nn.Conv2d(num_channels, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1, stride=2),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, num_features, 3, padding=1),
            nn.BatchNorm2d(num_features),
            nn.ReLU(),
        )
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and class probabilities.

        Args:
            images: float (B, C, H, W) in [-1, 1].

        Returns:
            Features (B, F) and probabilities (B, K), float32.
        """
        features = self.features(images)
        return features, self.head(features).softmax(1)

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer.

        Args:
            images: float (B, C, H, W) in [-1, 1].

        Returns:
            float32 (B, F), none negative.

        Raises:
            ValueError: if the number of channels is another.
        """
        if images.ndim != 4 or images.shape[1] != self.num_channels:
            raise ValueError(
                f"images have the shape {tuple(images.shape)};"
                f" expected (B, {self.num_channels}, H, W)."
            )
        return self.convolutions(images.to(self.head.weight.dtype)).mean((2, 3))


def train_feature_classifier(
    images: Tensor,
    labels: Tensor,
    *,
    held_out: tuple[Tensor, Tensor] | None = None,
    data_name: str = "images",
    seed: int = 0,
    epochs: int | None = None,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
    num_features: int = 64,
) -> SmallClassifier:
    """Trains a classifier for its features.

    The same arguments give the same weights, and the global seed is untouched.

    Args:
        images: float (N, C, H, W) in [-1, 1].
        labels: int64 (N,), in 0..K-1.
        held_out: other images and labels, to measure the accuracy that the name states; None = on
            the training images.
        data_name: what the images are called in the classifier's name.
        seed: of weights, order and shifts.
        epochs: passes over the images; None = 30, fewer for more than 4,000 images, at least one.
        batch_size: images a step.
        learning_rate: largest of a cycle that rises and falls, for AdamW.
        num_features: F.

    Returns:
        The classifier in evaluation mode, whose `name` states data, seed and accuracy.

    Raises:
        ValueError: if images or labels are wrong, or a number is too small.
    """
    _check(images, labels)
    pairs = [(images, labels)]
    if held_out is not None:
        _check(*held_out, least=1)
        pairs.append(held_out)
    if epochs is None:
        epochs = min(_EPOCHS, max(1, _MOST_SEEN // len(images)))
    check_integer("epochs", epochs, 1)
    check_integer("batch_size", batch_size, 2)
    num_classes = max(int(pair[1].max()) for pair in pairs) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SmallClassifier(images.shape[1], num_classes, num_features)
        _train(model.to(images.device), images, labels, epochs, batch_size, learning_rate)
    kind, pair = ("training", pairs[0]) if held_out is None else ("held-out", held_out)
    share = accuracy(model.eval().requires_grad_(False), *pair)
    model.name = (
        f"SmallClassifier of {data_name} ({len(images)} images, {num_features} features, {epochs}"
        f" epochs, seed {seed}, {kind} accuracy {100 * share:.2f} %)"
    )
    return model


@torch.no_grad()
def accuracy(model: SmallClassifier, images: Tensor, labels: Tensor) -> float:
    """Share of images whose most probable class is theirs.

    Args:
        model: in evaluation mode.
        images: float (N, C, H, W) in [-1, 1].
        labels: int64 (N,).

    Returns:
        The share, in [0, 1].

    Raises:
        ValueError: if images or labels are wrong, or there is none.
    """
    _check(images, labels, least=1)
    correct = [
        (model(x)[1].argmax(1) == y).sum()
        for x, y in zip(images.split(256), labels.split(256), strict=True)
    ]
    return float(sum(correct)) / len(images)


def _train(
    model: SmallClassifier,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    batch_size: int,
    rate: float,
) -> None:
    steps = epochs * max(1, len(images) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(images)).to(images.device)
        for chosen in order[: len(order) // batch_size * batch_size or None].split(batch_size):
            logits = model.head(model.features(_shifted(images[chosen])))
            target = labels[chosen].to(logits.device)
            optimizer.zero_grad()
            F.cross_entropy(logits, target, label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()


def _shifted(images: Tensor) -> Tensor:
    """Each image moved by a few random pixels; the edge is continued."""
    height, width = images.shape[2:]
    count = len(images)
    most = max(1, _MAX_SHIFT * min(height, width) // 8)
    windows = F.pad(images, (most,) * 4, mode="replicate").unfold(2, height, 1).unfold(3, width, 1)
    down, right = torch.randint(2 * most + 1, (2, count)).to(images.device)
    return windows[torch.arange(count, device=images.device), :, down, right]


def _check(images: Tensor, labels: Tensor, least: int = 2) -> None:
    check_images(images, flat=False, wait=True)
    shaped = labels.shape == (len(images),) and labels.dtype == torch.int64
    if len(images) < least or not shaped or (labels < 0).any():
        raise ValueError(
            f"images and labels are {tuple(images.shape)} and {labels.dtype} {tuple(labels.shape)};"
            f" expected at least {least} images and int64 (N,) labels from 0 on."
        )
