"""Writes tests/golden/clip/ and tests/golden/methods/: outputs of open_clip, transformers and plain PyTorch for tiny networks.

    python tools/golden_clip.py [tiny] [hf] [clipseg] [methods]

Weights are seeded and exact in f16; goldens record versions and seed. Snapshots have the names and contents of published ones.
"""

import json
import sys

import open_clip
import torch
import torch.nn.functional as F
import transformers
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

import clip_reference as reference
from golden import GOLDEN, LARGEST, ROOT, SEED

# Half the distance of the two prototypes of the goldens, relative to what they have in common.
APART = 0.1


def save(name, tensors, metadata):
    """Writes one golden, floats as f32, and says its size."""
    path = GOLDEN / f"{name}.safetensors"
    tensors = {key: (value.float() if value.is_floating_point() else value).contiguous() for key, value in tensors.items()}
    assert all(value.isfinite().all() for value in tensors.values()), name
    common = {"script": "tools/golden_clip.py", "torch": torch.__version__, "open_clip": open_clip.__version__, "seed": str(SEED)}
    save_file(tensors, path, common | metadata)
    data = path.read_bytes()
    # safetensors writes metadata in any order; sorted, a second run writes the same bytes.
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    path.write_bytes(data[:8] + json.dumps(header, separators=(",", ":")).encode().ljust(end - 8) + data[end:])
    report(path)


def report(path):
    """Prints what was written; refuses files that are too large for the repository."""
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


def tiny_model(config):
    """A network whose weights depend on nothing but its configuration."""
    torch.manual_seed(SEED)
    return reference.redraw(reference.build(config))


def tiny():
    """Two snapshots in open_clip's naming, and the outputs of their towers for random inputs."""
    for name, config in [("tiny", reference.tiny_config()), ("tiny_odd", reference.tiny_odd_config())]:
        model = tiny_model(config)
        folder = GOLDEN / "clip" / name
        reference.save_snapshot(folder, model, config)
        report(folder / "open_clip_model.safetensors")
        side, text = config["model_cfg"]["vision_cfg"]["image_size"], config["model_cfg"]["text_cfg"]
        pixels = torch.randn(2, 3, side, side)
        context = text["context_length"]
        ids = prompts([2, 3, 5, context - 1, context], context, text["vocab_size"])
        ids[2, 1] = 0  # The padding is also a word.
        tensors = {
            "pixel_values": pixels,
            "image_embeds": reference.image_embeds(model, pixels), "patch_tokens": reference.patch_tokens(model, pixels),
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


def hf_block(source, target, state):
    """Names of one transformer block, open_clip's to transformers'; the joint projection falls into query, key and value."""
    for kind in ("weight", "bias"):
        parts = state[f"{source}.attn.in_proj_{kind}"].chunk(3)
        for letter, part in zip("qkv", parts):
            yield f"{target}.self_attn.{letter}_proj.{kind}", part
        for ours, theirs in [("attn.out_proj", "self_attn.out_proj"), ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"),
                             ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2")]:
            yield f"{target}.{theirs}.{kind}", state[f"{source}.{ours}.{kind}"]


def hf_state(state, vision_layers, text_layers):
    """State of an open_clip network under the names of transformers' CLIPModel; the two projections are transposed."""
    yield "logit_scale", state["logit_scale"]
    yield "visual_projection.weight", state["visual.proj"].T
    yield "text_projection.weight", state["text_projection"].T
    for ours, theirs in [("visual.class_embedding", "vision_model.embeddings.class_embedding"),
                         ("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
                         ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
                         ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
                         ("positional_embedding", "text_model.embeddings.position_embedding.weight")]:
        yield theirs, state[ours]
    for kind in ("weight", "bias"):
        for ours, theirs in [("visual.ln_pre", "vision_model.pre_layrnorm"), ("visual.ln_post", "vision_model.post_layernorm"),
                             ("ln_final", "text_model.final_layer_norm")]:
            yield f"{theirs}.{kind}", state[f"{ours}.{kind}"]
    for at in range(vision_layers):
        yield from hf_block(f"visual.transformer.resblocks.{at}", f"vision_model.encoder.layers.{at}", state)
    for at in range(text_layers):
        yield from hf_block(f"transformer.resblocks.{at}", f"text_model.encoder.layers.{at}", state)


def save_pretrained(name, model):
    """Writes `config.json` and `model.safetensors` in f16, as transformers does."""
    folder = GOLDEN / "clip" / name
    model.half().save_pretrained(folder)
    report(folder / "model.safetensors")
    model.float()


def hf():
    """The snapshot `tiny` under transformers' names: the same network, so `tiny_forward` holds for both."""
    cfg = reference.tiny_config()["model_cfg"]
    vision, text = cfg["vision_cfg"], cfg["text_cfg"]
    vision_config = {"image_size": vision["image_size"], "patch_size": vision["patch_size"], "hidden_size": vision["width"],
                     "intermediate_size": 4 * vision["width"], "num_hidden_layers": vision["layers"],
                     "num_attention_heads": vision["width"] // vision["head_width"], "hidden_act": "gelu",
                     "projection_dim": cfg["embed_dim"]}
    text_config = {"vocab_size": text["vocab_size"], "max_position_embeddings": text["context_length"], "hidden_size": text["width"],
                   "intermediate_size": 4 * text["width"], "num_hidden_layers": text["layers"], "num_attention_heads": text["heads"],
                   "hidden_act": "gelu", "projection_dim": cfg["embed_dim"],
                   "bos_token_id": text["vocab_size"] - 2, "eos_token_id": text["vocab_size"] - 1}
    config = transformers.CLIPConfig(vision_config=vision_config, text_config=text_config, projection_dim=cfg["embed_dim"])
    model = transformers.CLIPModel(config).eval()
    model.load_state_dict(dict(hf_state(tiny_model(reference.tiny_config()).state_dict(), vision["layers"], text["layers"])))
    save_pretrained("hf_tiny", model)
    golden = load_file(GOLDEN / "clip" / "tiny_forward.safetensors")
    with torch.no_grad():
        ours = model(input_ids=golden["input_ids"], pixel_values=golden["pixel_values"])
    torch.testing.assert_close(ours.image_embeds, F.normalize(golden["image_embeds"], dim=-1))
    torch.testing.assert_close(ours.text_embeds, F.normalize(golden["text_embeds"], dim=-1))
    torch.testing.assert_close(ours.vision_model_output.last_hidden_state[:, 1:], golden["patch_tokens"])


def clipseg():
    """Two ClipSeg snapshots in transformers' naming, which differ in the last layers of the decoder, and their logits.

    Positions are learned on a 3×3 grid and read on 4×4: transformers keeps the class token's row and interpolates the others with
    `F.interpolate(mode="bicubic", align_corners=False)`, without antialias (a = −0.75); on the learned grid it does nothing.
    `hidden_act` in the configuration is that of the towers; the decoder's own blocks normalise after the sum and use ReLU,
    whatever `decoder_hidden_act` says. The condition is `text_embeds`, not normalised, of prompts 2 and 0. The text tower pools
    at the first `eos_token_id`, or at the largest id where that is 2, as in published checkpoints; here the end is the largest.
    The refined decoder enlarges by (patch / 4)², which is the patch of published checkpoints, 16, but half the frame at 8.
    `logits_late` are those of a condition that enters before the second layer of the decoder.

    As a method: maps of the textile and of an elongated photo, for three texts.
    """
    vision = {"hidden_size": 12, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 3, "image_size": 24,
              "patch_size": 8, "hidden_act": "quick_gelu"}
    text = {"vocab_size": 64, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "max_position_embeddings": 16, "hidden_act": "quick_gelu", "bos_token_id": 62, "eos_token_id": 63}
    pixels, ids = torch.randn(2, 3, 32, 32), prompts([4, 9, 16], 16, 64)
    tensors = {"pixel_values": pixels, "input_ids": ids}
    textile, *_, wide = photos()
    results = {}
    for name, refined in [("clipseg_tiny", False), ("clipseg_tiny_refined", True)]:
        torch.manual_seed(SEED)
        config = transformers.CLIPSegConfig(
            vision_config=vision, text_config=text, projection_dim=20, extract_layers=[0, 1, 2], reduce_dim=16,
            decoder_num_attention_heads=4, decoder_intermediate_size=32, use_complex_transposed_convolution=refined)
        model = transformers.CLIPSegForImageSegmentation(config)
        torch.manual_seed(SEED)
        reference.redraw(model)
        save_pretrained(name, model)
        with torch.no_grad():
            embeds = model.clip.get_text_features(ids).pooler_output
            conditional = embeds[[2, 0]]
            logits = model(pixel_values=pixels, conditional_embeddings=conditional).logits
            torch.testing.assert_close(logits, model(pixel_values=pixels, input_ids=ids[[2, 0]]).logits)
        torch.testing.assert_close(logits, plain_clipseg(model, pixels, conditional))
        assert torch.equal(tensors.setdefault("text_embeds", embeds), embeds), "both snapshots hold the same towers"
        tensors |= {"conditional": conditional, "logits_refined" if refined else "logits": logits}
        maps = {f"{key}{name.removeprefix('clipseg_tiny')}": (photo, reference.clipseg(model, photo, embeds))
                for key, photo in [("textile", textile), ("wide", wide)]}
        results |= {key: result for key, (_, result) in maps.items()}
        if not refined:
            model.decoder.conditional_layer = 1
            with torch.no_grad():
                tensors["logits_late"] = model(pixel_values=pixels, conditional_embeddings=conditional).logits
            model.decoder.conditional_layer = 0
        model.double()
        with torch.no_grad():
            off = rounding(logits, model(pixel_values=pixels.double(), conditional_embeddings=conditional.double()).logits)
        print(f"  {name}: logits {tuple(logits.shape)} {logits.min():.3f} … {logits.max():.3f}, off by {off:.1e}")
        for key, (photo, (map, _)) in maps.items():
            print(f"  {key}: off by {rounding(map[::5, ::5], reference.clipseg(model, photo, embeds.double())[0][::5, ::5]):.1e}")
    save("clip/clipseg_forward", tensors, {"transformers": transformers.__version__})
    save_methods("clipseg", {"conditionals": tensors["text_embeds"]}, {}, results, "clip/clipseg_tiny, clip/clipseg_tiny_refined")


def rounding(found, exact):
    """Relative distance of the result in f32 from that in f64; another program in f32 may differ by twice as much."""
    return (found - exact).norm() / exact.norm()


@torch.no_grad()
def plain_clipseg(model, pixels, conditional):
    """The same logits, step by step: shows which blocks are read and in which order."""
    vision, decoder = model.clip.vision_model, model.decoder
    x = vision.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    grid = round(x.shape[1] ** 0.5)
    positions = vision.embeddings.position_embedding.weight
    learned = round((len(positions) - 1) ** 0.5)
    places = positions[1:].reshape(1, learned, learned, -1).permute(0, 3, 1, 2)
    places = F.interpolate(places, (grid, grid), mode="bicubic", align_corners=False)[0].flatten(1).T
    first = (vision.embeddings.class_embedding + positions[0]).expand(len(x), 1, -1)
    x = vision.pre_layrnorm(torch.cat([first, x + places], 1))
    outputs = []
    for layer in vision.encoder.layers:
        x = layer(x, None)
        outputs.append(x)
    read = [outputs[at] for at in model.config.extract_layers][::-1]                   # the deepest first
    joined = 0
    for at, (activation, reduce, layer) in enumerate(zip(read, decoder.reduces, decoder.layers)):
        joined = reduce(activation) + joined
        if at == 0:
            joined = decoder.film_mul(conditional)[:, None] * joined + decoder.film_add(conditional)[:, None]
        attended = layer.layer_norm1(joined + layer.self_attn(joined)[0])
        joined = layer.layer_norm2(attended + layer.mlp.fc2(F.relu(layer.mlp.fc1(attended))))
    patches = joined[:, 1:].transpose(1, 2).unflatten(2, (grid, grid))
    return decoder.transposed_convolution(patches)[:, 0]


def photos():
    """Photos of various sizes and shapes cut from the textile: the query, four references, and an elongated query in colour."""
    folder = GOLDEN / "methods"
    textile = Image.open(folder / "textile.png")
    cut = {
        "reference_1": textile.crop((0, 0, 64, 64)).point(lambda value: value * 3 // 4),
        "reference_2": ImageOps.mirror(textile.crop((100, 10, 180, 60))),
        "reference_3": ImageOps.colorize(ImageOps.posterize(textile.crop((190, 90, 231, 150)), 4), (0, 20, 40), (255, 230, 200)),
        "reference_4": ImageOps.flip(textile.crop((40, 100, 117, 147))),
        "wide": ImageOps.colorize(ImageOps.posterize(textile.crop((20, 150, 170, 210)), 4), (30, 0, 60), (255, 240, 150), (150, 100, 90)),
    }
    for name, photo in cut.items():
        photo.save(folder / f"{name}.png", optimize=True)
        report(folder / f"{name}.png")
    return [Image.open(folder / f"{name}.png").convert("RGB") for name in ["textile", *cut]]


def check_harmonic():
    """The example of a 3×3 grid that can be followed by hand."""
    found = reference.harmonic(torch.tensor([1, 0.75, 0.5, 0.25]), 3, 2)
    expected = torch.tensor([[1, 6 / 7, 0.75], [2 / 3, 0.48, 0.375], [0.5, 1 / 3, 0.25]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def methods():
    """WinCLIP, WinCLIP+, multi-crop scores and the baselines with the snapshot `tiny`; maps at every fifth pixel.

    The prototypes lie close together, as those of a trained network do: the scores of random ones would sit at 0 and 1.
    """
    check_harmonic()
    config = reference.tiny_config()
    clip = reference.Clip(tiny_model(config), config)
    torch.manual_seed(SEED)
    common, apart = reference.unit(torch.randn(2, config["model_cfg"]["embed_dim"]))
    prototypes = reference.unit(torch.stack([common - APART * apart, common + APART * apart])).float()
    textile, *references, wide = photos()
    scores = {f"crops_{kind}_score": reference.crops_score(clip, wide, prototypes, kind) for kind in reference.CROPS}
    save_methods("winclip", {"prototypes": prototypes}, scores, {
        "winclip": reference.winclip(clip, textile, prototypes),
        "winclip_plus_1": reference.winclip_plus(clip, textile, references[:1], prototypes),
        "winclip_plus_4": reference.winclip_plus(clip, textile, references, prototypes),
        "wide_winclip": reference.winclip(clip, wide, prototypes),
        "wide_winclip_plus_4": reference.winclip_plus(clip, wide, references, prototypes),
    })
    save_methods("clip_baselines", {"prototypes": prototypes}, {"clip_ac_score": reference.clip_ac(clip, textile, prototypes)}, {
        "maskclip_released": reference.maskclip(clip, textile, prototypes, "released"),
        "maskclip_paper": reference.maskclip(clip, textile, prototypes, "paper"),
        "trans_mm": reference.trans_mm(clip, textile, prototypes),
        "patch_token": reference.patch_token(clip, textile, prototypes),
        "image_tiling": reference.image_tiling(clip, textile, prototypes),
        "wide_image_tiling": reference.image_tiling(clip, wide, prototypes),
    })


def save_methods(name, texts, scores, results, weights="clip/tiny"):
    """Writes embeddings of texts, single scores, and a thinned map and a score of every result; shows how far they spread."""
    tensors = texts | {key: score[None] for key, score in scores.items()}
    for key, score in scores.items():
        print(f"  {key}: {score:.6f}")
    for key, (map, score) in results.items():
        assert map.std() > 5e-3, f"{key} is flat"
        print(f"  {key} {tuple(map.shape)}: {map.min():.4f} … {map.max():.4f}, spread {map.std():.4f}, score {score:.6f}")
        tensors |= {f"{key}_map": map[::5, ::5], f"{key}_score": score[None]}
    save(f"methods/{name}", tensors, {"weights": weights})


def main():
    parts = {"tiny": tiny, "hf": hf, "clipseg": clipseg, "methods": methods}
    for name in sys.argv[1:] or parts:
        torch.manual_seed(SEED)
        parts[name]()


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
