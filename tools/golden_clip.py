"""Writes tests/golden/clip/: what open_clip computes at tiny sizes.

    python tools/golden_clip.py [tiny]

Weights are seeded and exact in f16; goldens record versions and seed. Snapshots have the names and contents of published ones.
"""

import sys

import open_clip
import torch
from safetensors.torch import save_file

import clip_reference as reference
from golden import GOLDEN, LARGEST, ROOT, SEED


def save(name, tensors, metadata):
    """Writes one golden, floats as f32, and says its size."""
    path = GOLDEN / f"{name}.safetensors"
    tensors = {key: (value.float() if value.is_floating_point() else value).contiguous() for key, value in tensors.items()}
    assert all(value.isfinite().all() for value in tensors.values()), name
    common = {"script": "tools/golden_clip.py", "torch": torch.__version__, "open_clip": open_clip.__version__, "seed": str(SEED)}
    save_file(tensors, path, metadata | common)
    report(path)


def report(path):
    """Says what was written; refuses what would weigh on the repository."""
    size = path.stat().st_size
    assert size <= LARGEST, f"{path} has {size} bytes"
    print(f"{path.relative_to(ROOT)}: {size} bytes")


def prompts(lengths, context, vocabulary):
    """`[len(lengths), context]` ids: start, random tokens, end, zeros; a length counts start and end."""
    ids = torch.zeros(len(lengths), context, dtype=torch.int64)
    for row, length in zip(ids, lengths):
        row[0], row[length - 1] = vocabulary - 2, vocabulary - 1
        row[1 : length - 1] = torch.randint(0, vocabulary - 2, (length - 2,))
    return ids


def tiny():
    """Two snapshots in open_clip's naming, and what their towers make of random inputs."""
    for name, config in [("tiny", reference.tiny_config()), ("tiny_odd", reference.tiny_odd_config())]:
        torch.manual_seed(SEED)
        model = reference.redraw(reference.build(config))
        folder = GOLDEN / "clip" / name
        reference.save_snapshot(folder, model, config)
        report(folder / "open_clip_model.safetensors")
        side, text = config["model_cfg"]["vision_cfg"]["image_size"], config["model_cfg"]["text_cfg"]
        pixels = torch.randn(2, 3, side, side)
        context = text["context_length"]
        ids = prompts([2, 3, 5, context - 1, context], context, text["vocab_size"])
        ids[2, 1] = 0  # The padding is also a word.
        tensors = {
            "pixel_values": pixels, "image_embeds": reference.image_embeds(model, pixels), "patch_tokens": reference.patch_tokens(model, pixels),
            "windows_2": reference.windows(model, pixels, 2), "windows_3": reference.windows(model, pixels, 3),
            "input_ids": ids, "text_embeds": reference.text_embeds(model, ids),
        }
        check_towers(model, pixels, tensors)
        save(f"clip/{name}_forward", tensors, {})
        for key, value in tensors.items():
            print(f"  {key} {tuple(value.shape)}: {value.min():.3f} … {value.max():.3f}")


def check_towers(model, pixels, tensors):
    """open_clip's own forward agrees, and the window of the whole grid is the whole image."""
    grid = model.visual.grid_size[0]
    with torch.no_grad():
        torch.testing.assert_close(model.encode_image(pixels), tensors["image_embeds"])
        last = model.visual.forward_intermediates(pixels, indices=1, output_fmt="NLC", intermediates_only=True)["image_intermediates"][0]
        torch.testing.assert_close(last, tensors["patch_tokens"])
    torch.testing.assert_close(reference.windows(model, pixels, grid)[:, 0], tensors["image_embeds"])


def main():
    parts = {"tiny": tiny}
    for name in sys.argv[1:] or parts:
        torch.manual_seed(SEED)
        parts[name]()


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
