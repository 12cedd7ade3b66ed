"""Reference of CLIP's two towers and the methods built on them, in plain PyTorch, for comparison with `zsas-gpu`.

Networks run in f32, as users run them; the methods compute in f64 from their outputs. Photos are PIL images in RGB; maps come out in f32
at the photo's own size. Methods take `prototypes` `[2, embed]`, unit rows: normal, anomalous.
"""

import json

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import save_file

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# Side of ClipSeg's frame.
CLIPSEG_SIDE = 352
# WinCLIP's τ, as in its public reproductions; the paper names none.
TEMPERATURE = 0.07
# Scale of cosines in MaskCLIP's softmax and in the score that Trans-MM differentiates: the largest that CLIP learns.
SCALE = 100.0
# AlexNet's crops, 224 of 256 pixels.
CROP = 224 / 256
# Cells along either edge in image tiling; a tile is 2×2 cells.
TILING_GRID = 6

STATES = {
    "normal": ["{}", "flawless {}", "perfect {}", "unblemished {}", "{} without flaw", "{} without defect", "{} without damage"],
    "anomalous": ["damaged {}", "{} with flaw", "{} with defect", "{} with damage"],
}
TEMPLATES = [
    "a cropped photo of the {}.", "a cropped photo of a {}.", "a close-up photo of a {}.", "a close-up photo of the {}.",
    "a bright photo of a {}.", "a bright photo of the {}.", "a dark photo of the {}.", "a dark photo of a {}.",
    "a jpeg corrupted photo of a {}.", "a jpeg corrupted photo of the {}.", "a blurry photo of the {}.", "a blurry photo of a {}.",
    "a photo of a {}.", "a photo of the {}.", "a photo of a small {}.", "a photo of the small {}.", "a photo of a large {}.",
    "a photo of the large {}.", "a photo of the {} for visual inspection.", "a photo of a {} for visual inspection.",
    "a photo of the {} for anomaly detection.", "a photo of a {} for anomaly detection.",
]


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


# WinCLIP (Jeong et al., CVPR 2023).


def unit(rows):
    """Rows of length 1, in f64."""
    return F.normalize(rows.double(), dim=-1)


def prompts(name):
    """The compositional prompt ensemble of a class: 154 normal and 88 anomalous sentences."""
    name = name.replace("_", " ")
    return [[template.format(state.format(name)) for state in states for template in TEMPLATES] for states in STATES.values()]


def prototypes(model, tokenizer, name):
    """`[2, embed]`: the mean of unit embeddings, made a unit again."""
    return torch.stack([unit(unit(text_embeds(model, tokenizer(sentences))).mean(0)) for sentences in prompts(name)])


def anomaly(embeds, prototypes, temperature=TEMPERATURE):
    """Probability of the anomalous prototype, `[…, embed]` → `[…]`."""
    return torch.softmax(unit(embeds) @ prototypes.double().T / temperature, -1)[..., 1]


def harmonic(scores, grid, k):
    """Scores of k×k windows → `[grid, grid]`: harmonic mean over the windows that cover a patch; 0 where it is not finite."""
    inverse, count = torch.zeros(grid * grid, dtype=torch.float64), torch.zeros(grid * grid, dtype=torch.float64)
    for score, members in zip(scores.double(), window_members(grid, k)):
        inverse[members] += 1 / score
        count[members] += 1
    return finite(count / inverse).reshape(grid, grid)


def finite(values):
    return torch.where(values.isfinite(), values, 0)


def harmonic_of(*maps):
    """Harmonic mean of maps and constants, cell by cell; 0 where it is not finite."""
    return finite(len(maps) / sum(1 / values for values in maps))


class Clip:
    """A network together with the preprocessing of its snapshot."""

    def __init__(self, model, config):
        self.model, self.side, self.grid = model, model.visual.image_size[0], model.visual.grid_size[0]
        self.mean, self.std = (torch.tensor(config["preprocess_cfg"][key])[:, None, None] for key in ("mean", "std"))

    def pixels(self, photo):
        """`[1, 3, side, side]`: resized to the frame by Pillow's bicubic, not cropped."""
        frame = np.array(photo.convert("RGB").resize((self.side, self.side), Image.BICUBIC))
        return ((torch.from_numpy(frame).permute(2, 0, 1) / 255 - self.mean) / self.std)[None]

    def image(self, photo):
        """`[embed]`."""
        return image_embeds(self.model, self.pixels(photo))[0]

    def patches(self, photo):
        """`[grid², width]`: raw output of the last block."""
        return patch_tokens(self.model, self.pixels(photo))[0]

    def windows(self, photo, k):
        """`[(grid − k + 1)², embed]`."""
        return windows(self.model, self.pixels(photo), k)[0]

    def enlarge(self, cells, photo):
        """A map of the grid → the frame → the photo's own size, bilinear."""
        values = cells.float()[None, None]
        for size in [(self.side, self.side), (photo.height, photo.width)]:
            values = F.interpolate(values, size, mode="bilinear", align_corners=False)
        return values[0, 0]


def winclip_cells(clip, photo, prototypes):
    """`[grid, grid]` and the image score: harmonic mean over 2×2 windows, 3×3 windows and the whole image."""
    image = anomaly(clip.image(photo), prototypes)
    scales = [harmonic(anomaly(clip.windows(photo, k), prototypes), clip.grid, k) for k in (2, 3)]
    return harmonic_of(*scales, image), image


def winclip(clip, photo, prototypes):
    """Zero-shot map and score; the score is that of the whole image, not the map's maximum."""
    cells, score = winclip_cells(clip, photo, prototypes)
    return clip.enlarge(cells, photo), score


def association(query, memory):
    """½ (1 − largest cosine with the memory), per row."""
    return (0.5 * (1 - (unit(query) @ unit(memory).T).amax(-1))).clamp(min=0)


def visual_cells(clip, photo, references):
    """`[grid, grid]`, M^W: mean of the associations of patches, 2×2 windows and 3×3 windows with all locations of all references."""
    patches = association(clip.patches(photo), torch.cat([clip.patches(reference) for reference in references]))
    maps = [patches.reshape(clip.grid, clip.grid)]
    for k in (2, 3):
        distances = association(clip.windows(photo, k), torch.cat([clip.windows(reference, k) for reference in references]))
        maps.append(harmonic(distances, clip.grid, k))
    return sum(maps) / 3


def winclip_plus(clip, photo, references, prototypes):
    """Few-shot map M̄0 + M^W, and score ½ (score of the whole image + maximum of M^W on the grid)."""
    language, score = winclip_cells(clip, photo, prototypes)
    visual = visual_cells(clip, photo, references)
    return clip.enlarge(language + visual, photo), (score + visual.max()) / 2


def tile_crops(photo):
    """Squares of the shorter edge S, every ⌊0.8·S⌋ along the longer edge.

    A tile that would reach the end or pass it is moved to end there, so the last may come twice.
    """
    width, height = photo.size
    side, length = min(photo.size), max(photo.size)
    for start in range(0, length, max(side * 4 // 5, 1)):
        start = min(start, length - side)
        left, top = (start, 0) if width >= height else (0, start)
        yield photo.crop((left, top, left + side, top + side))


def five_crops(photo):
    """Four corners and the centre, 224/256 of either edge, rounded half to even."""
    width, height = photo.size
    w, h = round(CROP * width), round(CROP * height)
    right, bottom = width - w, height - h
    for left, top in [(0, 0), (right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2)]:
        yield photo.crop((left, top, left + w, top + h))


def ten_crops(photo):
    """Five crops, and the same mirrored left to right before they are resized."""
    crops = list(five_crops(photo))
    return crops + [ImageOps.mirror(crop) for crop in crops]


CROPS = {"tile": tile_crops, "five": five_crops, "ten": ten_crops}


def crops_score(clip, photo, prototypes, kind):
    """Mean of the crops' probabilities; every crop is resized to the frame on its own."""
    return torch.stack([anomaly(clip.image(crop), prototypes) for crop in CROPS[kind](photo)]).mean()


# Baselines on the same network.


def clip_ac(clip, photo, prototypes):
    """CLIP-AC: probability of the anomalous text for the whole image."""
    return anomaly(clip.image(photo), prototypes)


def last_input(model, pixels):
    """`[b, 1 + n, width]`: input of the last block."""
    tokens = model.visual.ln_pre(positioned(model, pixels))
    for block in model.visual.transformer.resblocks[:-1]:
        tokens = block(tokens)
    return tokens


def query_key_value(block, tokens):
    """Three of `[b, n, width]`: the joint projection of the normalised tokens."""
    return F.linear(block.ln_1(tokens), block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, -1)


def per_cell(clip, photo, scores):
    """A map from the patches' scores, and its largest cell."""
    cells = scores.reshape(clip.grid, clip.grid)
    return clip.enlarge(cells, photo), cells.max()


@torch.no_grad()
def maskclip(clip, photo, prototypes, reading):
    """MaskCLIP (Zhou et al., ECCV 2022): each patch keeps its own value in place of the last block's attention.

    `released` goes on through the block's residuals and MLP, as the public code does; `paper` projects the value at once.
    """
    block = clip.model.visual.transformer.resblocks[-1]
    tokens = last_input(clip.model, clip.pixels(photo))
    values = block.attn.out_proj(query_key_value(block, tokens)[2])
    if reading == "released":
        values = values + tokens
        values = values + block.mlp(block.ln_2(values))
    embeds = project(clip.model, values)[0, 1:]
    return per_cell(clip, photo, anomaly(embeds, prototypes, 1 / SCALE))


def trans_mm(clip, photo, prototypes):
    """Trans-MM (Chefer et al., ICCV 2021) on the last block: mean over heads of max(0, A · ∂S/∂A) at the class token's row.

    S = 100 · cosine with the anomalous prototype. R = I + Ā, so that R[class, patches] = Ā[class, patches]. No min–max normalisation.
    """
    block = clip.model.visual.transformer.resblocks[-1]
    with torch.no_grad():
        tokens = last_input(clip.model, clip.pixels(photo))
        query, key, value = (part.unflatten(-1, (block.attn.num_heads, -1)).transpose(1, 2) for part in query_key_value(block, tokens))
        attention = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, -1)    # [1, heads, 1 + n, 1 + n]
    attention.requires_grad_()
    tokens = tokens + block.attn.out_proj((attention @ value).transpose(1, 2).flatten(2))
    tokens = tokens + block.mlp(block.ln_2(tokens))
    embed = project(clip.model, tokens)[0, 0]
    similarity = SCALE * unit(embed) @ prototypes[1].double()
    gradient, = torch.autograd.grad(similarity, attention)
    relevance = (attention * gradient).clamp(min=0).mean(1)[0, 0, 1:].detach()
    return per_cell(clip, photo, relevance.double())


@torch.no_grad()
def patch_token(clip, photo, prototypes):
    """Patch tokens through `ln_post` and `proj`, compared with the texts: a baseline of the paper."""
    return per_cell(clip, photo, anomaly(project(clip.model, clip.patches(photo)), prototypes))


@torch.no_grad()
def clipseg(model, photo, conditionals):
    """ClipSeg's map, the largest probability over the texts at each pixel, and its maximum.

    ImageNet's statistics first, then the tensor is stretched to 352×352 without antialiasing, as the released code did at publication.
    """
    mean, std = (conditionals.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = torch.from_numpy(np.array(photo.convert("RGB"))).to(conditionals).permute(2, 0, 1)[None]
    pixels = (pixels / 255 - mean) / std
    pixels = F.interpolate(pixels, (CLIPSEG_SIDE, CLIPSEG_SIDE), mode="bilinear", align_corners=False)
    logits = model(pixel_values=pixels.expand(len(conditionals), -1, -1, -1), conditional_embeddings=conditionals).logits
    most = torch.sigmoid(logits).amax(0)[None, None]
    map = F.interpolate(most, (photo.height, photo.width), mode="bilinear", align_corners=False)[0, 0]
    return map, map.max()


def image_tiles(photo):
    """Row by row, every 2×2 block of the photo's 6×6 cells; borders of cells are rounded half to even."""
    columns, rows = ([round(at * length / TILING_GRID) for at in range(TILING_GRID + 1)] for length in photo.size)
    steps = range(TILING_GRID - 1)
    return [photo.crop((columns[j], rows[i], columns[j + 2], rows[i + 2])) for i in steps for j in steps]


def image_tiling(clip, photo, prototypes):
    """Tiles of the photo itself in place of windows over its tokens, combined with the whole image; the score is the latter's."""
    image = anomaly(clip.image(photo), prototypes)
    tiles = torch.stack([anomaly(clip.image(tile), prototypes) for tile in image_tiles(photo)])
    cells = harmonic_of(harmonic(tiles, TILING_GRID, 2), image)
    return clip.enlarge(cells, photo), image
