"""Trains a SegResNet on generated scans and tests it on others; all of it is synthetic.

    python experiments/segmentation/run.py [--steps 1600] [--test 32] [--output outputs/segmentation]

Writes `model.safetensors` with `model.json` (for `segmentation=segresnet segmentation.weights=...`), `losses.csv`,
one line a held-out scan to `metrics.csv`, their summary to `metrics.json`, and `held_out.png`. Beside it the rules of
`twinjax.imaging.RuleBasedSegmenter` are scored, and both on scans of another generator. The same command again goes
on where a stopped one was.
"""

import argparse
import json
from pathlib import Path

import torch
from evaluate import evaluate, grown, held_out, picture, summary, table, write
from train import train

from twinjax.imaging import RuleBasedSegmenter, SegResNetSegmenter


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
    parser.add_argument("--output", type=Path, default=Path("outputs/segmentation"))
    chosen = parser.parse_args()
    if not (0 <= chosen.seed < 1000 and 0 < chosen.patients <= 10_000):
        parser.error("--seed must lie from 0 to 999 and --patients from 1 to 10000: held-out scans come after them")
    torch.set_num_threads(chosen.threads)
    options = {"patients": chosen.patients, "steps": chosen.steps, "crop": chosen.crop, "seed": chosen.seed}
    trained = train(chosen.output, **options)
    print(f"trained in {trained.seconds:.0f} s, {trained.processor_seconds:.0f} s of processor time", flush=True)
    scans, others = held_out(chosen.test, chosen.tumor_free), grown(chosen.grown)
    network = SegResNetSegmenter(chosen.output / "model.safetensors", progress=False)
    rows, found = evaluate(network, scans)
    scored = {"SegResNet, generated": rows, "rules, generated": evaluate(RuleBasedSegmenter(), scans)[0]}
    if others:
        scored["SegResNet, grown"] = evaluate(network, others)[0]
        scored["rules, grown"] = evaluate(RuleBasedSegmenter(), others)[0]
    write(
        [{"case": name, **row} for name, found_rows in scored.items() for row in found_rows],
        chosen.output / "metrics.csv",
    )
    summaries = {name: summary(found_rows) for name, found_rows in scored.items()}
    seconds = {"seconds": trained.seconds, "processor_seconds": trained.processor_seconds}
    facts = {"synthetic": True, "training": {**options, **seconds}, **summaries}
    (chosen.output / "metrics.json").write_text(json.dumps(facts, indent=2) + "\n")
    picture(scans, found, rows, chosen.output / "held_out.png")
    print(table(summaries))


if __name__ == "__main__":
    main()
