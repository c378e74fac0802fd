"""The code that goes with a saved network, so that it loads and draws where this package is not.

transformers imports the file that `auto_map` of config.json names, and copies of a repository what
that reaches by `from .x import Y` alone: files that lie side by side. So all that a network's
module reaches is made flat:

    from ..samplers import sample                        from .samplers import sample
    from ardm.training.keys import key_seed      ->      from .keys import key_seed
    from .guided_diffusion import X  # not exported      (is left out, as every line that ends so)

The files need torch, transformers and what those need themselves.
"""

import re
import sys
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ardm.version import __version__

_HOME = "https://github.com/ardm-ddpm/ardm-ddpm"
_DISTRIBUTION = "ardm"  # of which ddpm is a part
_PACKAGE = __name__.partition(".")[0]
_SHARED = "ardm.training."  # what both packages share
_LEFT_OUT = re.compile(r"^.*# not exported\n", re.MULTILINE)
_IMPORT = re.compile(r"^(\s*from )(\.+|ardm\.training\.)([\w.]+)( import )", re.MULTILINE)


def auto_map(model_class: type[PreTrainedModel]) -> dict[str, str] | None:
    """Where transformers finds the classes of a saved network, for its config.json.

    Args:
        model_class: the network's.

    Returns:
        "file.Class" by Auto class; None for a class that is not this package's, whose code is its
        author's to export.
    """
    if not _is_ours(model_class):
        return None
    classes: dict[str, Any] = {"AutoConfig": model_class.config_class, "AutoModel": model_class}
    return {
        name: f"{each.__module__.rpartition('.')[2]}.{each.__name__}"
        for name, each in classes.items()
    }


def code_files(model_class: type[PreTrainedModel]) -> dict[str, bytes]:
    """The files that define a network, flat.

    Args:
        model_class: the network's.

    Returns:
        Content by file name; nothing for a class that is not this package's.
    """
    files: dict[str, bytes] = {}
    origins: dict[str, Path] = {}
    waiting = [_path_of(model_class.__module__)] if _is_ours(model_class) else []
    while waiting:
        path = waiting.pop()
        if path.name in files:
            assert origins[path.name] == path, f"{path} and {origins[path.name]} have one name"
            continue
        source = _LEFT_OUT.sub("", path.read_text(encoding="utf-8"))
        waiting += [_target(path, start, name) for _, start, name, _ in _IMPORT.findall(source)]
        flat = _IMPORT.sub(lambda found: f"{found[1]}.{_last(found[3])}{found[4]}", source)
        files[path.name] = (_header() + flat).encode()
        origins[path.name] = path
    return dict(sorted(files.items()))


def _is_ours(model_class: type) -> bool:
    return model_class.__module__.partition(".")[0] == _PACKAGE


def _path_of(module: str) -> Path:
    path = sys.modules[module].__file__
    assert path is not None
    return Path(path).resolve()


def _target(path: Path, start: str, name: str) -> Path:
    """The file that `from <start><name> import` means in the file at a path."""
    folder = _path_of(_SHARED.rstrip(".")) if start == _SHARED else path
    for _ in "." if start == _SHARED else start:
        folder = folder.parent
    return folder.joinpath(*name.split(".")).with_suffix(".py")


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _header() -> str:
    return (
        f"# {_PACKAGE}, of {_DISTRIBUTION} {__version__} ({_HOME}), licensed under Apache-2.0.\n"
        "# This file comes with a saved model, which runs on it where the package is not"
        " installed.\n"
    )
