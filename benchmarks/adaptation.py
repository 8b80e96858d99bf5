"""An adapted encoder beside the same one as it was: link prediction on unseen artworks, all else equal.

    python benchmarks/adaptation.py --release workspace/releases/demo-1.0.0 --workspace /tmp/adaptation

The model is a small one of random weights, made from a seed: what is measured is what the graph itself teaches it, not
what a pretrained one gains.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from vlkge.adapt import AdaptOptions, adapt
from vlkge.config import load_experiment
from vlkge.encode import encode_release
from vlkge.encoders_open_clip import import_open_clip
from vlkge.evaluate import EvaluationResult, evaluate_run
from vlkge.files import write_tensors
from vlkge.protocol import Strict
from vlkge.train import fit, start

CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 1},
}


def make_model(folder: Path, seed: int = 0) -> Path:
    """A small open_clip model of random weights in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    architecture = folder / "vit-of-adaptation.json"
    architecture.write_text(json.dumps(CONFIG))
    open_clip = import_open_clip()
    open_clip.add_model_config(architecture)
    torch.manual_seed(seed)
    model = open_clip.create_model("vit-of-adaptation", pretrained_image=False)
    architecture.unlink()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    write_tensors(folder / "open_clip_model.safetensors", weights)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    return folder


def measure(release: Path, model: Path, place: Path, overrides: list[str], seed: int) -> EvaluationResult:
    """Features of a model, a run trained on them, its evaluation on the test split."""
    features = place / "features" / model.name
    encode_release(release, [f"open_clip:local-dir:{model}"], features)
    plan = load_experiment(None, [f"dataset={release}", f"features={features}", f"training.seed={seed}", *overrides])
    run = start(plan, place / "runs" / f"{model.name}-{seed}", overwrite=True)
    for _ in fit(run):
        pass
    return evaluate_run(run, "test", Strict())


def main() -> None:
    """Adapt, encode twice, train twice for each seed, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--lora", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="of the trainings: KEY=VALUE")
    given = parser.parse_args()
    before, after = make_model(given.workspace / "before"), given.workspace / "after"
    if not after.exists():
        options = AdaptOptions(given.blocks, given.lora, given.epochs, given.batch_size, given.lr)
        report = adapt(given.release, f"open_clip:local-dir:{before}", after, options)
        for epoch in report.history:
            print(epoch)
    for seed in given.seeds:
        results = [measure(given.release, model, given.workspace, given.overrides, seed) for model in (before, after)]
        about = results[0].about
        print(f"{about['dataset']['name']} {about['dataset']['version']}, protocol strict, test split, seed {seed}")
        for name in (None, *results[0].model.relations):
            first, second = (result.model.of(name) for result in results)
            print(f"{name or 'all'}: {first.queries} queries, MRR {first.mrr:.3f} before, {second.mrr:.3f} after")


if __name__ == "__main__":
    sys.exit(main())
