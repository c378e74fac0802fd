"""Seeds that are functions of keys: what is random of a numbered thing depends on nothing else."""

import hashlib
import operator


def key_seed(*key: int | str) -> int:
    """A seed that is a function of numbers and texts, the same in every process.

    Seeds of neighbouring keys have nothing in common: the first 64 bits of BLAKE2b of the key.

    Args:
        *key: integers of any type that is one, and strings.

    Returns:
        A signed 64-bit integer, as `torch.Generator.manual_seed` takes it.
    """
    plain = tuple(str(p) if isinstance(p, str) else int(operator.index(p)) for p in key)
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
