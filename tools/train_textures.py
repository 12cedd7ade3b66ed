"""Makes weights/textures.safetensors, the small WideResNet-family network inside zsas-gpu.

UTAD (Aota et al., WACV 2023) calls a place defective when its layer2 vector lies far from most others of the photo. Logarithms of local
Laws energies (Laws 1980) are such vectors. The network starts as an exact construction of them out of convolutions and ReLU, and the scale
of each channel, which decides how much it counts in a distance, is then trained through UTAD on generated textures with painted defects.

1. stem: 24 Laws filters with both signs, 3 colours with both signs; max-pool.
2. layer1: both signs joined, smoothed. 3. layer2: smoothed at 8 pixels a cell; then log(1 + e/floor) as a sum of ReLU.
4. layer3: layer2 at half the size, for methods that join three layers.

    python tools/train_textures.py --seed 1 --output weights/textures.safetensors
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from textures import SIDE, draw_pool

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
LAWS = ([1, 4, 6, 4, 1], [-1, -2, 0, 2, 1], [-1, 0, 2, 0, -1], [-1, 2, 0, -2, 1], [1, -4, 6, -4, 1])
COLOURS = ((1 / 3, 1 / 3, 1 / 3), (1, -1, 0), (0, -1, 1))  # grey, red − green, blue − green
ENERGIES = 24  # all pairs of Laws rows but the mean
FEATURES = ENERGIES + len(COLOURS)
FLOOR = 2e-3  # energy, in a range of 0 to 1, at which the logarithm bends
KNOTS = (0.8, 3, 11, 40)  # energies over the floor at which its slope changes
STEM, OUT, WIDTHS = 56, 32, (32, 96, 32)  # channels; 4 and 5 of them stay free for alignment
EPS = 1e-5
START = torch.tensor([1.0] * ENERGIES + [8.0, 40.0, 40.0])  # scale of energies, grey and colours before training

BINOMIAL = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16
CENTRE = torch.outer(torch.tensor([0.0, 1, 0]), torch.tensor([0.0, 1, 0]))


# ---- construction ----


def laws_filters():
    """Filters [24, 5, 5] of unit absolute row sums."""
    rows = [torch.tensor(row, dtype=torch.float32) / sum(map(abs, row)) for row in LAWS]
    return torch.stack([torch.outer(a, b) for a in rows for b in rows][1:])


def log_slopes():
    """Slopes a with log(1 + x) ≈ x + Σ a·relu(x − knot), least squares over x in 0.01 to 150, evenly in log x."""
    x = torch.from_numpy(np.geomspace(0.01, 150, 800))
    hinges = torch.relu(x[:, None] - torch.tensor(KNOTS, dtype=torch.float64)[None])
    return torch.linalg.lstsq(hinges, torch.log1p(x) - x).solution.float()


def diagonal(rows, cols, count=FEATURES):
    """1×1 weight [rows, cols, 1, 1] that hands the first `count` channels on."""
    weight = torch.zeros(rows, cols, 1, 1)
    weight[range(count), range(count)] = 1.0
    return weight


def apart(width, count, kernel):
    """3×3 weight [width, width, 3, 3] that filters each of the first `count` channels by itself."""
    weight = torch.zeros(width, width, 3, 3)
    weight[range(count), range(count)] = kernel
    return weight


def norm(tensors, name, bias):
    """A batch norm that adds `bias`."""
    count = len(bias)
    tensors[f"{name}.weight"] = torch.full((count,), (1 + EPS) ** 0.5)
    tensors[f"{name}.bias"] = bias
    tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"] = torch.zeros(count), torch.ones(count)


def block(tensors, name, convs, bias1=None, is_first=False):
    """A bottleneck of three weights; the shortcut of a first block is switched off by a zero weight."""
    for number, weight in enumerate(convs, 1):
        tensors[f"{name}.conv{number}.weight"] = weight
        bias = bias1 if number == 1 and bias1 is not None else torch.zeros(len(weight))
        norm(tensors, f"{name}.bn{number}", bias)
    if is_first:
        tensors[f"{name}.downsample.0.weight"] = torch.zeros(len(convs[2]), convs[0].shape[1], 1, 1)
        norm(tensors, f"{name}.downsample.1", torch.zeros(len(convs[2])))


def construct(scale):
    """All tensors in f32, for the scale [27] of each feature."""
    tensors = {}
    weight, bias = torch.zeros(STEM, 3, 7, 7), torch.zeros(STEM)
    for sign, first in ((1, 0), (-1, ENERGIES)):
        for at, kernel in enumerate(laws_filters()):
            weight[first + at, :, 1:6, 1:6] = sign * (STD / 3)[:, None, None] * kernel
    row = torch.tensor([1.0, 6, 15, 20, 15, 6, 1]) / 64
    for at, mixture in enumerate(COLOURS):
        mixture = torch.tensor(mixture)
        for sign, channel in ((1, 2 * ENERGIES + at), (-1, 2 * ENERGIES + len(COLOURS) + at)):
            weight[channel] = sign * (STD * mixture)[:, None, None] * torch.outer(row, row)
            bias[channel] = sign * (MEAN * mixture).sum() + 1  # 1 ± colour is never negative
    tensors["conv1.weight"] = weight
    norm(tensors, "bn1", bias)

    # The max-pool gives the largest response of either sign, and the largest and smallest colour: their mean.
    joined, bias = torch.zeros(WIDTHS[0], STEM, 1, 1), torch.zeros(WIDTHS[0])
    for at in range(ENERGIES):
        joined[at, [at, ENERGIES + at]] = 0.5 * scale[at] / FLOOR
    for at in range(len(COLOURS)):
        feature, channel = ENERGIES + at, 2 * ENERGIES + at
        joined[feature, channel], joined[feature, channel + len(COLOURS)] = 0.5 * scale[feature], -0.5 * scale[feature]
        bias[feature] = scale[feature]
    smooth = [apart(width, FEATURES, BINOMIAL) for width in WIDTHS]
    block(tensors, "layer1.0", (joined, smooth[0], diagonal(OUT, WIDTHS[0])), bias, is_first=True)
    block(tensors, "layer2.0", (diagonal(WIDTHS[1], OUT), smooth[1], diagonal(OUT, WIDTHS[1])), is_first=True)

    # Energies once more: x + (smooth(x) − x).
    copies, both, change = diagonal(WIDTHS[1], OUT, ENERGIES), apart(WIDTHS[1], ENERGIES, BINOMIAL), diagonal(OUT, WIDTHS[1], ENERGIES)
    for at in range(ENERGIES):
        both[ENERGIES + at, at], change[at, ENERGIES + at] = CENTRE, -1
    block(tensors, "layer2.1", (copies, both, change))

    # The logarithm of the energies: x + Σ a·relu(x − knot).
    hinges, bias, slopes = torch.zeros(WIDTHS[1], OUT, 1, 1), torch.zeros(WIDTHS[1]), torch.zeros(OUT, WIDTHS[1], 1, 1)
    for at in range(ENERGIES):
        inner = range(at * len(KNOTS), (at + 1) * len(KNOTS))
        hinges[inner, at], slopes[at, inner, 0, 0] = 1.0, log_slopes()
        bias[list(inner)] = -scale[at] * torch.tensor(KNOTS)
    block(tensors, "layer2.2", (hinges, apart(WIDTHS[1], WIDTHS[1], CENTRE), slopes), bias)
    block(tensors, "layer3.0", (diagonal(WIDTHS[2], OUT), smooth[2], diagonal(OUT, WIDTHS[2])), is_first=True)
    return tensors


# ---- network ----


class Network:
    """torchvision's ResNet of bottlenecks in inference, on tensors by name."""

    def __init__(self, tensors):
        self.tensors = tensors

    def conv(self, x, conv, bn, stride=1, padding=0):
        t = self.tensors
        factor = t[f"{bn}.weight"] / torch.sqrt(t[f"{bn}.running_var"] + EPS)
        weight = t[f"{conv}.weight"] * factor[:, None, None, None]
        return F.conv2d(x, weight, t[f"{bn}.bias"] - t[f"{bn}.running_mean"] * factor, stride, padding)

    def __call__(self, x, depth=2):
        """x [b, 3, h, w], normalised → outputs of the first `depth` layers."""
        x = F.max_pool2d(F.relu(self.conv(x, "conv1", "bn1", 2, 3)), 3, 2, 1)
        outputs = []
        for layer in range(1, depth + 1):
            at = 0
            while f"layer{layer}.{at}.conv1.weight" in self.tensors:
                name, stride = f"layer{layer}.{at}", 2 if layer > 1 and at == 0 else 1
                y = F.relu(self.conv(x, f"{name}.conv1", f"{name}.bn1"))
                y = F.relu(self.conv(y, f"{name}.conv2", f"{name}.bn2", stride, 1))
                y = self.conv(y, f"{name}.conv3", f"{name}.bn3")
                x = F.relu(y + (self.conv(x, f"{name}.downsample.0", f"{name}.downsample.1", stride) if at == 0 else x))
                at += 1
            outputs.append(x)
        return outputs


def normalise(rgb):
    """[b, 3, h, w] in 0..1 by ImageNet's statistics."""
    return (rgb - MEAN[None, :, None, None]) / STD[None, :, None, None]


def load_network(path):
    """The network with the stored f16 values as f32."""
    return Network({name: value.float() for name, value in load_file(path).items()})


# ---- training of the scales ----


def utad_heat(features, references):
    """[b, c, h, w] → [b, h, w]: mean distance to the nearest quarter of the cells `references`, a sample of all."""
    b, _, h, w = features.shape
    pooled = F.avg_pool2d(features, 3, 1, 1).flatten(2).transpose(1, 2)
    pooled = pooled - pooled.mean(1, keepdim=True)  # keeps the squared distances accurate
    others = pooled[:, references]
    square = pooled.square().sum(2)[:, :, None] + others.square().sum(2)[:, None] - 2 * pooled @ others.transpose(1, 2)
    nearest = square.topk(len(references) // 4, dim=2, largest=False, sorted=False)[0]
    return nearest.clamp_min(1e-5).sqrt().mean(2).reshape(b, h, w)


def loss_of(heat, cover, level):
    """Logistic loss of log heat against two learnt levels: cells of defects above, good cells and defect-free photos below.

    `heat` [b, 40, 40], `cover` share of each cell that is defective; the outer 4 cells are left out, as UTAD's score does.
    """
    heat, cover = torch.log(heat[:, 4:-4, 4:-4] + 1e-3), cover[:, 4:-4, 4:-4]
    near = F.max_pool2d(cover[:, None], 3, 1, 1)[:, 0] > 0
    z = 3 * (heat - level[0])
    cells = (F.softplus(-z) * cover).sum() / (cover.sum() + 1e-6) + F.softplus(z)[~near].mean()
    top = 3 * (heat.flatten(1).topk(3, dim=1)[0].mean(1) - level[1])
    is_bad = (cover.sum((1, 2)) > 0.3).float()
    photos = (F.softplus(-top) * is_bad + F.softplus(top) * (1 - is_bad)).mean()
    return cells + photos


def train_scales(images, masks, steps, batch, generator):
    """The scale of each feature; features are linear in it, so they are computed once."""
    network = Network(construct(torch.ones(FEATURES)))
    features = []
    with torch.no_grad():
        for part in torch.from_numpy(images).split(10):
            features.append(network(normalise(part.permute(0, 3, 1, 2).float() / 255))[1][:, :FEATURES].half())
    features, cover = torch.cat(features), F.avg_pool2d(torch.from_numpy(masks).float()[:, None], 8)[:, 0]
    log_scale, level = START.log().requires_grad_(), torch.tensor([-0.3, 0.2], requires_grad=True)
    optimiser, mean = torch.optim.Adam([log_scale, level], lr=2e-2), 0.0
    for step in range(steps):
        chosen = torch.randint(len(features), (batch,), generator=generator)
        references = torch.randperm(1600, generator=generator)[:533]
        heat = utad_heat(features[chosen].float() * log_scale.exp()[None, :, None, None], references)
        loss = loss_of(heat, cover[chosen], level)
        optimiser.zero_grad()
        # Held near the start: what separates the painted defects best must not drown the fine ones.
        (loss + 0.1 * (log_scale - START.log()).square().mean()).backward()
        optimiser.step()
        mean += (loss.item() - mean) / min(step + 1, 50)
        if step % 50 == 49:
            print(f"step {step + 1}/{steps} loss {mean:.4f}", flush=True)
    return log_scale.detach().exp()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("weights/textures.safetensors"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=int, default=700, help="textures drawn")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    started = time.time()
    images, masks = draw_pool(arguments.seed, arguments.images, arguments.workers)
    assert images.shape[1:3] == (SIDE, SIDE)
    print(f"{len(images)} textures drawn in {time.time() - started:.0f} s", flush=True)
    generator = torch.Generator().manual_seed(arguments.seed)
    scale = train_scales(images, masks, arguments.steps, arguments.batch, generator)
    print("scales", [round(float(value), 2) for value in scale])
    tensors = {name: value.half().contiguous() for name, value in construct(scale).items()}
    assert all(torch.isfinite(value).all() for value in tensors.values()), "a value overflows f16"
    metadata = {
        "format": "zsas-textures-1", "task": "texture features for UTAD (layer2)", "seed": str(arguments.seed),
        "license": "MIT OR Apache-2.0", "utad.range": "0,1", "utad.level": "1",
    }
    save_file(tensors, arguments.output, metadata)
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes in {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
