"""Text as JavaScript has it."""


def of_javascript(text: str) -> str:
    """Return *text* with both halves of a surrogate pair as the one character that they are there."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
