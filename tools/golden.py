"""Writes the goldens of kernels, the WideResNet and UTAD to tests/golden/: outputs of PyTorch and torchvision, for tests that need no Python.

    python tools/golden.py [kernels] [wide_resnet] [methods]

Every file is seeded and records its versions. Kernels are computed in f64 and stored as f32; networks run in f32, as users run them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file, save_file
from torchvision.models.resnet import Bottleneck

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
SEED = 20261122
LARGEST = 65536
ACTIVATIONS = {
    "Identity": lambda x: x,
    "Relu": F.relu,
    "Gelu": F.gelu,
    "QuickGelu": lambda x: x * torch.sigmoid(1.702 * x),
    "Sigmoid": torch.sigmoid,
    "Exp": torch.exp,
    "Sqrt": lambda x: torch.sqrt(torch.clamp(x, min=0)),
}


def save(name, tensors, metadata):
    """Writes one golden; refuses files that are too large for the repository."""
    path = GOLDEN / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.to(torch.float32).contiguous() for key, value in tensors.items()}
    common = {"script": f"tools/golden.py {name.split('/')[0]}", "torch": torch.__version__, "seed": str(SEED)}
    save_file(tensors, path, metadata | common)
    size = path.stat().st_size
    assert size <= LARGEST, f"{path} has {size} bytes"
    print(f"{path.relative_to(ROOT)}: {size} bytes")


def normal(*shape, spread=1.3, centre=0.4):
    """Numbers of either sign off centre, exactly representable in f32."""
    return (torch.randn(*shape, dtype=torch.float32) * spread + centre).double()


def last(x):
    """NCHW to NHWC."""
    return x.permute(0, 2, 3, 1)


class Cases:
    """Cases of one kernel: operands and result by number, parameters as JSON."""

    def __init__(self, kernel):
        self.kernel, self.tensors, self.metadata = kernel, {}, {}

    def add(self, parameters, y, **operands):
        number = len(self.metadata)
        for name, value in operands.items():
            assert torch.equal(value, value.float().double()), f"{self.kernel}: operand {name} is not exact in f32"
            self.tensors[f"{number}.{name}"] = value
        self.tensors[f"{number}.y"] = y
        self.metadata[str(number)] = json.dumps(parameters)

    def save(self):
        save(f"kernels/{self.kernel}", self.tensors, self.metadata)


def kernels():
    """One file per kernel of the vocabulary."""
    matmul = Cases("matmul")
    for rows, cols, inner, activation in [(1, 1, 1, "Identity"), (5, 7, 3, "Relu"), (17, 12, 20, "Gelu"), (9, 4, 33, "QuickGelu")]:
        a, b, bias, residual = normal(rows, inner), normal(inner, cols), normal(cols), normal(rows, cols)
        parameters = {"rows": rows, "cols": cols, "inner": inner, "activation": activation}
        y = ACTIVATIONS[activation](F.linear(a, b.T, bias) + residual)
        matmul.add(parameters, y, a=a, b=b, bias=bias, residual=residual)
    matmul.save()

    distances = Cases("distances")
    for rows, cols, inner in [(6, 5, 4), (19, 23, 31)]:
        a, b = normal(rows, inner), normal(cols, inner)
        distances.add({"rows": rows, "cols": cols, "inner": inner}, torch.cdist(a, b), a=a, b=b.T)
    distances.save()

    conv2d = Cases("conv2d")
    for batch, height, width, channels_in, channels_out, kernel, stride, padding in [
        (1, 5, 7, 4, 8, (1, 1), 2, 0), (2, 6, 5, 3, 5, (3, 3), 1, 1), (1, 9, 8, 8, 4, (3, 3), 2, 1), (1, 15, 13, 3, 4, (7, 7), 2, 3),
        (1, 4, 6, 2, 3, (3, 2), 1, 0),
    ]:
        x, weight = normal(batch, channels_in, height, width), normal(channels_out, channels_in, *kernel)
        bias = normal(channels_out)
        y = F.conv2d(x, weight, bias, stride, padding)
        residual = normal(*y.shape)
        parameters = {"batch": batch, "height": height, "width": width, "channels_in": channels_in, "channels_out": channels_out,
                      "kernel": kernel, "stride": stride, "padding": padding}
        conv2d.add(parameters, last(F.relu(y + residual)), x=last(x), weight=weight.permute(2, 3, 1, 0), bias=bias, residual=last(residual))
    conv2d.save()

    pool = Cases("pool")
    for kind, height, width, channels, window, stride, padding in [
        ("Max", 7, 9, 5, 3, 2, 1), ("Average", 7, 9, 5, 3, 1, 1), ("Max", 4, 4, 3, 2, 2, 0), ("Average", 5, 6, 2, 2, 2, 1),
    ]:
        x = normal(2, channels, height, width, centre=-1.6)
        y = F.max_pool2d(x, window, stride, padding) if kind == "Max" else F.avg_pool2d(x, window, stride, padding)
        parameters = {"kind": kind, "batch": 2, "height": height, "width": width, "channels": channels,
                      "window": window, "stride": stride, "padding": padding}
        pool.add(parameters, last(y), x=last(x))
    pool.save()

    unary = Cases("unary")
    for activation, function in ACTIVATIONS.items():
        x = torch.cat([normal(30), torch.tensor([0.0, -0.0, 8.0, -8.0, 0.01]).double()])
        unary.add({"activation": activation, "scale": -0.75, "offset": 0.25, "len": 35}, function(-0.75 * x + 0.25), x=x)
    unary.save()

    binary = Cases("binary")
    for op, function in [("Add", torch.add), ("Sub", torch.sub), ("Mul", torch.mul)]:
        a, b = normal(6, 7), normal(7)
        binary.add({"op": op, "len": 42, "right_len": 7}, function(a, b), a=a, b=b)
    binary.save()

    rows_of = [(1, 1), (3, 7), (5, 300)]
    normalize, softmax, layer_norm = Cases("normalize_rows"), Cases("softmax"), Cases("layer_norm")
    for rows, cols in rows_of:
        size, x = {"rows": rows, "cols": cols}, normal(rows, cols, spread=4.0)
        normalize.add(size, F.normalize(x, dim=-1, eps=1e-12), x=x)
        softmax.add(size, F.softmax(x, dim=-1), x=x)
        weight, bias = normal(cols), normal(cols)
        layer_norm.add(size, F.layer_norm(x, [cols], weight, bias, 1e-6), x=x, weight=weight, bias=bias)
    for cases in (normalize, softmax, layer_norm):
        cases.save()

    resize = Cases("resize")
    for mode, height, width, height_out, width_out in [
        ("Nearest", 3, 5, 6, 10), ("Nearest", 7, 5, 4, 9), ("Bilinear", 3, 5, 6, 10), ("Bilinear", 7, 5, 4, 9), ("Bilinear", 1, 1, 3, 2),
    ]:
        x = normal(2, 3, height, width)
        y = F.interpolate(x, (height_out, width_out), mode=mode.lower(), **({"align_corners": False} if mode == "Bilinear" else {}))
        parameters = {"interpolation": mode, "batch": 2, "height": height, "width": width, "channels": 3,
                      "height_out": height_out, "width_out": width_out}
        resize.add(parameters, last(y), x=last(x))
    resize.save()

    top_mean = Cases("top_mean")
    for selection, rows, cols, count in [("Largest", 3, 7, 2), ("Smallest", 4, 50, 20), ("Largest", 2, 300, 300), ("Smallest", 5, 9, 1)]:
        x = normal(rows, cols)
        x[0, : cols // 2] = x[0, 0]
        y = torch.topk(x, count, dim=-1, largest=selection == "Largest").values.mean(-1)
        top_mean.add({"selection": selection, "rows": rows, "cols": cols, "count": count}, y, x=x)
    top_mean.save()

    permute = Cases("permute")
    for sizes, order in [((1, 2, 3, 4, 5), (4, 0, 3, 1, 2)), ((1, 1, 1, 6, 7), (0, 1, 2, 4, 3)), ((1, 2, 4, 3, 5), (0, 1, 3, 2, 4))]:
        x = normal(*sizes)
        permute.add({"sizes": sizes, "order": order}, x.permute(order), x=x)
    permute.save()

    channels_last = Cases("channels_last")
    for channels, padded in [(3, 4), (5, 5)]:
        x = normal(2, channels, 3, 5)
        parameters = {"batch": 2, "channels": channels, "height": 3, "width": 5, "padded": padded}
        channels_last.add(parameters, last(F.pad(x, (0, 0, 0, 0, 0, padded - channels))), x=x)
    channels_last.save()

    concat = Cases("concat")
    for rows, left, right in [(1, 1, 1), (7, 3, 5)]:
        a, b = normal(rows, left), normal(rows, right)
        concat.add({"rows": rows, "left": left, "right": right}, torch.cat([a, b], -1), a=a, b=b)
    concat.save()

    # Each query has its own range of keys: batches, causal texts, cross attention. Cross attention reads buffers of its own, self-attention
    # one buffer of queries, keys and values side by side.
    attention = Cases("attention")
    ranges = torch.tensor([[0, 3], [0, 3], [0, 3], [3, 5], [3, 5], [5, 6], [5, 7]])
    for key_ranges, keys, heads, head_dim, joint in [
        (ranges, 7, 2, 4, True), (torch.tensor([[0, 1], [0, 2], [0, 3]]), 3, 1, 5, True), (torch.tensor([[0, 9], [2, 9], [8, 9], [0, 1]]), 9, 3, 2, False),
    ]:
        dim, queries = heads * head_dim, len(key_ranges)
        if joint:
            q = k = v = normal(queries, 3 * dim)
            parts = [q[:, part * dim : (part + 1) * dim] for part in range(3)]
            layouts = [[3 * dim, part * dim] for part in range(3)]
        else:
            q, k, v = parts = normal(queries, dim), normal(keys, dim), normal(keys, dim)
            layouts = [[dim, 0]] * 3
        inside = (torch.arange(keys) >= key_ranges[:, :1]) & (torch.arange(keys) < key_ranges[:, 1:])
        by_head = [part.reshape(len(part), heads, head_dim).transpose(0, 1) for part in parts]
        y = F.scaled_dot_product_attention(*by_head, attn_mask=inside).transpose(0, 1).reshape(queries, dim)
        parameters = {"queries": queries, "keys": keys, "heads": heads, "head_dim": head_dim, "q": layouts[0], "k": layouts[1], "v": layouts[2]}
        attention.add(parameters, y, q=q, k=k, v=v, key_ranges=key_ranges.double())

    gather = Cases("gather")
    for rows_in, cols, rows in [(5, 3, [4, 0, 0, 2]), (2, 4, [1])]:
        x, numbers = normal(rows_in, cols), torch.tensor(rows)
        gather.add({"rows_in": rows_in, "rows_out": len(rows), "cols": cols}, x[numbers], x=x, rows=numbers.double())
    gather.save()

    # Two grids of 2 × 3 keys; queries anywhere on them, in any order.
    rows, cols, heads, head_dim = 2, 3, 2, 4
    query_cells, first = torch.tensor([4, 0, 5, 2, 1]), torch.tensor([0, 0, 0, 6, 6])
    dim, queries, cells = heads * head_dim, len(query_cells), rows * cols
    q, k, v = normal(queries, dim), normal(2 * cells, dim), normal(2 * cells, dim)
    rel_pos = normal(queries, heads, 2 * (rows + cols))
    bias = torch.full((heads, queries, 2 * cells), -torch.inf, dtype=torch.float64)
    for query, own in enumerate(query_cells):
        for cell in range(cells):
            down, right = own // cols - cell // cols, own % cols - cell % cols
            bias[:, query, first[query] + cell] = rel_pos[query, :, rows + down] + rel_pos[query, :, 2 * rows + cols + right]
    by_head = [part.reshape(len(part), heads, head_dim).transpose(0, 1) for part in (q, k, v)]
    y = F.scaled_dot_product_attention(*by_head, attn_mask=bias).transpose(0, 1).reshape(queries, dim)
    parameters = {"queries": queries, "keys": 2 * cells, "heads": heads, "head_dim": head_dim, "grid": [rows, cols]} | dict.fromkeys("qkv", [dim, 0])
    key_ranges = torch.stack([first, first + cells], 1)
    attention.add(parameters, y, q=q, k=k, v=v, key_ranges=key_ranges.double(), rel_pos=rel_pos, query_cells=query_cells.double())
    attention.save()

    batched = Cases("batched_matmul")
    for batch, rows, cols, inner in [(3, 5, 7, 3), (2, 17, 12, 20)]:
        a, b, bias, residual = normal(batch, rows, inner), normal(batch, inner, cols), normal(batch, cols), normal(batch, rows, cols)
        parameters = {"batch": batch, "rows": rows, "cols": cols, "inner": inner, "activation": "Relu"}
        batched.add(parameters, F.relu(torch.bmm(a, b) + bias[:, None] + residual), a=a, b=b, bias=bias, residual=residual)
    batched.save()

    group_norm = Cases("group_norm")
    for images, cells, channels, groups in [(1, 6, 8, 2), (2, 15, 6, 6)]:
        x, weight, bias = normal(images, cells, channels, spread=4.0), normal(channels), normal(channels)
        y = F.group_norm(x.transpose(1, 2), groups, weight, bias, 1e-5).transpose(1, 2)
        group_norm.add({"images": images, "cells": cells, "channels": channels, "groups": groups}, y, x=x, weight=weight, bias=bias)
    group_norm.save()

    # Deformable DETR's `inverse_sigmoid`.
    logit = Cases("logit")
    x = torch.cat([torch.rand(40).double(), torch.tensor([0.0, 1.0, -0.5, 1.5, 1e-4, 0.5]).double()])
    inside = x.clamp(0, 1)
    logit.add({"len": 46, "eps": 1e-3}, torch.log(inside.clamp(min=1e-3) / (1 - inside).clamp(min=1e-3)), x=x)
    logit.save()

    sine_positions = Cases("sine_positions")
    x, periods = torch.cat([torch.rand(5).double(), torch.tensor([0.0, 1.0, 17.0]).double()]), (10000 ** (torch.arange(6) / 6)).float().double()
    angle = 2 * torch.pi * x[:, None] / periods
    sine_positions.add({"positions": 8, "periods": 6}, torch.stack([angle.sin(), angle.cos()], -1), x=x, periods=periods)
    sine_positions.save()

    top_rows = Cases("top_rows")
    scores = normal(3, 50)
    chosen = torch.sort(scores, descending=True, stable=True).indices[:, :9]
    top_rows.add({"sequences": 3, "rows": 50, "count": 9}, (chosen + 50 * torch.arange(3)[:, None]).double(), scores=scores)
    top_rows.save()

    window_attention = Cases("window_attention")
    for height, width, heads, head_dim, window, shift in [(5, 7, 2, 4, 3, 1), (7, 9, 1, 8, 4, 2), (6, 6, 2, 4, 3, 0), (3, 4, 1, 4, 5, 2)]:
        dim = heads * head_dim
        qkv, padding, bias = normal(height * width, 3 * dim), normal(3 * dim), normal(heads, (2 * window - 1) ** 2)
        y = swin_attention(qkv.reshape(height, width, 3 * dim), padding, bias, heads, window, shift)
        parameters = {"height": height, "width": width, "heads": heads, "head_dim": head_dim, "window": window, "shift": shift}
        window_attention.add(parameters, y, qkv=qkv, padding=padding, bias=bias)
    window_attention.save()

    deformable = Cases("deformable_attention")
    for levels, queries, heads, head_dim, points, has_boxes in [
        ([[4, 6], [2, 3]], 7, 2, 4, 3, False), ([[5, 3], [3, 2], [2, 1]], 5, 3, 8, 2, True),
    ]:
        cells, samples = sum(rows * cols for rows, cols in levels), len(levels) * points
        value, weights = normal(cells, heads * head_dim), normal(queries, heads, samples)
        offsets, references = normal(queries, heads, len(levels), points, 2), torch.rand(queries, 4 if has_boxes else 2).double()
        y = deformable_attention(value, offsets, weights, references, levels)
        parameters = {"queries": queries, "levels": levels, "heads": heads, "head_dim": head_dim, "points": points, "has_boxes": has_boxes}
        deformable.add(parameters, y, value=value, offsets=offsets, weights=weights, references=references)
    deformable.save()

    region_mask = Cases("region_mask")
    for masks, mask, frame, covered, image in [(1, (4, 4), (16, 16), (16, 11), (23, 15)), (3, (5, 6), (20, 24), (13, 24), (9, 37))]:
        logits = normal(masks, *mask)
        sizes = {"mask": mask, "frame": frame, "covered": covered, "image": image}
        parameters = {"masks": masks} | {f"{name}_{axis}": size for name, pair in sizes.items() for axis, size in zip(("rows", "cols"), pair)}
        enlarged = F.interpolate(logits[None], frame, mode="bilinear", align_corners=False)[..., :covered[0], :covered[1]]
        inside = F.interpolate(enlarged, image, mode="bilinear", align_corners=False)[0] > 0
        words = F.pad(inside, (0, -image[1] % 16)).unflatten(-1, (-1, 16))
        region_mask.add(parameters, (words * 2 ** torch.arange(16)).sum(-1).double(), x=logits)
    region_mask.save()


def swin_attention(qkv, padding, bias, heads, window, shift):
    """Attention inside windows of an image `[h, w, 3·dim]` as the released Swin transformer computes it: padded, rolled, cut, masked by −100."""
    height, width, dim = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    rows, cols = (-(-size // window) * window for size in (height, width))
    image = padding.expand(rows, cols, 3 * dim).clone()
    image[:height, :width] = qkv
    region = torch.zeros(rows, cols)
    if shift:
        edges = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
        for number, (down, across) in enumerate((down, across) for down in edges for across in edges):
            region[down, across] = number
        image = image.roll((-shift, -shift), (0, 1))

    def cut(x):
        return x.reshape(rows // window, window, cols // window, window, -1).transpose(1, 2).reshape(-1, window * window, x.shape[-1])

    q, k, v = cut(image).unflatten(-1, (3, heads, head_dim := dim // heads)).permute(2, 0, 3, 1, 4)
    place = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    difference = place[:, None] - place[None] + window - 1
    scores = q @ k.mT / head_dim ** 0.5 + bias[:, difference[..., 0] * (2 * window - 1) + difference[..., 1]]
    regions = cut(region[..., None])[..., 0]
    scores = scores - 100 * (regions[:, None, :, None] != regions[:, None, None, :])
    y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(rows // window, cols // window, window, window, dim)
    return y.transpose(1, 2).reshape(rows, cols, dim).roll((shift, shift), (0, 1))[:height, :width]


def deformable_attention(value, offsets, weights, references, levels):
    """Multi-scale deformable attention by `grid_sample`, as Deformable DETR's code for CPUs."""
    queries, heads, _, points, _ = offsets.shape
    weights = weights.softmax(-1).unflatten(-1, (len(levels), points))
    y, start = 0, 0
    for level, (rows, cols) in enumerate(levels):
        maps = value[start:start + rows * cols].reshape(rows, cols, heads, -1).permute(2, 3, 0, 1)
        start += rows * cols
        if references.shape[-1] == 2:
            place = references[:, None, None] + offsets[:, :, level] / torch.tensor([cols, rows])
        else:
            place = references[:, None, None, :2] + offsets[:, :, level] / points * references[:, None, None, 2:] * 0.5
        sampled = F.grid_sample(maps, 2 * place.transpose(0, 1) - 1, align_corners=False)  # [heads, head_dim, queries, points]
        y = y + (sampled * weights[:, :, level].transpose(0, 1)[:, None]).sum(-1)
    return y.permute(2, 0, 1).reshape(queries, -1)


class Trunk(torch.nn.Module):
    """torchvision's ResNet without its classifier, at any size, built from torchvision's own blocks."""

    def __init__(self, stem, layers):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(stem)
        channels = stem
        for number, (depth, inner, out) in enumerate(layers, 1):
            stride = 1 if number == 1 else 2
            blocks = []
            for at in range(depth):
                step = stride if at == 0 else 1
                down = None
                if at == 0:
                    down = torch.nn.Sequential(torch.nn.Conv2d(channels, out, 1, step, bias=False), torch.nn.BatchNorm2d(out))
                # A Bottleneck has 4·planes outputs and int(planes·base_width/64) inner channels.
                blocks.append(Bottleneck(channels, out // 4, step, down, base_width=-(-inner * 64 // (out // 4))))  # rounded up, so that int() gives `inner`
                channels = out
            setattr(self, f"layer{number}", torch.nn.Sequential(*blocks))
        self.depth = len(layers)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        outputs = []
        for number in range(1, self.depth + 1):
            x = getattr(self, f"layer{number}")(x)
            outputs.append(x)
        return outputs


def redraw(model):
    """Draws every parameter and statistic anew: fresh networks start with zeroed residual branches and trivial norms."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            if value.dim() > 1:
                fan_in = value[0].numel()
                value.copy_(torch.randn_like(value) * (2.0 / fan_in) ** 0.5)
            elif name.endswith("running_var"):
                value.copy_(0.5 + 1.5 * torch.rand_like(value))
            elif name.endswith("weight"):
                value.copy_(0.5 + torch.rand_like(value))
            else:
                value.copy_(0.1 * torch.randn_like(value))
    return model.eval()


def wide_resnet():
    """A tiny network of the family with odd sizes: weights, input, and the output of each layer."""
    model = redraw(Trunk(4, [(2, 4, 8), (1, 4, 8), (2, 7, 12), (1, 4, 16)]))
    pixels = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        outputs = model(pixels)
    tensors = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    save("wide_resnet/tiny", tensors, {"torchvision": torchvision.__version__})
    save("wide_resnet/tiny_input", {"pixel_values": pixels[:, :, :33, :47].contiguous()}, {})
    with torch.no_grad():
        outputs = model(pixels[:, :, :33, :47])
    save("wide_resnet/tiny_output", {f"layer{at}": value for at, value in enumerate(outputs, 1)}, {})


def methods():
    """UTAD and saliency on a sample photo with the embedded network: score, and the map at every fifth pixel."""
    import cv2
    import scipy.ndimage
    from PIL import Image

    weights = load_file(ROOT / "weights" / "textures.safetensors")
    weights = {name: value.float() for name, value in weights.items()}
    layers = []
    for number in range(1, 5):
        depth = len({name.split(".")[1] for name in weights if name.startswith(f"layer{number}.")})
        if depth:
            prefix = f"layer{number}.0"
            layers.append((depth, weights[f"{prefix}.conv1.weight"].shape[0], weights[f"{prefix}.conv3.weight"].shape[0]))
    model = Trunk(weights["conv1.weight"].shape[0], layers)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    model.eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    # Without loss, so that no JPEG decoder stands between the two programs.
    source = sorted((ROOT / "tests" / "photos" / "textile").glob("local_*"))[0]
    photo = GOLDEN / "methods" / "textile.png"
    Image.open(source).convert("L").save(photo, optimize=True)

    # UTAD: Aota et al. 2023.
    image = Image.open(photo).convert("RGB")
    width, height = image.size
    scale = 320 / min(width, height)
    image = image.resize((int(width * scale), int(height * scale)), Image.LANCZOS)
    assert image.size == (320, 320), "the sample photo is square"
    x = ((torch.from_numpy(np.array(image)).float() / 255 - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        features = F.avg_pool2d(model(x)[1], 3, 1, 1)[0].flatten(1).T.double()
    heat = torch.cdist(features, features).sort(-1).values[:, :400].mean(-1).reshape(40, 40)
    edged = heat.clone()
    edged[:3], edged[-3:], edged[:, :3], edged[:, -3:] = heat.min(), heat.min(), heat.min(), heat.min()
    frame = F.interpolate(edged.float()[None, None], (320, 320), mode="bilinear", align_corners=False)[0, 0]
    frame = torch.from_numpy(scipy.ndimage.gaussian_filter(frame.numpy(), 4))
    score = frame[32:-32, 32:-32].max()
    restored = F.interpolate(frame[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
    tensors = {"score": score[None], "map": restored[::5, ::5]}

    # Saliency: SAA+ §5.1, released (BGR, the 400 farthest) and paper (RGB, the 400 nearest).
    bgr = cv2.imread(str(photo))
    byte_mean, byte_std = mean * 255, std * 255
    for reading, data, largest in [("released", bgr, True), ("paper", bgr[:, :, ::-1].copy(), False)]:
        x = torch.from_numpy(cv2.resize(data, (256, 256))).float()
        x = ((x - byte_mean) / byte_std).permute(2, 0, 1)[None]
        with torch.no_grad():
            first, second, third = model(x)[:3]
        joined = torch.cat([first, *(F.interpolate(layer, first.shape[2:], mode="nearest") for layer in (second, third))], 1)
        unit = F.normalize(joined[0].flatten(1).T.double(), dim=-1)
        distance = 0.5 * (1 - unit @ unit.T)
        saliency = torch.topk(distance, 400, -1, largest=largest).values.mean(-1).reshape(64, 64).float()
        restored = cv2.resize(saliency.numpy(), (bgr.shape[1], bgr.shape[0]))
        tensors[f"saliency_{reading}"] = torch.from_numpy(restored)[::5, ::5]
    save("methods/textile", tensors, {"photo": source.name})


def main():
    wanted = sys.argv[1:] or ["kernels", "wide_resnet", "methods"]
    for name in wanted:
        torch.manual_seed(SEED)
        {"kernels": kernels, "wide_resnet": wide_resnet, "methods": methods}[name]()


if __name__ == "__main__":
    main()
