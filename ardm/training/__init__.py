"""One Accelerate loop for every model of the project, and what every run needs around it.

It knows no model, no text and no image: `ddpm` trains with it, too.
"""

from .averaging import WeightAverage
from .checkpoints import check_writable
from .config import TrainingConfig, add_training_arguments, training_config
from .launching import process_state, run_recipe
from .loop import TrainingResult, make_accelerator, quieten, train
from .optim import MuonAdamW, muon_adamw
from .stream import Batch

__all__ = [
    "Batch",
    "MuonAdamW",
    "TrainingConfig",
    "TrainingResult",
    "WeightAverage",
    "add_training_arguments",
    "check_writable",
    "make_accelerator",
    "muon_adamw",
    "process_state",
    "quieten",
    "run_recipe",
    "train",
    "training_config",
]
