"""CLIP's two towers in plain PyTorch and in open_clip's snapshots: what `zsas-gpu` is compared with."""

import json

import open_clip
import torch
from safetensors.torch import save_file

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def tiny_config():
    """Sizes of the smallest network that still has a 5×5 grid, several heads and several blocks."""
    vision = {"image_size": 40, "patch_size": 8, "width": 24, "head_width": 8, "layers": 2}
    text = {"context_length": 16, "vocab_size": 64, "width": 16, "heads": 2, "layers": 2}
    return snapshot_config({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, CLIP_MEAN, CLIP_STD)


def tiny_odd_config():
    """Sizes that no tile divides, QuickGELU, and an input normalisation that is not CLIP's."""
    vision = {"image_size": 28, "patch_size": 7, "width": 18, "head_width": 6, "layers": 2, "mlp_ratio": 3.5}
    text = {"context_length": 9, "vocab_size": 50, "width": 14, "heads": 2, "layers": 2}
    return snapshot_config({"embed_dim": 10, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}, [0.5, 0.4, 0.3], [0.25, 0.2, 0.3])


def snapshot_config(model_cfg, mean, std):
    """The contents of `open_clip_config.json`."""
    return {"model_cfg": model_cfg, "preprocess_cfg": {"mean": mean, "std": std}}


def build(config):
    """open_clip's network of a snapshot's configuration, with fresh weights."""
    return open_clip.model.CLIP(**config["model_cfg"]).eval()


def redraw(model):
    """Draws every parameter anew, exact in f16: fresh networks have trivial norms, zero biases and nearly uniform attention.

    Matrices have variance 2 / fan-in, so that attention logits spread by about 2; scales of norms lie in 0.5…1.5, biases spread by 0.1.
    """
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            if name.endswith("logit_scale"):
                drawn = 4 + torch.rand_like(value)
            elif value.dim() > 1:
                drawn = torch.randn_like(value) * (2 / value[0].numel()) ** 0.5
            elif name.endswith("weight"):
                drawn = 0.5 + torch.rand_like(value)
            else:
                drawn = 0.1 * torch.randn_like(value)
            value.copy_(drawn.half())
    return model.eval()


def save_snapshot(folder, model, config, dtype=torch.float16):
    """Writes a folder as the hub has it: `open_clip_model.safetensors` (without metadata) and `open_clip_config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.to(dtype).contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


# The towers.


def positioned(model, pixels):
    """`[b, 3, s, s]` → `[b, 1 + n, width]`: class token and patches with their positions, before `ln_pre`."""
    patches = model.visual.conv1(pixels).flatten(2).transpose(1, 2)
    first = model.visual.class_embedding.expand(len(pixels), 1, -1)
    return torch.cat([first, patches], 1) + model.visual.positional_embedding


def blocks(model, tokens):
    """Tokens before `ln_pre` → output of the last block."""
    return model.visual.transformer(model.visual.ln_pre(tokens))


def project(model, tokens):
    """Output of the last block → embeddings, not normalised."""
    return model.visual.ln_post(tokens) @ model.visual.proj


@torch.no_grad()
def image_embeds(model, pixels):
    """`[b, embed]`, not normalised."""
    return project(model, blocks(model, positioned(model, pixels))[:, 0])


@torch.no_grad()
def patch_tokens(model, pixels):
    """`[b, n, width]`: the last block's output without the class token, before `ln_post`."""
    return blocks(model, positioned(model, pixels))[:, 1:]


def window_members(grid, k):
    """`[(grid − k + 1)², k²]`: patches of every k×k window, windows and members row by row."""
    steps = range(grid - k + 1)
    return torch.tensor([[(i + a) * grid + j + b for a in range(k) for b in range(k)] for i in steps for j in steps])


@torch.no_grad()
def windows(model, pixels, k):
    """`[b, (grid − k + 1)², embed]`, not normalised: each window's tokens keep their positions and attend among themselves only."""
    tokens = positioned(model, pixels)
    grid = round((tokens.shape[1] - 1) ** 0.5)
    members = window_members(grid, k)
    members = torch.cat([torch.zeros(len(members), 1, dtype=torch.int64), members + 1], 1)
    sequences = tokens[:, members]                                                     # [b, windows, 1 + k², width]
    embeds = project(model, blocks(model, sequences.flatten(0, 1))[:, 0])
    return embeds.unflatten(0, (len(pixels), len(members)))


@torch.no_grad()
def text_embeds(model, ids):
    """`[b, context]` → `[b, embed]`, not normalised, taken at the first largest id."""
    return model.encode_text(ids)
