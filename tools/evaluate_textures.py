"""Measures the embedded network with UTAD, exactly as the Rust method runs it.

Reports pixel and image AUROC on generated textures of kinds that fitting never saw, image AUROC on a
folder pair of photos, and the colour range and decision level that go into the file's metadata.

    python tools/evaluate_textures.py weights/textures.safetensors --images 280
    python tools/evaluate_textures.py weights/textures.safetensors --nominal DIR --anomalous DIR --first 1 --last 250
"""

import argparse
import glob
import os
import re

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from textures import HELD_OUT_KINDS, MEASURED_DEFECTS, SIDE, TRAIN_KINDS, draw_example
from train_textures import load_network, normalise

NEIGHBOURS = 400  # nearest of the 1600 cells that count, the cell itself among them
CROP = 32  # pixels cut from every side of the 320 map


def to_square(image):
    """PIL RGB → shorter side 320 with Lanczos, centre crop 320×320."""
    width, height = image.size
    if width <= height:
        size = (SIDE, int(SIDE * height / width))
    else:
        size = (int(SIDE * width / height), SIDE)
    if size != image.size:
        image = image.resize(size, Image.LANCZOS)
    left, top = round((size[0] - SIDE) / 2), round((size[1] - SIDE) / 2)
    return image.crop((left, top, left + SIDE, top + SIDE))


def utad_map(net, picture):
    """u8 RGB [320, 320, 3] → f32 map [320, 320] before the crop (baselines: UTAD steps 2 to 5)."""
    with torch.no_grad():
        rgb = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        features = F.avg_pool2d(net(normalise(rgb))[1], 3, 1, 1, count_include_pad=True)[0]
        c, h, w = features.shape
        vectors = features.reshape(c, h * w).T.contiguous()
        # f64, because |a|² + |b|² − 2ab cancels for near neighbours.
        vectors = vectors.double()
        square = vectors.square().sum(1)
        distance = (square[:, None] + square[None] - 2 * vectors @ vectors.T).clamp_min(0).sqrt()
        heat = distance.float().topk(NEIGHBOURS, dim=1, largest=False)[0].mean(1).reshape(h, w)
        filled = torch.full_like(heat, heat.min().item())
        filled[3:-3, 3:-3] = heat[3:-3, 3:-3]
        full = F.interpolate(filled[None, None], size=(SIDE, SIDE), mode="bilinear", align_corners=False)[0, 0]
    return gaussian_filter(full.numpy(), 4)


def inner(x):
    return x[CROP:-CROP, CROP:-CROP]


def auroc(labels, scores):
    labels = np.asarray(labels)
    return float("nan") if labels.min() == labels.max() else roc_auc_score(labels, scores)


def numbered(folder, first, last):
    """Image files whose last number in the name lies in first..last; no other file is opened."""
    chosen = []
    for path in sorted(glob.glob(os.path.join(folder, "*"))):
        digits = re.findall(r"\d+", os.path.basename(path))
        if digits and first <= int(digits[-1]) <= last:
            chosen.append(path)
    return chosen


def photo_scores(net, folder, first, last):
    return np.array([inner(utad_map(net, to_square(Image.open(p).convert("RGB")))).max() for p in numbered(folder, first, last)])


def measure_generated(net, kinds, images, seed):
    """Draws `images` pictures, each of the measured defects equally often, and as many defect-free ones as one defect has."""
    rows = []
    defects = list(MEASURED_DEFECTS) + [None]
    kinds = list(kinds)
    for index in range(images):
        defect = defects[index % len(defects)]
        kind = kinds[(index // len(defects)) % len(kinds)]
        picture, mask = draw_example([seed, 99, index], kind, defect)
        rows.append((kind, defect, utad_map(net, picture), mask))
    return rows


def print_generated(rows):
    def pixel(selected, cut):
        selected = [r for r in selected if cut(r[3]).any()] + [r for r in selected if not cut(r[3]).any()]
        return auroc(np.concatenate([cut(r[3]).ravel()[::2] for r in selected]), np.concatenate([cut(r[2]).ravel()[::2] for r in selected]))

    whole = lambda x: x
    print(f"pixel AUROC, pooled over {len(rows)} images: crop {pixel(rows, inner):.4f}, full map {pixel(rows, whole):.4f}")
    defective = [r for r in rows if r[1]]
    good = [r for r in rows if not r[1]]
    print("mean of per-image pixel AUROC (crop):",
          f"{np.mean([auroc(inner(r[3]).ravel(), inner(r[2]).ravel()) for r in defective if inner(r[3]).any()]):.4f}")
    for kind in dict.fromkeys(r[0] for r in rows):
        some = [r for r in rows if r[0] == kind]
        print(f"  kind {kind:15} crop {pixel(some, inner):.4f} full {pixel(some, whole):.4f}")
    for defect in MEASURED_DEFECTS:
        some = [r for r in rows if r[1] == defect]
        print(f"  defect {defect:15} crop {pixel(some, inner):.4f} full {pixel(some, whole):.4f}")
    visible = [r for r in defective if inner(r[3]).any()]
    scores = np.array([inner(r[2]).max() for r in good + visible])
    print(f"image AUROC, {len(visible)} defective against {len(good)} good: {auroc([0] * len(good) + [1] * len(visible), scores):.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--images", type=int, default=0, help="generated images of held-out kinds")
    parser.add_argument("--train-kinds", action="store_true", help="measure on the training kinds instead")
    parser.add_argument("--good", type=int, default=0, help="further defect-free images, for the level and the range")
    parser.add_argument("--seed", type=int, default=12345)
    parser.add_argument("--nominal")
    parser.add_argument("--anomalous")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--last", type=int, default=250)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write-metadata", action="store_true", help="store the found range and level in the file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    net = load_network(arguments.weights)
    with safe_open(arguments.weights, "pt") as file:
        metadata = file.metadata()
    level = float(metadata["utad.level"])

    rows = []
    if arguments.images:
        rows = measure_generated(net, TRAIN_KINDS if arguments.train_kinds else HELD_OUT_KINDS, arguments.images, arguments.seed)
        print_generated(rows)
    if arguments.good:
        kinds = list(HELD_OUT_KINDS)
        clean = np.array([
            inner(utad_map(net, draw_example([arguments.seed, 98, i], kinds[i % len(kinds)], None)[0])).max()
            for i in range(arguments.good)])
        found_level = float(np.quantile(clean, 0.95))
        print(f"{arguments.good} good images: score quantiles 5/50/95/99.5 % {np.quantile(clean, [.05, .5, .95, .995]).round(3)}")
        defective = np.array([inner(r[2]).max() for r in rows if r[1] and inner(r[3]).any()])
        if len(defective):
            high = 1.2 * float(np.median(defective))
            print(f"defective: score quantiles 5/50/95 % {np.quantile(defective, [.05, .5, .95]).round(3)};"
                  f" level {found_level:.3f} finds {np.mean(defective > found_level):.3f}; range 0,{high:.3g}")
            if arguments.write_metadata:
                metadata["utad.level"], metadata["utad.range"] = f"{found_level:.3g}", f"0,{high:.3g}"
                level = float(metadata["utad.level"])
                save_file(load_file(arguments.weights), arguments.weights, metadata)
    if arguments.nominal and arguments.anomalous:
        good = photo_scores(net, arguments.nominal, arguments.first, arguments.last)
        bad = photo_scores(net, arguments.anomalous, arguments.first, arguments.last)
        print(f"photos {arguments.first}..{arguments.last}: image AUROC {auroc([0] * len(good) + [1] * len(bad), np.concatenate([good, bad])):.4f}"
              f" ({len(good)} nominal, {len(bad)} anomalous)")
        print(f"  nominal 5/50/95/max {np.quantile(good, [.05, .5, .95, 1]).round(3)}  anomalous min/5/50/95 {np.quantile(bad, [0, .05, .5, .95]).round(3)}")
        print(f"  above level {level:g}: nominal {np.mean(good > level):.3f}, anomalous {np.mean(bad > level):.3f}")


if __name__ == "__main__":
    main()
