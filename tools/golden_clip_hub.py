"""Writes `tests/cases/clip_hub`: a small CLIP in a folder as on a model hub, with the same weights under the names of two libraries, and
open_clip's outputs.

    python tools/golden_clip_hub.py        needs torch, transformers, open_clip, safetensors

`usual.safetensors` holds `image_embeds` and `text_embeds` for `inputs.safetensors`, `eps.safetensors` the same where `norm_kwargs` of both
towers says 0.01.
"""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

FOLDER = Path(__file__).parent.parent / "tests" / "cases" / "clip_hub"
WEIGHTS_SEED, INPUT_SEED = 5, 9
VOCABULARY, CONTEXT, EMBED, LAYERS = 64, 12, 16, 2
IMAGE, PATCH, IMAGE_WIDTH, TEXT_WIDTH = 24, 8, 16, 16
EPS = 1e-2

TOWERS = (("visual.", "vision_model."), ("", "text_model."))
PAIRS = (("attn.out_proj", "self_attn.out_proj"), ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"))
NORMS = (("visual.ln_pre", "vision_model.pre_layrnorm"), ("visual.ln_post", "vision_model.post_layernorm"), ("ln_final", "text_model.final_layer_norm"))


def network():
    tower = dict(num_hidden_layers=LAYERS, projection_dim=EMBED, hidden_act="gelu", num_attention_heads=2)
    text = dict(tower, hidden_size=TEXT_WIDTH, intermediate_size=4 * TEXT_WIDTH, vocab_size=VOCABULARY, max_position_embeddings=CONTEXT,
                bos_token_id=VOCABULARY - 2, eos_token_id=VOCABULARY - 1)
    image = dict(tower, hidden_size=IMAGE_WIDTH, intermediate_size=4 * IMAGE_WIDTH, image_size=IMAGE, patch_size=PATCH)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=EMBED)).eval()
    generator = torch.Generator().manual_seed(WEIGHTS_SEED)
    for p in model.parameters():
        scale = 1.5 * p[0].numel() ** -0.5 if p.ndim > 1 else 0.2
        p.copy_(torch.randn(p.shape, generator=generator) * scale + (p.ndim == 1))
    return model


def open_clip_tensors(theirs):
    """The same numbers under open_clip's names."""
    ours = {}
    for to, of in TOWERS:
        for at in range(LAYERS):
            a, b = f"{of}encoder.layers.{at}.", f"{to}transformer.resblocks.{at}."
            for k in ("weight", "bias"):
                ours[f"{b}attn.in_proj_{k}"] = torch.cat([theirs[f"{a}self_attn.{x}_proj.{k}"] for x in "qkv"])
                ours |= {f"{b}{y}.{k}": theirs[f"{a}{x}.{k}"] for y, x in PAIRS}
    ours |= {f"{y}.{k}": theirs[f"{x}.{k}"] for y, x in NORMS for k in ("weight", "bias")}
    v, t = "vision_model.embeddings.", "text_model.embeddings."
    ours |= {"visual.conv1.weight": theirs[f"{v}patch_embedding.weight"], "visual.class_embedding": theirs[f"{v}class_embedding"],
             "visual.positional_embedding": theirs[f"{v}position_embedding.weight"], "visual.proj": theirs["visual_projection.weight"].T,
             "text_projection": theirs["text_projection.weight"].T, "token_embedding.weight": theirs[f"{t}token_embedding.weight"],
             "positional_embedding": theirs[f"{t}position_embedding.weight"], "logit_scale": theirs["logit_scale"]}
    return {name: value.contiguous().clone() for name, value in ours.items()}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = network()
    model.save_pretrained(FOLDER)
    tensors = open_clip_tensors(model.state_dict())
    save_file(tensors, FOLDER / "open_clip_model.safetensors")
    config = {"embed_dim": EMBED,
              "vision_cfg": {"image_size": IMAGE, "layers": LAYERS, "width": IMAGE_WIDTH, "patch_size": PATCH, "head_width": IMAGE_WIDTH // 2},
              "text_cfg": {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": TEXT_WIDTH, "heads": 2, "layers": LAYERS}}
    (FOLDER / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}, indent=2) + "\n")
    pixels = torch.randn(1, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(INPUT_SEED))
    ids = torch.zeros(1, CONTEXT, dtype=torch.long)
    ids[0, :6] = torch.tensor([VOCABULARY - 2, 3, 11, 5, 41, VOCABULARY - 1])
    save_file({"pixel_values": pixels, "input_ids": ids}, FOLDER / "inputs.safetensors")
    for name, norm in (("usual", None), ("eps", {"eps": EPS})):
        towers = {key: config[key] | {"norm_kwargs": norm} for key in ("vision_cfg", "text_cfg")}
        truth = open_clip.model.CLIP(**config | towers).eval()
        truth.load_state_dict(tensors)
        save_file({"image_embeds": truth.encode_image(pixels), "text_embeds": truth.encode_text(ids)}, FOLDER / f"{name}.safetensors")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
