"""One line: what an error says, without the pages that libraries make of it."""


def in_one_line(error: BaseException | str, most: int = 200) -> str:
    """What an error says, on one line: those of transformers and the Hub are pages.

    Args:
        error: any, or its text.
        most: characters, then an ellipsis.

    Returns:
        The text, behind the error's kind if that is an unusual one.
    """
    text = " ".join(str(error).split())
    if not isinstance(error, (OSError, ValueError, str)):  # whose text says little without it
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= most else text[: most - 1] + "…"
