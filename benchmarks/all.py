"""Every benchmark in one table: `make bench`, or `python benchmarks/all.py forward derivative` for some of them."""

import importlib
import sys

import jax
from measure import Row, machine, table

NAMES = ["right_hand_side", "forward", "solver_choice", "derivative", "calibration", "batch", "startup"]


def main(names: list[str]) -> None:
    unknown = set(names) - set(NAMES)
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    jax.config.update("jax_enable_x64", False)
    print(machine(), flush=True)
    rows: list[Row] = []
    for name in names or NAMES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = importlib.import_module(name).rows()
        rows += found
        print("\n".join(table(found).splitlines()[2:]), file=sys.stderr, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
