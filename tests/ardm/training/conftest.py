"""What tests of training runs share."""

import gc
import shutil

import pytest

from ardm.training.checkpoints import CheckpointFolder


@pytest.fixture(scope="module", autouse=True)
def _quick_garbage_collection():
    """Accelerate collects garbage after each run; the libraries' many objects are none of it."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def every_checkpoint(monkeypatch, tmp_path):
    """Copies of all checkpoints by step, which the run itself would prune."""
    seal = CheckpointFolder.seal
    copies = {}

    def seal_and_copy(self, step):
        seal(self, step)
        place = tmp_path / "copies" / self.path(step).name
        copies[step] = shutil.copytree(self.path(step), place, dirs_exist_ok=True)

    monkeypatch.setattr(CheckpointFolder, "seal", seal_and_copy)
    return copies
