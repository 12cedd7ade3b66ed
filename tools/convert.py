"""Rewrites an official checkpoint under the names of the published transformers snapshot, which `zsas-gpu` reads.

    python tools/convert.py CHECKPOINT.pth FOLDER

    sam_vit_b_01ec64.pth  sam_vit_l_0b3195.pth  sam_vit_h_4b8939.pth    Segment Anything

FOLDER gets `model.safetensors` and `config.json`; numbers stay as they are. Needs torch and safetensors. Only tensors are unpickled.
`tools/check_convert.py` holds the result to the official code.
"""

import json
import os
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

# Official name → published name: `#` is a number, `@` the rest of the name; both stay.
SAM_NAMES = {
    "image_encoder.pos_embed": "vision_encoder.pos_embed",
    "image_encoder.patch_embed.proj.@": "vision_encoder.patch_embed.projection.@",
    "image_encoder.blocks.#.norm#.@": "vision_encoder.layers.#.layer_norm#.@",
    "image_encoder.blocks.#.attn.@": "vision_encoder.layers.#.attn.@",
    "image_encoder.blocks.#.mlp.@": "vision_encoder.layers.#.mlp.@",
    "image_encoder.neck.0.@": "vision_encoder.neck.conv1.@",
    "image_encoder.neck.1.@": "vision_encoder.neck.layer_norm1.@",
    "image_encoder.neck.2.@": "vision_encoder.neck.conv2.@",
    "image_encoder.neck.3.@": "vision_encoder.neck.layer_norm2.@",
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": "shared_image_embedding.positional_embedding",
    "prompt_encoder.point_embeddings.#.@": "prompt_encoder.point_embed.#.@",
    "prompt_encoder.not_a_point_embed.@": "prompt_encoder.not_a_point_embed.@",
    "prompt_encoder.no_mask_embed.@": "prompt_encoder.no_mask_embed.@",
    "prompt_encoder.mask_downscaling.0.@": "prompt_encoder.mask_embed.conv1.@",
    "prompt_encoder.mask_downscaling.1.@": "prompt_encoder.mask_embed.layer_norm1.@",
    "prompt_encoder.mask_downscaling.3.@": "prompt_encoder.mask_embed.conv2.@",
    "prompt_encoder.mask_downscaling.4.@": "prompt_encoder.mask_embed.layer_norm2.@",
    "prompt_encoder.mask_downscaling.6.@": "prompt_encoder.mask_embed.conv3.@",
    "mask_decoder.iou_token.@": "mask_decoder.iou_token.@",
    "mask_decoder.mask_tokens.@": "mask_decoder.mask_tokens.@",
    "mask_decoder.transformer.layers.#.norm#.@": "mask_decoder.transformer.layers.#.layer_norm#.@",
    "mask_decoder.transformer.layers.#.self_attn.@": "mask_decoder.transformer.layers.#.self_attn.@",
    "mask_decoder.transformer.layers.#.cross_attn_token_to_image.@": "mask_decoder.transformer.layers.#.cross_attn_token_to_image.@",
    "mask_decoder.transformer.layers.#.cross_attn_image_to_token.@": "mask_decoder.transformer.layers.#.cross_attn_image_to_token.@",
    "mask_decoder.transformer.layers.#.mlp.@": "mask_decoder.transformer.layers.#.mlp.@",
    "mask_decoder.transformer.final_attn_token_to_image.@": "mask_decoder.transformer.final_attn_token_to_image.@",
    "mask_decoder.transformer.norm_final_attn.@": "mask_decoder.transformer.layer_norm_final_attn.@",
    "mask_decoder.output_upscaling.0.@": "mask_decoder.upscale_conv1.@",
    "mask_decoder.output_upscaling.1.@": "mask_decoder.upscale_layer_norm.@",
    "mask_decoder.output_upscaling.3.@": "mask_decoder.upscale_conv2.@",
    # The same words name different layers in the two schemes: the second official one is `layers.0` here.
    "mask_decoder.output_hypernetworks_mlps.#.layers.0.@": "mask_decoder.output_hypernetworks_mlps.#.proj_in.@",
    "mask_decoder.output_hypernetworks_mlps.#.layers.1.@": "mask_decoder.output_hypernetworks_mlps.#.layers.0.@",
    "mask_decoder.output_hypernetworks_mlps.#.layers.2.@": "mask_decoder.output_hypernetworks_mlps.#.proj_out.@",
    "mask_decoder.iou_prediction_head.layers.0.@": "mask_decoder.iou_prediction_head.proj_in.@",
    "mask_decoder.iou_prediction_head.layers.1.@": "mask_decoder.iou_prediction_head.layers.0.@",
    "mask_decoder.iou_prediction_head.layers.2.@": "mask_decoder.iou_prediction_head.proj_out.@",
}
# Tensors of a block of the image encoder, and of all else.
SAM_BLOCK, SAM_OTHERS = 14, 146
# Heads of the mask decoder, which no tensor shows.
SAM_DECODER_HEADS = 8
# The official decoder's; transformers assumes 1e-6 where a configuration is silent.
SAM_DECODER_EPS = 1e-5


class Refusal(Exception):
    """What is wrong with the input, and what to do."""

    def __init__(self, message, hint):
        super().__init__(f"error: {message}\nhint: {hint}")


def read(path):
    """The tensors of a checkpoint by name, without the wrappings of training programs."""
    if not path.is_file():
        raise Refusal(f"`{path}` is not a file", "give the path of a downloaded checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Whatever the bytes set off; PyTorch's own words advise to run the code in the file.
        raise Refusal(f"`{path}` cannot be read as a checkpoint of tensors ({type(error).__name__})",
                      "compare its length and sha256 with the publisher's; files that hold more than tensors are refused") from error
    for wrapping in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(wrapping), dict):
            state = state[wrapping]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise Refusal(f"`{path}` holds something else than tensors by name", "give one of the official checkpoints that `--help` lists")
    return {name.removeprefix("module."): value for name, value in state.items()}


def renamed(state, names):
    """Tensors under their published names; every tensor must match a rule, and every rule a tensor."""
    rules = {}
    for source, target in names.items():
        pattern = re.escape(source).replace(r"\#", r"(\d+)").replace("@", "(.+)")
        numbers = iter(range(1, 10))
        rules[source] = re.compile(pattern), re.sub("[#@]", lambda _: rf"\g<{next(numbers)}>", target)
    result, used = {}, set()
    for name, value in state.items():
        matches = [(source, found.expand(target)) for source, (pattern, target) in rules.items() if (found := pattern.fullmatch(name))]
        if not matches:
            raise Refusal(f"tensor `{name}` is none of the official network's", "variants (fine-tuned, distilled, HQ) have other layers and are not supported")
        (source, new), = matches
        used.add(source)
        result[new] = value.contiguous()
    if missing := [source for source in names if source not in used]:
        raise Refusal(f"no tensor is named like `{missing[0]}`", "the checkpoint is incomplete; download it again")
    return result


def sam_config(tensors, decoder_heads):
    """The contents of `config.json`, read off the shapes of published tensors."""
    shape = {name: tuple(value.shape) for name, value in tensors.items()}
    _, grid, _, width = shape["vision_encoder.pos_embed"]
    patch = shape["vision_encoder.patch_embed.projection.weight"][-1]
    blocks = count(shape, r"vision_encoder\.layers\.(\d+)\.")
    if len(shape) != SAM_OTHERS + SAM_BLOCK * blocks:
        raise Refusal(f"{len(shape)} tensors, but a network of {blocks} blocks has {SAM_OTHERS + SAM_BLOCK * blocks}", "download the checkpoint again")
    lengths = [shape[f"vision_encoder.layers.{at}.attn.rel_pos_h"][0] for at in range(blocks)]
    hidden = shape["mask_decoder.iou_token.weight"][1]
    layer = "mask_decoder.transformer.layers.0"
    size = {"image_size": grid * patch, "patch_size": patch}
    mlp = shape["vision_encoder.layers.0.mlp.lin1.weight"][0]
    vision = size | {
        "model_type": "sam_vision_model", "hidden_size": width, "num_hidden_layers": blocks,
        "num_attention_heads": width // shape["vision_encoder.layers.0.attn.rel_pos_h"][1], "mlp_dim": mlp, "mlp_ratio": mlp / width,
        "num_channels": 3, "output_channels": shape["vision_encoder.neck.conv1.weight"][0], "hidden_act": "gelu", "layer_norm_eps": 1e-6,
        "qkv_bias": True, "use_abs_pos": True, "use_rel_pos": True, "window_size": (min(lengths) + 1) // 2,
        "global_attn_indexes": [at for at, length in enumerate(lengths) if length == 2 * grid - 1],
        "num_pos_feats": shape["shared_image_embedding.positional_embedding"][1],
    }
    prompt = size | {
        "hidden_size": hidden, "image_embedding_size": grid, "mask_input_channels": shape["prompt_encoder.mask_embed.conv2.weight"][0],
        "num_point_embeddings": count(shape, r"prompt_encoder\.point_embed\.(\d+)\."), "hidden_act": "gelu", "layer_norm_eps": 1e-6,
    }
    decoder = {
        "hidden_size": hidden, "mlp_dim": shape[f"{layer}.mlp.lin1.weight"][0], "num_hidden_layers": count(shape, r"mask_decoder\.transformer\.layers\.(\d+)\."),
        "num_attention_heads": decoder_heads, "attention_downsample_rate": hidden // shape[f"{layer}.cross_attn_token_to_image.q_proj.weight"][0],
        "num_multimask_outputs": shape["mask_decoder.mask_tokens.weight"][0] - 1, "iou_head_depth": 3,
        "iou_head_hidden_dim": shape["mask_decoder.iou_prediction_head.proj_in.weight"][0], "hidden_act": "relu", "layer_norm_eps": SAM_DECODER_EPS,
    }
    return {"architectures": ["SamModel"], "model_type": "sam", "dtype": "float32", "tie_word_embeddings": True,
            "vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": decoder}


def count(names, pattern):
    """How many numbers stand at the group of a pattern."""
    return len({found[1] for name in names if (found := re.match(pattern, name))})


def convert_state(state, decoder_heads=SAM_DECODER_HEADS):
    """Published tensors and configuration of an official network."""
    if any(name.startswith("image_encoder.") for name in state):
        tensors = renamed(state, SAM_NAMES)
        return tensors, sam_config(tensors, decoder_heads)
    first = ", ".join(f"`{name}`" for name in list(state)[:3]) or "none"
    raise Refusal(f"the checkpoint is not one of Segment Anything; its first tensors: {first}", "give one of the official checkpoints that `--help` lists")


def write(folder, tensors, config):
    """Writes a snapshot; each file appears whole or not at all."""
    target = folder / "model.safetensors"
    if target.exists():
        raise Refusal(f"`{target}` is already there", "give another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors.part", {"format": "pt"})
    (folder / "config.json.part").write_text(json.dumps(config, indent=2) + "\n")
    for name in ("config.json", "model.safetensors"):
        os.replace(folder / f"{name}.part", folder / name)


def convert(source, folder, decoder_heads=SAM_DECODER_HEADS):
    """Reads a checkpoint, writes a snapshot, says what it was."""
    tensors, config = convert_state(read(source), decoder_heads)
    write(folder, tensors, config)
    parameters = sum(value.numel() for value in tensors.values())
    print(f"{folder / 'model.safetensors'}: {config['architectures'][0]}, {len(tensors)} tensors, {parameters:,} numbers")


def main():
    if len(sys.argv) != 3 or set(sys.argv[1:]) & {"-h", "--help"}:
        asked = bool(set(sys.argv[1:]) & {"-h", "--help"})
        print(__doc__.strip(), file=sys.stdout if asked else sys.stderr)
        sys.exit(0 if asked else 2)
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
