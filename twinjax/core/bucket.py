"""Sizes that are rounded up, so that what differs by a few shares a compiled program."""

# 5 fractions, 10, 20, and 40 for the usual 25 to 35.
SMALLEST = 5


# Voxels along an axis, and days of a forecast on a grid, of which each costs.
STEP = 8


def bucket(count: int) -> int:
    """The least of 5, 10, 20, 40, ... that holds `count`."""
    found = SMALLEST
    while found < count:
        found *= 2
    return found


def step_up(count: int) -> int:
    """The least multiple of `STEP` that holds `count`: for what costs more than the doses of `bucket`."""
    return -(-count // STEP) * STEP
