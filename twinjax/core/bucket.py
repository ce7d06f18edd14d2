"""Sizes that are rounded up, so that what differs by a few shares a compiled program."""

# 5 fractions, 10, 20, and 40 for the usual 25 to 35.
SMALLEST = 5


def bucket(count: int) -> int:
    """The least of 5, 10, 20, 40, ... that holds `count`."""
    found = SMALLEST
    while found < count:
        found *= 2
    return found
