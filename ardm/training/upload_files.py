"""Which files of a saved model's folder make a repository, and which stay where they are.

A file goes if it is known to belong to a model: weights, settings, tokenizer, card, pictures, code.
All else stays, as a training leaves checkpoints, logs and events beside the model, and a person
anything at all; pickles stay, too.
"""

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

_GO = (
    *("*.safetensors", "*.json", "*.py", "*.jinja"),
    *("vocab.txt", "merges.txt", "*.model", "*.tiktoken"),  # of tokenizers
    *("README.md", "*.png", "*.gif", "*.jpg", "*.jpeg", "*.webp"),
    *("LICENSE", "LICENSE.*", "NOTICE", "requirements.txt"),
)
_STAY = ("trainer_state.json", "*_results.json")  # of transformers.Trainer: a log of the run
_SETTINGS = ("config.json", "adapter_config.json")  # of a model, of adapters beside another's
_FOLDERS = ("custom_generate", "additional_chat_templates")  # those that transformers reads
# what loading looks for by name: left of another model, it would be loaded in the new one's place
_LOADED = (
    *("model*.safetensors", "model*.safetensors.index.json"),
    *("pytorch_model*.bin", "pytorch_model*.bin.index.json"),
    *("config.json", "generation_config.json", "adapter_config.json", "adapter_model.*"),
    *("images.json", "diffusion_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja"),
)


@dataclass(frozen=True)
class FolderFiles:
    """What of a folder is uploaded.

    Args:
        sizes: bytes by path in the repository, sorted.
        left: names of the files and folders that stay, these with a slash behind.
    """

    sizes: dict[str, int]
    left: tuple[str, ...]

    @property
    def num_bytes(self) -> int:
        """Of all files together."""
        return sum(self.sizes.values())


def files_to_upload(folder: str | os.PathLike[str]) -> FolderFiles:
    """Chooses the files of a saved model, or of adapters that belong to another one.

    Args:
        folder: that `save_pretrained` or a training left.

    Returns:
        What is uploaded, and what is not.

    Raises:
        ValueError: if there is no such folder, or it has no configuration or no weights.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"there is no folder {str(folder)!r}; expected that of a saved model.")
    sizes: dict[str, int] = {}
    left = []
    for path in sorted(root.iterdir()):
        inside = _files_of(path)
        sizes |= {each.relative_to(root).as_posix(): each.stat().st_size for each in inside}
        if not inside:
            left.append(f"{path.name}/" if path.is_dir() else path.name)
    settings = next((name for name in _SETTINGS if name in sizes), None)
    if settings is None:
        raise ValueError(
            f"{folder} has no {' and no '.join(_SETTINGS)}; expected the folder of a saved model."
        )
    if not any(name.endswith(".safetensors") for name in sizes):
        raise ValueError(f"{folder} has no weights; expected *.safetensors beside {settings}.")
    return FolderFiles(dict(sorted(sizes.items())), tuple(left))


def _files_of(path: Path) -> list[Path]:
    """The file, or those of a folder that belongs to a model; none where it stays."""
    if path.is_dir():
        inside = sorted(path.iterdir()) if path.name in _FOLDERS else []
        return [each for each in inside if each.is_file() and _goes(each.name)]
    return [path] if path.is_file() and _goes(path.name) else []


def _goes(name: str) -> bool:
    stays = name.startswith((".", "_")) and name != "__init__.py"
    return not stays and _any_fits(name, _GO) and not _any_fits(name, _STAY)


def outdated(there: set[str], uploaded: set[str]) -> list[str]:
    """The files of a repository that would be loaded though they belong to another model.

    Args:
        there: paths in the repository.
        uploaded: paths that are uploaded.

    Returns:
        Those to remove, sorted.
    """
    return sorted(name for name in there - uploaded if _any_fits(name, _LOADED))


def _any_fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
