"""Words of what is told to people."""


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number and what it counts: 1 picture, 1,200 pictures, 2 entities (`several`, where no s makes it)."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"
