"""One Accelerate loop for every model of the project, and what every run needs around it.

It knows no model, no text and no image: `ddpm` trains with it, too. What only some need is in its
modules: `card_parts` for model cards, `timing` for benchmarks.
"""

from .averaging import WeightAverage
from .commands import recipe_parser
from .config import (
    TrainingConfig,
    add_training_arguments,
    given_flags,
    training_config,
)
from .curves import loss_curve, new_figure, plain, png
from .files import (
    check_writable,
    fingerprint,
    replacing,
    replacing_files,
    write_atomically,
    write_json_atomically,
    write_repository,
    write_text_atomically,
)
from .identity import weights_fingerprint
from .integers import check_integer
from .keys import key_seed
from .launching import process_state, quieten, run_recipe
from .loop import TrainingResult, begin, make_accelerator, train
from .optim import MuonAdamW, muon_adamw
from .processes import (
    gather_rows,
    measure_rows,
    own_share,
    share_of,
)
from .progress import evaluating, progress_bar
from .stream import Batch
from .upload import Upload, upload_folder
from .upload_checks import check_upload
from .upload_files import files_to_upload

__all__ = [
    "Batch",
    "MuonAdamW",
    "TrainingConfig",
    "TrainingResult",
    "Upload",
    "WeightAverage",
    "add_training_arguments",
    "check_integer",
    "check_upload",
    "check_writable",
    "evaluating",
    "files_to_upload",
    "fingerprint",
    "gather_rows",
    "given_flags",
    "key_seed",
    "loss_curve",
    "begin",
    "make_accelerator",
    "measure_rows",
    "muon_adamw",
    "new_figure",
    "own_share",
    "plain",
    "png",
    "process_state",
    "progress_bar",
    "quieten",
    "recipe_parser",
    "replacing",
    "replacing_files",
    "run_recipe",
    "share_of",
    "train",
    "training_config",
    "upload_folder",
    "weights_fingerprint",
    "write_atomically",
    "write_json_atomically",
    "write_repository",
    "write_text_atomically",
]
