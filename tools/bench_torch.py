"""Measures PyTorch on the shapes and networks of `zsas-gpu bench`, on the same device, and prints how much faster or slower it is.

    python tools/bench_torch.py [OURS.jsonl ...] > torch.jsonl

OURS are outputs of `zsas-gpu bench kernels --json` and `bench models --json`; cases are joined by name and precision. Each case runs in f32,
in f32 on TF32 units, and in f16; networks also in f16 as a CUDA graph, without the cost of launches. Times are medians of 20 by CUDA events,
inputs on the device, where `bench models` counts transfers and, for Segment Anything, the decoder, too. Without a GPU it measures the CPU in
f32 on `$OMP_NUM_THREADS` threads, else all, to be held against `--device cpu`: medians of 5 by the clock. Needs torch, transformers, timm and
open_clip_torch; weights are random.
"""

import json
import sys
import time
from pathlib import Path

import open_clip
import timm
import torch
import torch.nn.functional as F
import transformers

import sam_reference

HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"
REPETITIONS, WARM_UP_SECONDS = 20 if HAS_GPU else 5, 0.2
MODES = {"f32": (torch.float32, False), "tf32": (torch.float32, True), "f16": (torch.float16, False)}


def median_ms(run):
    """Milliseconds of one call, without what the host does before and after."""
    if not HAS_GPU:
        return median_ms_by_clock(run)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    spent, calls = 0.0, 0
    while spent < 1e3 * WARM_UP_SECONDS or calls < 3:
        begin.record()
        run()
        end.record()
        end.synchronize()
        last = begin.elapsed_time(end)
        spent, calls = spent + last, calls + 1
    inner = max(1, int(0.3 / last))
    times = []
    for _ in range(REPETITIONS):
        begin.record()
        for _ in range(inner):
            run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / inner)
    return sorted(times)[REPETITIONS // 2]


def median_ms_by_clock(run):
    """The same of a device that computes during the call."""
    run()
    times = []
    while len(times) < REPETITIONS or (sum(times) < 1e3 * WARM_UP_SECONDS and len(times) < 20):
        begin = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begin))
    return sorted(times)[len(times) // 2]


def graph_of(run):
    """The same calls as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def on_device(*shape):
    return lambda dtype: torch.randn(*shape, device=DEVICE, dtype=dtype)


def linear(rows, cols, inner, gelu=False, residual=False):
    def make(dtype):
        x, weight, bias = on_device(rows, inner)(dtype), on_device(cols, inner)(dtype), on_device(cols)(dtype)
        extra = on_device(rows, cols)(dtype)

        def run():
            y = F.linear(x, weight, bias)
            y = y + extra if residual else y
            return F.gelu(y) if gelu else y

        return run

    return make


def product(size):
    def make(dtype):
        a, b = on_device(size, size)(dtype), on_device(size, size)(dtype)
        return lambda: a @ b

    return make


def attention(tokens, heads, dim):
    def make(dtype):
        q, k, v = (on_device(1, heads, tokens, dim)(dtype) for _ in range(3))
        return lambda: F.scaled_dot_product_attention(q, k, v)

    return make


def conv(size, channels_in, channels_out, side, stride):
    def make(dtype):
        x = on_device(1, channels_in, size, size)(dtype).to(memory_format=torch.channels_last)
        weight = on_device(channels_out, channels_in, side, side)(dtype).to(memory_format=torch.channels_last)
        bias = on_device(channels_out)(dtype)
        return lambda: F.conv2d(x, weight, bias, stride, side // 2).relu_()

    return make


def kernels():
    """By the names of `bench kernels`."""
    yield from ((f"matmul {size}³", product(size)) for size in (512, 1024))
    for rows, cols, inner, gelu, residual in [
        (4096, 2304, 768, False, False), (4096, 768, 768, False, True), (4096, 3072, 768, True, False), (4096, 768, 3072, False, True),
        (2896, 3584, 896, True, False), (2896, 896, 3584, False, True), (226, 3584, 896, True, False), (226, 896, 3584, False, True),
    ]:
        yield f"linear {rows}×{cols}×{inner}{', GELU' if gelu else ''}", linear(rows, cols, inner, gelu, residual)
    for tokens, heads, dim in [(226, 14, 64), (577, 16, 64), (1024, 4, 64), (4096, 12, 64), (196, 16, 80), (576, 8, 32)]:
        yield f"attention {tokens}², {heads} heads of {dim}", attention(tokens, heads, dim)
    for size, inner, outer in [(64, 128, 256), (32, 256, 512), (16, 512, 1024), (8, 1024, 2048)]:
        for channels_in, channels_out, side in [(inner, inner, 3), (inner, outer, 1), (outer, inner, 1)]:
            yield f"conv2d {side}×{side}/1 {size}² {channels_in}→{channels_out}", conv(size, channels_in, channels_out, side, 1)


def sam(name):
    def make(dtype):
        encoder = transformers.SamModel(sam_reference.published_config(name)).vision_encoder.to(DEVICE).to(dtype).eval()
        pixels = on_device(1, 3, 1024, 1024)(dtype)
        return lambda: encoder(pixels)

    return make


def clip_windows(dtype):
    """The blocks of ViT-B-16-plus-240 on what WinCLIP gives them: the whole photo, 196 windows of 2×2 patches and 169 of 3×3."""
    tower = open_clip.create_model("ViT-B-16-plus-240").visual.to(DEVICE).to(dtype).eval().transformer
    sequences = [on_device(count, length, 896)(dtype) for count, length in [(1, 226), (196, 5), (169, 10)]]
    return lambda: [tower(sequence) for sequence in sequences]


def wide_resnet(dtype):
    network = timm.create_model("wide_resnet50_2", pretrained=False, features_only=True, out_indices=(1, 2, 3, 4)).to(DEVICE).to(dtype).eval()
    network = network.to(memory_format=torch.channels_last)
    pixels = on_device(1, 3, 256, 256)(dtype).to(memory_format=torch.channels_last)
    return lambda: network(pixels)


def networks():
    """By the names of `bench models`; of Segment Anything the image encoder alone, without the decoder and its boxes."""
    yield "sam", sam("vit_b")
    if HAS_GPU:
        yield "sam vit_h", sam("vit_h")
    yield "clip-windows", clip_windows
    yield "wide-resnet", wide_resnet


def ours(paths):
    """Milliseconds by case and precision."""
    rows = [json.loads(line) for path in paths for line in Path(path).read_text().splitlines() if line.strip()]
    kernels = {(row["case"], row["elem"]): row["median_us"] / 1e3 for row in rows if "case" in row}
    return kernels | {(row["network"], row["precision"]): row["p50_ms"] for row in rows if "network" in row}


def main():
    torch.manual_seed(1)
    known = ours(sys.argv[1:])
    device = {"device": torch.cuda.get_device_name() if HAS_GPU else f"CPU, {torch.get_num_threads()} threads", "torch": torch.__version__,
              "cuda": torch.version.cuda}
    modes = MODES if HAS_GPU else {"f32": MODES["f32"]}
    with torch.no_grad():
        for cases, is_network in [(kernels(), False), (networks(), True)]:
            for name, make in cases:
                measured = {}
                for mode, (dtype, tf32) in modes.items():
                    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
                    run = make(dtype)
                    measured[mode] = median_ms(run)
                    if is_network and mode == "f16":
                        measured["f16 graph"] = median_ms(graph_of(run))
                    if HAS_GPU:
                        torch.cuda.empty_cache()
                ratios = {}
                for precision in ("f32", "f16"):
                    if precision in measured and (milliseconds := known.get((name, precision))):
                        ratios[precision] = round(milliseconds / measured[precision], 2)
                rounded = {mode: round(milliseconds, 4) for mode, milliseconds in measured.items()}
                print(json.dumps({"case": name, "milliseconds": rounded, "ours_over_torch": ratios} | device, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
