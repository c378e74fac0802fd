"""What systems and programs leave in folders, which is never data."""

_NAMES = {
    # of Windows: pictures in small, settings, what was deleted
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    *("$recycle.bin", "system volume information"),
    # of macOS: a folder's picture, and what its packer adds
    *("icon\r", "__macosx"),
    "@eadir",  # of network disks
    "lost+found",  # of Linux, at the root of a disk
}


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is the system's, in any capitals.

    Args:
        name: of the file or folder alone.

    Returns:
        True of names that no data has. Hidden ones, which begin with ".", are another matter.
    """
    return name.casefold() in _NAMES
