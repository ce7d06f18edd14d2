"""How well parameters are recovered: a table from the files of `run.py`.

    python experiments/virtual_patients/recovery.py outputs/virtual_patients/prostate_laplace_parameters.csv ...

A parameter counts as identified in a patient where the data left at most `IDENTIFIED` of its prior variance. For each,
over the patients in whom it is: the median relative error of the posterior median, and how often the truth lies in the
90 % interval. All synthetic.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

# A tenth of the prior's variance: a third of its width.
IDENTIFIED = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    print("| file | parameter | patients | identified in | median error there | in 90 % interval, there | of all |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for path in parser.parse_args().files:
        rows = list(csv.DictReader(path.open()))
        for name in dict.fromkeys(row["parameter"] for row in rows):
            own = [row for row in rows if row["parameter"] == name]
            known = [row for row in own if float(row["contraction"]) >= 1 - IDENTIFIED]
            error = [abs(float(row["median"]) / float(row["truth"]) - 1) for row in known]
            cells = [path.stem.removesuffix("_parameters"), name, len(own), len(known)]
            cells += [f"{100 * np.median(error):.1f} %", f"{100 * share(known):.0f} %"] if known else ["", ""]
            print("| " + " | ".join(map(str, [*cells, f"{100 * share(own):.0f} %"])) + " |")


def share(rows) -> float:
    return float(np.mean([int(row["covered"]) for row in rows]))


if __name__ == "__main__":
    main()
