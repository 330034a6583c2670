"""To be written."""


def page() -> None:
    """A page."""
