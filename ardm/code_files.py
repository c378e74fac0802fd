"""Code files: a saved model carries the code that it runs on, for where this package is not.

    auto_map      = {"AutoModelForMaskedLM": "modeling_ardm.ARDMForMaskedLM", ...}    in config.json
    code(module)  = module.py and code(x) of every x that it reaches by `from .x import Y`
    folder        = weights, settings, and code(m) of every m in auto_map, flat

transformers runs these files with `trust_remote_code=True`, and never where the package has been
imported. They are copies but for two lines at the top, and copies of copies are the same: a model
that runs on such files is saved with them again.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from transformers.dynamic_module_utils import get_relative_import_files

from .version import __version__

_HERE = Path(__file__).parent  # the package, or the folder of a saved model
_NOTE = (
    "# This file comes with a saved model, which runs on it where the package is not installed.\n"
)
_HEADER = (
    f"# ardm {__version__} (https://github.com/ardm-ddpm/ardm-ddpm), licensed under Apache-2.0.\n"
    + _NOTE
)


class CarriesCode:
    """A model that is saved with its code. Put it before the model class in the bases.

    Attributes:
        auto_map: what each of transformers' Auto classes loads from a saved model, as
            "module.Class" of a module beside this one.
    """

    auto_map: ClassVar[Mapping[str, str]]
    config: Any  # typed as the model class types it
    should_save_on_this_rank: Callable[[bool], bool]

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Saves the model as transformers does, with its code beside it.

        Peft's adapters alone, which are no model, are saved without.

        Args:
            save_directory: the folder; made if needed.
            is_main_process: whether this process writes.
            *args: as in transformers.
            **kwargs: as in transformers.

        Raises:
            ValueError: if `save_directory` is a file.
        """
        if os.path.isfile(save_directory):
            raise ValueError(f"save_directory {save_directory} is a file; expected a folder.")
        adapters_alone = getattr(self, "_hf_peft_config_loaded", False)
        if self.should_save_on_this_rank(is_main_process) and not adapters_alone:
            self.point_to_code()
            write_code(save_directory, self.auto_map)
        parent: Any = super()
        parent.save_pretrained(save_directory, is_main_process, *args, **kwargs)

    def point_to_code(self) -> None:
        """Has the configuration say where the code is: `auto_map`, whatever it was before."""
        self.config.auto_map = {**(getattr(self.config, "auto_map", None) or {}), **self.auto_map}

    def _get_files_timestamps(self, working_dir: str | os.PathLike[str]) -> dict[str, float]:
        """transformers' hook, asked before it saves and uploads: code is always uploaded."""
        parent: Any = super()
        times = parent._get_files_timestamps(working_dir)
        return {name: time for name, time in times.items() if not name.endswith(".py")}


def write_code(folder: str | os.PathLike[str], auto_map: Mapping[str, str]) -> None:
    """Writes the code that some classes need; each file is whole, and none is there too early.

    Args:
        folder: where to; made if needed. Other files stay.
        auto_map: the classes, as "module.Class" of modules beside this one.

    Raises:
        ValueError: if there is no such module.
    """
    sources = code_files(reference.partition(".")[0] for reference in auto_map.values())
    os.makedirs(folder, exist_ok=True)
    # named as what ardm.training writes aside, which removes what a killed process left behind
    prefix = f".writing-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder) as aside:
        for source in sources:
            with open(Path(aside) / source.name, "wb") as file:
                file.write(_with_header(source.read_text(encoding="utf-8")).encode())
                file.flush()
                os.fsync(file.fileno())
        for source in sources:
            os.replace(Path(aside) / source.name, Path(folder) / source.name)


def code_files(modules: Iterable[str]) -> list[Path]:
    """The files that modules beside this one need, by the rule that transformers follows.

    Args:
        modules: their names.

    Returns:
        The modules' own files and those they reach, sorted.

    Raises:
        ValueError: if there is no such module.
    """
    files = {_HERE / f"{module}.py" for module in modules}
    for file in sorted(files):
        if not file.is_file():
            raise ValueError(f"there is no module {file.stem!r} in {_HERE}; expected one there.")
    return sorted(files.union(*(map(Path, get_relative_import_files(file)) for file in files)))


def came_with_a_model(source: str) -> bool:
    """Whether a module's source has the header of those that [`write_code`] writes."""
    return _NOTE in source.splitlines(keepends=True)[:2]


def _with_header(source: str) -> str:
    """The source below its header, which it has if it came with a saved model itself."""
    return source if came_with_a_model(source) else _HEADER + source
