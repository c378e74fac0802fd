"""Pictures of any form, and a place of its own for what is remembered of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def caches(tmp_path_factory, monkeypatch):
    import datasets

    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    datasets.disable_progress_bars()
    return folder


@pytest.fixture
def draw():
    """Writes pictures of random pixels: `draw(folder, "a/1.png", "b/2.jpg")`."""
    generator = np.random.default_rng(0)

    def write(folder: Path, *names: str, size: int = 9) -> Path:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(256, size=(size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        return folder

    return write
