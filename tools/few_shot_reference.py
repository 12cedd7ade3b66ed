"""PatchCore, PaDiM and SPADE in plain PyTorch and NumPy, step by step as their public codes compute them, on the layers of any ResNet.

Each function has the mistakes that a test must be able to see as options. Random numbers are those of `zsas-gpu`, whose generator
(SplitMix64) stands in `Seeded`, so that both sides compute with the same.
"""

import math

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F
from PIL import Image

SIDE, FRAME, POOLED, PROJECTED, STARTS, KEPT, NEAREST, SIGMA = 256, 224, 1024, 128, 10, 550, 5, 4
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


class Seeded:
    """The generator of `src/tensor/seeded.rs`."""

    def __init__(self, seed):
        self.state = seed

    def bits(self):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    def uniform(self):
        return (self.bits() >> 11) / (1 << 53)

    def distinct(self, count, below):
        numbers = list(range(below))
        for at in range(count):
            other = at + int(self.uniform() * (below - at))
            numbers[at], numbers[other] = numbers[other], numbers[at]
        return numbers[:count]


def square(image, side, frame, resampling):
    """An image scaled until its shorter side is `side`, and its central square: the pixels `[1, 3, frame, frame]`, the size it was scaled
    to, and the square's upper left corner."""
    width, height = image.size
    size = (side, side * height // width) if width <= height else (side * width // height, side)
    scaled = np.array(image.resize(size, resampling))
    left, top = [round((length - frame) / 2) for length in size]
    x = torch.from_numpy(scaled[top:top + frame, left:left + frame]).float() / 255
    return ((x - MEAN) / STD).permute(2, 0, 1)[None], size, (left, top)


def preprocess(image, resampling):
    """The pixels of the central square."""
    return square(image, SIDE, FRAME, resampling)[0]


def restore(frame, image, side=SIDE):
    """A map of the central square at the size of the image: bilinear, the minimum where the centre of a pixel lies outside."""
    height, width = image.size[1], image.size[0]
    side_of_frame = frame.shape[0]
    _, size, corner = square(image, side, side_of_frame, Image.BILINEAR)
    places = []
    for to, scaled, offset in [(height, size[1], corner[1]), (width, size[0], corner[0])]:
        places.append((torch.arange(to, dtype=torch.float64) + 0.5) * scaled / to - 0.5 - offset)
    inside = [(place >= -0.5) & (place < side_of_frame - 0.5) for place in places]
    grid = [(place.clamp(0, side_of_frame - 1) + 0.5) / side_of_frame * 2 - 1 for place in places]
    at = torch.stack([grid[1][None].expand(height, width), grid[0][:, None].expand(height, width)], -1)[None]
    whole = F.grid_sample(frame[None, None].double(), at, mode="bilinear", padding_mode="border", align_corners=False)[0, 0]
    return torch.where(inside[0][:, None] & inside[1][None], whole, frame.min().double()).float()


def smooth(cells):
    """Values of cells `[g, g]` at the size of the frame."""
    return F.interpolate(cells[None, None], (FRAME, FRAME), mode="bilinear", align_corners=False)[0, 0]


def gaussian(frame):
    return torch.from_numpy(scipy.ndimage.gaussian_filter(frame.numpy(), SIGMA))


# PatchCore


def floor_pool(x, count):
    """Adaptive pooling with bins that end at ⌊(i + 1)·L/n⌋: a mistake."""
    length = x.shape[-1]
    bins = [(i * length // count, max((i + 1) * length // count, i * length // count + 1)) for i in range(count)]
    return torch.stack([x[..., start:end].mean(-1) for start, end in bins], -1)


def patches(layer, padding="zeros"):
    """3×3 patches of a layer `[1, c, h, w]` → `[h, w, c, 3, 3]`."""
    _, channels, height, width = layer.shape
    if padding != "zeros":
        layer = F.pad(layer, (1, 1, 1, 1), mode=padding)
    unfolded = F.unfold(layer, 3, padding=1 if padding == "zeros" else 0)
    return unfolded.reshape(channels, 3, 3, height, width).permute(3, 4, 0, 1, 2)


def patch_features(layers, padding="zeros", pool=F.adaptive_avg_pool1d, resized="patches"):
    """Features of patches `[784, 1024]`."""
    fine, coarse = layers[1], layers[2]
    rows, cols = fine.shape[2:]
    if resized == "layers":
        coarse = F.interpolate(coarse, (rows, cols), mode="bilinear", align_corners=False)
    first, second = patches(fine, padding), patches(coarse, padding)
    if resized == "patches":
        shape = second.shape
        planes = second.reshape(shape[0], shape[1], -1).permute(2, 0, 1)[:, None]
        planes = F.interpolate(planes, (rows, cols), mode="bilinear", align_corners=False)
        second = planes[:, 0].permute(1, 2, 0).reshape(rows, cols, *shape[2:])
    pooled = [pool(one.reshape(rows * cols, 1, -1), POOLED) for one in (first, second)]
    return pool(torch.stack(pooled, 1).reshape(rows * cols, 1, -1), POOLED)[:, 0]


def random_numbers(rows):
    """The projection `[1024, 128]` and the starting points."""
    random = Seeded(0)
    bound = 1 / math.sqrt(POOLED)
    weight = np.array([(2 * random.uniform() - 1) * bound for _ in range(PROJECTED * POOLED)], np.float32)
    return torch.from_numpy(weight).reshape(PROJECTED, POOLED).T.contiguous(), random.distinct(min(STARTS, rows), rows)


def coreset(features, given=None):
    """Numbers of the tenth of the rows that greedy selection takes, and the smallest lead of a chosen row over the next, relative to its
    distance. With rows that are `given`, these, and how far the distance of one fell short of the largest."""
    projection, starts = random_numbers(len(features))
    projected = (features.float() @ projection).double() if features.dtype == torch.float32 else features @ projection.double()
    farness = torch.cdist(projected, projected[starts]).mean(1)
    chosen, leads = [], []
    for at in range(len(features) // 10):
        row = int(farness.argmax()) if given is None else given[at]
        best, second = farness.topk(2).values
        leads.append(((best - second if given is None else best - farness[row]) / best).item())
        chosen.append(row)
        farness = torch.minimum(farness, (projected - projected[row]).norm(dim=1))
    return chosen, min(leads) if given is None else max(leads)


def patchcore(layers_of, image, references, rows=None, squared=True, **mistakes):
    """The map at the size of the image, its score, and the chosen rows."""
    features = torch.cat([patch_features(layers_of(preprocess(one, Image.BILINEAR)), **mistakes) for one in references])
    lead = None
    if rows is None and len(references) > 4:
        rows, lead = coreset(features)
    memory = features if rows is None else features[rows]
    query = patch_features(layers_of(preprocess(image, Image.BILINEAR)), **mistakes)
    nearest = torch.cdist(query.double(), memory.double(), compute_mode="donot_use_mm_for_euclid_dist").min(1).values
    if squared:
        nearest = nearest ** 2
    frame = gaussian(smooth(nearest.reshape(28, 28)))
    return restore(frame, image), nearest.max(), rows, lead


# PaDiM


def embedding(layers):
    """Layers 1 to 3 at the size of the first `[c, 56, 56]`."""
    size = layers[0].shape[2:]
    return torch.cat([F.interpolate(layer, size, mode="nearest")[0] for layer in layers[:3]])


def padim(layers_of, image, references, ddof=1, regularization=0.01, resampling=Image.LANCZOS, channels=None):
    """The map at the size of the image, and its score: its largest value in the frame."""
    samples = torch.stack([embedding(layers_of(preprocess(one, resampling))) for one in references]).double()
    query = embedding(layers_of(preprocess(image, resampling))).double()
    if channels is None:
        channels = sorted(Seeded(1024).distinct(min(KEPT, len(query)), len(query)))
    samples, query = samples[:, channels].flatten(2), query[channels].flatten(1)
    mean = samples.mean(0)
    distances = torch.empty(query.shape[1], dtype=torch.float64)
    identity = torch.eye(len(channels), dtype=torch.float64)
    for cell in range(query.shape[1]):
        x = samples[:, :, cell] - mean[:, cell]
        covariance = x.T @ x / max(len(references) - ddof, 1) + regularization * identity
        delta = query[:, cell] - mean[:, cell]
        distances[cell] = (delta @ torch.linalg.inv(covariance) @ delta).sqrt()
    frame = gaussian(smooth(distances.reshape(56, 56)))
    return restore(frame, image), frame.max()


# SPADE


def least_distances(query, gallery, offset):
    """For each row of `query` the smallest distance to a row of `gallery`, with `offset` added to each difference, as `pairwise_distance`
    does."""
    return torch.cat([
        torch.cdist(part, gallery + offset, compute_mode="donot_use_mm_for_euclid_dist").min(1).values for part in query.split(256)
    ])


def spade(layers_of, image, references, nearest=NEAREST, offset=1e-6, resampling=Image.LANCZOS, joined=False):
    """The map at the size of the image, its score, and the numbers of the nearest references."""
    of_references = [layers_of(preprocess(one, resampling)) for one in references]
    query = layers_of(preprocess(image, resampling))
    pooled = torch.cat([layers[-1].mean((2, 3)) for layers in of_references])
    distances = (pooled - query[-1].mean((2, 3))).norm(dim=1)
    order = distances.sort(stable=True).indices[:nearest]
    if joined:
        of_references, query = [[[embedding(layers)[None]] for layers in of_references], [embedding(query)[None]]]
    rows = lambda layer: layer[0].flatten(1).T.double()
    frames = []
    for at, layer in enumerate(query[:3]):
        gallery = torch.cat([rows(of_references[one][at]) for one in order])
        cells = least_distances(rows(layer), gallery, offset)
        frames.append(smooth(cells.reshape(layer.shape[2:])))
    return restore(gaussian(torch.stack(frames).mean(0)), image), distances[order].mean(), order


# UTAD


def utad(layers_of, image):
    """The map at the size of the image, and its score (Aota et al. 2023)."""
    pixels = square(image, 320, 320, Image.LANCZOS)[0]
    features = F.avg_pool2d(layers_of(pixels)[1], 3, 1, 1)[0].flatten(1).T.double()
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    heat = distances.topk(400, largest=False).values.mean(1).reshape(40, 40)
    edged = torch.full_like(heat, heat.min())
    edged[3:-3, 3:-3] = heat[3:-3, 3:-3]
    frame = F.interpolate(edged[None, None], (320, 320), mode="bilinear", align_corners=False)[0, 0]
    frame = gaussian(frame)
    return restore(frame, image, 320), frame[32:-32, 32:-32].max()
