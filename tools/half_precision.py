"""Compares the maps of methods in f16 with those in f32, on one device, and fails where they differ by more than 0.02.

    python tools/half_precision.py target/release/zsas-gpu [DEVICE] [METHOD ...]

Weights are those of the embedded network, of a WideResNet-50-2 and of a CLIP ViT-B-16-plus-240 drawn at random, the latter tilted so that
scores differ between photos. The photos of the tests are scored. Maps of distances are compared relative to their largest value, others
are probabilities. A decision flips where a score and its counterpart lie on different sides of a threshold: the median of the scores, so
that photos lie close to it.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import open_clip
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import clip_reference as reference
import golden
import parity

LIMIT = 2e-2
PHOTOS = [*sorted((golden.GOLDEN / "methods").glob("*.png")), *sorted((golden.ROOT / "tests" / "photos" / "textile").glob("*.jpg"))]
DISTANCES = ("utad", "saliency")
ON_CLIP = ("winclip", "winclip+", "clip-ac", "clip-ac-ensemble", "maskclip", "trans-mm", "patch-token", "image-tiling")


def clip_snapshot(folder):
    """A tilted network of full size."""
    model, config = parity.random_clip("ViT-B-16-plus-240")
    tokenizer = open_clip.get_tokenizer("ViT-B-16-plus-240")
    parity.tilt(model, reference.prototypes(model, tokenizer, parity.CLASS))
    reference.save_snapshot(folder, model, config)


def wide_resnet_file(path):
    model = golden.redraw(timm.create_model("wide_resnet50_2", pretrained=False))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)


def run(program, device, method, weights, precision, output):
    """Maps and scores of all photos."""
    command = [program, "infer", *PHOTOS, "--method", method, "--weights", weights, "--precision", precision, "--device", device,
               "--save", "map", "--output", output]
    if method in ON_CLIP:
        command += ["--class", parity.CLASS]
    if method == "winclip+":
        command += ["--normal", golden.GOLDEN / "methods" / "reference_1.png"]
    subprocess.run(list(map(str, command)), check=True, stderr=subprocess.DEVNULL)
    records = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    maps = [np.array(Image.open(output / record["map"]["file"])) for record in records]
    return maps, np.array([record["score"] for record in records])


def main():
    program, device = Path(sys.argv[1]).resolve(), sys.argv[2] if len(sys.argv) > 2 else "auto"
    chosen, failed = sys.argv[3:], False
    torch.manual_seed(parity.SEED)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        clip_snapshot(folder / "clip")
        wide_resnet_file(folder / "wide_resnet50_2.safetensors")
        cases = [(method, weights) for method in DISTANCES for weights in ("embedded", folder / "wide_resnet50_2.safetensors")]
        cases += [(method, folder / "clip") for method in ON_CLIP]
        for number, (method, weights) in enumerate(cases):
            if chosen and method not in chosen:
                continue
            maps, scores = run(program, device, method, weights, "f32", folder / f"{number}_f32")
            half_maps, half_scores = run(program, device, method, weights, "f16", folder / f"{number}_f16")
            scale = np.max([abs(one).max() for one in maps]) if method in DISTANCES else 1.0
            worst = np.max([abs(one - half).max() for one, half in zip(maps, half_maps, strict=True)]) / scale
            moved = abs(scores - half_scores).max() / scale
            threshold = np.median(scores)
            flips = int(((scores > threshold) != (half_scores > threshold)).sum())
            beyond = not (worst <= LIMIT and moved <= LIMIT)  # NaN is beyond.
            print(f"{method} on {Path(weights).name}: maps {worst:.1e}, scores {moved:.1e}, spread {scores.std() / scale:.1e}, {flips} of "
                  f"{len(scores)} decisions flip{f', more than {LIMIT}' if beyond else ''}", flush=True)
            failed |= beyond
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
