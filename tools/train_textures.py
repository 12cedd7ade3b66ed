"""Makes weights/textures.safetensors, the small WideResNet-family network inside zsas-gpu.

UTAD (Aota et al., WACV 2023) calls a place defective when its layer2 vector lies far from most others of the photo. Logarithms of local
Laws energies (Laws 1980) and of colours are such vectors. The network starts as a construction of them out of convolutions and
ReLU, and the scale of each channel, which decides how much it counts in a distance, is then trained through UTAD on generated textures
with painted defects.

1. stem: 24 Laws filters of 5×5 with both signs (fine energies), the blurred colours with both signs; max-pool.
2. layer1, 4 pixels a cell: filters of 3×3 twice over the grey photo make 24 of 5×5 (middle energies).
3. layer2, 8 pixels a cell: 8 filters of 3×3 (coarse energies), smoothing, then log(1 + x/floor) as a sum of ReLU;
   grey and differences of the logarithms of colours.
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
# Laws' rows of three (level, edge, spot), and his rows of five (level, edge, spot, wave, ripple) as convolutions of two of them.
LAWS3 = [torch.tensor(row) / sum(map(abs, row)) for row in ([1.0, 2, 1], [-1.0, 0, 1], [-1.0, 2, -1])]
PAIRS = ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2))
ENERGY_FLOOR, COLOUR_FLOOR = 2e-3, 0.05  # in a range of 0 to 1; where the logarithm bends
KNOTS = (0.44, 3.2, 12.5, 44)  # multiples of the floor at which the logarithm's slope changes; the best four in least squares
FINE, MIDDLE, COARSE, COLOURS = range(0, 24), range(24, 48), range(48, 56), range(56, 59)  # the features in layer2
FEATURES, STEM, LAYER1, LAYER2, LAYER3 = 59, 56, 72, 64, 64  # channels; a few stay free for alignment
WIDTH1, WIDTH2, WIDTH3 = 48, 64, 64  # inner channels of their blocks
EPS = 1e-5
START = torch.tensor([1.0] * 56 + [1.0, 24.0, 24.0])  # scales before training; of colours: grey, red − green, blue − green

BINOMIAL = torch.outer(LAWS3[0], LAWS3[0])
CENTRE = torch.outer(torch.tensor([0.0, 1, 0]), torch.tensor([0.0, 1, 0]))
AROUND = 4 * BINOMIAL - CENTRE  # x + AROUND(x) = 4·BINOMIAL(x): a residual block smooths without a copy of x


# ---- construction ----


def row_of_five(pair):
    """One of Laws' rows of five, with absolute sum 1, and the gain that gave it that sum."""
    row = torch.from_numpy(np.convolve(LAWS3[pair[0]], LAWS3[pair[1]]))
    gain = 1 / row.abs().sum()
    return row * gain, gain


def filters(rows):
    """All outer products of two rows but level × level: [n² − 1, k, k]."""
    return torch.stack([torch.outer(y, x) for y in rows for x in rows][1:])


def log_slopes():
    """Slopes a with log(1 + x) ≈ x + Σ a·relu(x − knot), in least squares over x of 0.01 to 150, evenly in log x."""
    x = torch.from_numpy(np.geomspace(0.01, 150, 800))
    hinges = torch.relu(x[:, None] - torch.tensor(KNOTS, dtype=torch.float64)[None])
    return torch.linalg.lstsq(hinges, torch.log1p(x) - x).solution.float()


def norm(tensors, name, bias):
    """A batch norm that adds `bias`."""
    count = len(bias)
    tensors[f"{name}.weight"] = torch.full((count,), (1 + EPS) ** 0.5)
    tensors[f"{name}.bias"] = bias
    tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"] = torch.zeros(count), torch.ones(count)


class Block:
    """A bottleneck in the making: three weights, all zero at first, with their biases."""

    def __init__(self, inputs, width, outputs, is_first=False):
        self.is_first = is_first
        self.before = torch.zeros(width, inputs, 1, 1)
        self.middle = torch.zeros(width, width, 3, 3)
        self.after = torch.zeros(outputs, width, 1, 1)
        self.bias, self.last_bias = torch.zeros(width), torch.zeros(outputs)

    def path(self, sources, inners, targets, kernel):
        """Each of the channels `sources` is filtered by `kernel`, in an inner channel of its own, and added to a target."""
        for source, inner, target in zip(sources, inners, targets, strict=True):
            self.before[inner, source], self.middle[inner, inner], self.after[target, inner] = 1.0, kernel, 1.0
        return self

    def write(self, tensors, name):
        biases = (self.bias, torch.zeros(len(self.middle)), self.last_bias)
        for number, (weight, bias) in enumerate(zip((self.before, self.middle, self.after), biases), 1):
            tensors[f"{name}.conv{number}.weight"] = weight
            norm(tensors, f"{name}.bn{number}", bias)
        if self.is_first:  # the shortcut of a first block is switched off
            tensors[f"{name}.downsample.0.weight"] = torch.zeros(len(self.after), self.before.shape[1], 1, 1)
            norm(tensors, f"{name}.downsample.1", torch.zeros(len(self.after)))


def write_stem(tensors):
    """Fine filters at 0 and, negated, at 24; 1 + colour at 48 and 1 − colour at 51, which are never negative."""
    weight, bias = torch.zeros(STEM, 3, 7, 7), torch.zeros(STEM)
    row = torch.tensor([1.0, 6, 15, 20, 15, 6, 1]) / 64
    for sign, fine, colour in ((1, 0, 48), (-1, 24, 51)):
        weight[fine:fine + 24, :, 1:6, 1:6] = sign * (STD / 3)[:, None, None] * filters([row_of_five(p)[0] for p in PAIRS])[:, None]
        for at in range(3):
            weight[colour + at, at] = sign * STD[at] * torch.outer(row, row)
            bias[colour + at] = sign * MEAN[at] + 1
    tensors["conv1.weight"] = weight
    norm(tensors, "bn1", bias)


def write_layer1(tensors, scale):
    """Channels: fine energies 0..24, middle energies 24..48, colours 48..51, grey through filters of 3×3 with both signs 51..69.

    Grey is taken less its usual mean, of which both signs pass, so that the zeros around the photo make no strong edge.
    """
    # The max-pool gave the largest response of either sign, and the largest and smallest colour: their means.
    block = Block(STEM, WIDTH1, LAYER1, is_first=True)
    block.path(FINE, range(24), FINE, BINOMIAL).path(range(48, 51), range(24, 27), range(48, 51), BINOMIAL)
    for at in FINE:
        block.before[at, [at, 24 + at], 0, 0] = 0.5 * scale[at] / ENERGY_FLOOR / 16
    halves = torch.tensor([0.5, -0.5])
    for at in range(3):
        block.before[24 + at, [48 + at, 51 + at], 0, 0] = halves / COLOUR_FLOOR / 4
        block.before[27, [48 + at, 51 + at], 0, 0], block.before[28, [48 + at, 51 + at], 0, 0] = halves / 3, -halves / 3
    block.bias[27], block.bias[28] = -MEAN.mean(), MEAN.mean()
    for at, kernel in enumerate([BINOMIAL, *filters(LAWS3)]):
        for sign, inner in ((1, 29 + 2 * at), (-1, 30 + 2 * at)):
            block.middle[inner, 27], block.middle[inner, 28] = sign * kernel, -sign * kernel
    block.after[range(51, 69), range(29, 47)] = 1.0
    block.write(tensors, "layer1.0")

    block = Block(LAYER1, WIDTH1, LAYER1)
    block.before[range(18), range(51, 69)] = 1.0
    for at in range(24):
        y, x = PAIRS[(at + 1) // 5], PAIRS[(at + 1) % 5]
        kernel = torch.outer(LAWS3[y[1]], LAWS3[x[1]]) * row_of_five(y)[1] * row_of_five(x)[1]
        done = 3 * y[0] + x[0]  # the filter that grey has already passed
        for sign, inner in ((1, at), (-1, 24 + at)):
            block.middle[inner, 2 * done], block.middle[inner, 2 * done + 1] = sign * kernel, -sign * kernel
            block.after[MIDDLE[at], inner] = scale[MIDDLE[at]] / ENERGY_FLOOR / 4
    block.write(tensors, "layer1.1")


def write_layer2(tensors, scale):
    """The features in their order. AROUND multiplies by 4, for which the channels were divided before."""
    carried = (*FINE, *MIDDLE, *COLOURS)
    Block(LAYER1, WIDTH2, LAYER2, is_first=True).path(range(51), range(51), carried, BINOMIAL).write(tensors, "layer2.0")
    energies = (*FINE, *MIDDLE)
    block = Block(LAYER2, WIDTH2, LAYER2).path(energies, range(48), energies, AROUND)
    for sign, inner in ((1, 48), (-1, 49)):  # grey less its mean
        block.before[inner, COLOURS, 0, 0], block.bias[inner] = sign * COLOUR_FLOOR * 4 / 3, -sign * MEAN.mean()
    for at, kernel in enumerate(filters(LAWS3)):
        for sign, inner in ((1, 48 + at), (-1, 56 + at)):
            block.middle[inner, 48], block.middle[inner, 49] = sign * kernel, -sign * kernel
            block.after[COARSE[at], inner] = scale[COARSE[at]] / ENERGY_FLOOR / 4
    block.write(tensors, "layer2.1")
    smoothed = (*FINE, *COARSE, *COLOURS)
    Block(LAYER2, WIDTH2, LAYER2).path(smoothed, range(35), smoothed, AROUND).write(tensors, "layer2.2")

    # The logarithm: x + Σ a·relu(x − knot), for 15 features in a block. Energies x carry their scale already.
    unit = torch.cat([scale[:COLOURS.start], torch.ones(3)])
    order, slopes = (*COLOURS, *range(COLOURS.start)), log_slopes()
    for number in range(4):
        block = Block(LAYER2, WIDTH2, LAYER2)
        for at, feature in enumerate(order[15 * number:15 * number + 15]):
            inner = range(4 * at, 4 * at + 4)
            block.before[inner, feature] = 1.0
            block.bias[inner] = -unit[feature] * torch.tensor(KNOTS)
            block.middle[inner, inner] = CENTRE
            block.after[feature, inner, 0, 0] = slopes
        if number == 3:
            mix_colours(block, scale)
        block.write(tensors, f"layer2.{3 + number}")


def mix_colours(block, scale):
    """From the logarithms of red, green and blue, which the shortcut adds, to grey, red − green and blue − green."""
    mixed = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [1, -1, 0], [0, -1, 1]]) * scale[list(COLOURS), None]
    inner = range(60, 63)
    block.before[inner, COLOURS] = 1.0
    block.middle[inner, inner] = CENTRE
    block.after[56:59, 60:63, 0, 0] = mixed - torch.eye(3)
    block.last_bias[57:59] = 2 * scale[57:59]  # keeps a difference positive up to a ratio of e²


def construct(scale):
    """All tensors in f32, for the scale [59] of each feature."""
    tensors = {}
    write_stem(tensors)
    write_layer1(tensors, scale)
    write_layer2(tensors, scale)
    block = Block(LAYER2, WIDTH3, LAYER3, is_first=True)
    block.path(range(FEATURES), range(FEATURES), range(FEATURES), BINOMIAL).write(tensors, "layer3.0")
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
