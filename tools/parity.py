"""Compares `zsas-gpu forward wide-resnet` with timm at full size on random weights, layer by layer.

    python tools/parity.py target/release/zsas-gpu [auto|reference|…]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file

from golden import redraw

SEED, SIDE = 1, 256


def main():
    program, device = Path(sys.argv[1]).resolve(), sys.argv[2] if len(sys.argv) > 2 else "auto"
    torch.manual_seed(SEED)
    model = redraw(timm.create_model("wide_resnet50_2", pretrained=False))
    features = timm.create_model("wide_resnet50_2", pretrained=False, features_only=True, out_indices=(1, 2, 3, 4))
    features.load_state_dict({name: value for name, value in model.state_dict().items() if not name.startswith("fc.")})
    pixels = torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        truth = features.eval()(pixels)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
        save_file({"pixel_values": pixels}, folder / "in.safetensors")
        call = [program, "forward", "wide-resnet", "--weights", folder / "model.safetensors", "--inputs", folder / "in.safetensors",
                "--outputs", folder / "out.safetensors", "--device", device]
        subprocess.run(call, check=True)
        ours = load_file(folder / "out.safetensors")
    for number, layer in enumerate(truth, 1):
        distance = (ours[f"layer{number}"] - layer).norm() / layer.norm()
        print(f"layer{number} {tuple(layer.shape)}: relative L2 {distance:.2e}")


if __name__ == "__main__":
    main()
