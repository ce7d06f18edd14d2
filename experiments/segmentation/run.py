"""Trains a SegResNet on generated scans and tests it on others; all of it is synthetic.

    python experiments/segmentation/run.py [--steps 1600] [--test 32] [--rules] [--figure FILE.png]
        [--output outputs/segmentation]

Writes `model.safetensors` with `model.json` (for `segmentation=segresnet segmentation.weights=...`), `losses.csv`,
one line a held-out scan to `metrics.csv`, their summary to `metrics.json`, and `held_out.png`. Beside it the rules of
`twinjax.imaging.RuleBasedSegmenter` are scored, and both on scans of another generator. The same command again goes
on where a stopped one was. `--rules` leaves the network out: no training, and the pictures are of the rules.
"""

import argparse
import json
from pathlib import Path

import torch
from evaluate import evaluate, grown, held_out, picture, summary, table, write
from train import train

from twinjax.imaging import AbstractSegmenter, RuleBasedSegmenter, SegResNetSegmenter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=60, help="scans to train on")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--crop", type=int, default=40, help="voxels, a multiple of 8")
    parser.add_argument("--seed", type=int, default=0, help="up to 999: scans are drawn from it")
    parser.add_argument("--test", type=int, default=32, help="held-out scans with a tumour")
    parser.add_argument("--tumor-free", type=int, default=10, help="held-out scans without")
    parser.add_argument("--grown", type=int, default=4, help="of tumours grown by `twinjax.patient.virtual`, up to 4")
    parser.add_argument("--threads", type=int, default=1, help="of torch; two are slower where others compute as well")
    parser.add_argument("--rules", action="store_true", help="without the network")
    parser.add_argument("--figure", type=Path, help="best and worst core of the first segmenter, small")
    parser.add_argument("--output", type=Path, default=Path("outputs/segmentation"))
    chosen = parser.parse_args()
    if not (0 <= chosen.seed < 1000 and 0 < chosen.patients <= 10_000):
        parser.error("--seed must lie from 0 to 999 and --patients from 1 to 10000: held-out scans come after them")
    chosen.output.mkdir(parents=True, exist_ok=True)
    facts: dict = {"synthetic": True}
    segmenters: dict[str, AbstractSegmenter] = {"rules": RuleBasedSegmenter()}
    if not chosen.rules:
        torch.set_num_threads(chosen.threads)
        options = {"patients": chosen.patients, "steps": chosen.steps, "crop": chosen.crop, "seed": chosen.seed}
        trained = train(chosen.output, **options)
        print(f"trained in {trained.seconds:.0f} s, {trained.processor_seconds:.0f} s of processor time", flush=True)
        seconds = {"seconds": trained.seconds, "processor_seconds": trained.processor_seconds}
        facts["training"] = {**options, **seconds}
        network = SegResNetSegmenter(chosen.output / "model.safetensors", progress=False)
        segmenters = {"SegResNet": network, **segmenters}
    tests = {"generated": held_out(chosen.test, chosen.tumor_free)}
    if chosen.grown:
        tests["grown"] = grown(chosen.grown)
    scored, labels = {}, []
    for kind, scans in tests.items():
        for name, segmenter in segmenters.items():
            scored[f"{name}, {kind}"], found = evaluate(segmenter, scans)
            labels.append(found)
    write(
        [{"case": name, **row} for name, found_rows in scored.items() for row in found_rows],
        chosen.output / "metrics.csv",
    )
    summaries = {name: summary(found_rows) for name, found_rows in scored.items()}
    (chosen.output / "metrics.json").write_text(json.dumps(facts | summaries, indent=2) + "\n")
    first = tests["generated"], labels[0], next(iter(scored.values()))
    picture(*first, chosen.output / "held_out.png")
    if chosen.figure:
        picture(*first, chosen.figure, shown=2, dpi=65)
    print(table(summaries))


if __name__ == "__main__":
    main()
