"""Every benchmark in one table: `make bench`, or `python benchmarks/all.py forward derivative` for some of them."""

import importlib
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import jax
from measure import Row, machine, table

NAMES = ["right_hand_side", "forward", "solver_choice", "derivative", "calibration", "batch", "segmentation", "startup"]


def main(names: list[str]) -> None:
    unknown = set(names) - set(NAMES)
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    print(machine(), flush=True)
    rows: list[Row] = []
    # A process for each: the threads that one library leaves waiting would slow the next benchmark.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for name in names or NAMES:
            print(f"{name} ...", file=sys.stderr, flush=True)
            found = pool.submit(run, name).result()
            rows += found
            print("\n".join(table(found).splitlines()[2:]), file=sys.stderr, flush=True)
    print(table(rows))


def run(name: str) -> list[Row]:
    jax.config.update("jax_enable_x64", False)
    return importlib.import_module(name).rows()


if __name__ == "__main__":
    main(sys.argv[1:])
