"""Rewrites a PyTorch checkpoint as a snapshot of safetensors, under the names of the published ones.

    python tools/convert.py CHECKPOINT FOLDER

    sam_vit_b_01ec64.pth  sam_vit_l_0b3195.pth  sam_vit_h_4b8939.pth    Segment Anything
    groundingdino_swint_ogc.pth  groundingdino_swinb_cogcoor.pth        GroundingDINO with Swin-T or Swin-B
    open_clip_pytorch_model.bin  epoch_32.pt                            CLIP of open_clip, with `open_clip_config.json` beside it
    pytorch_model.bin                                                   CLIP, ClipSeg or SAM of transformers, with `config.json` beside it

FOLDER gets the tensors and the configuration; numbers stay as they are. Needs torch and safetensors. Only tensors are unpickled.
`tools/check_convert.py` compares the result with the official code.
"""

import json
import os
import re
import sys
from pathlib import Path

try:
    import torch
    from safetensors.torch import save_file
except ImportError as error:  # Said in one sentence by `main`.
    torch = save_file = None
    MISSING = error.name

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

SWIN, SWIN_PUBLISHED = "backbone.0", "model.backbone.conv_encoder.model"
SWIN_BLOCK, SWIN_PUBLISHED_BLOCK = f"{SWIN}.layers.#.blocks.#", f"{SWIN_PUBLISHED}.encoder.layers.#.blocks.#"
DINO_ENCODER, DINO_DECODER = "model.encoder.layers.#", "model.decoder.layers.#"
# As above; `?` stands for query, key and value, whose rows follow one another in the official tensor.
DINO_NAMES = {
    f"{SWIN}.patch_embed.proj.@": f"{SWIN_PUBLISHED}.embeddings.patch_embeddings.projection.@",
    f"{SWIN}.patch_embed.norm.@": f"{SWIN_PUBLISHED}.embeddings.norm.@",
    f"{SWIN_BLOCK}.norm1.@": f"{SWIN_PUBLISHED_BLOCK}.layernorm_before.@",
    f"{SWIN_BLOCK}.attn.relative_position_bias_table": f"{SWIN_PUBLISHED_BLOCK}.attention.self.relative_position_bias_table",
    f"{SWIN_BLOCK}.attn.relative_position_index": f"{SWIN_PUBLISHED_BLOCK}.attention.self.relative_position_index",
    f"{SWIN_BLOCK}.attn.qkv.@": f"{SWIN_PUBLISHED_BLOCK}.attention.self.?.@",
    f"{SWIN_BLOCK}.attn.proj.@": f"{SWIN_PUBLISHED_BLOCK}.attention.output.dense.@",
    f"{SWIN_BLOCK}.norm2.@": f"{SWIN_PUBLISHED_BLOCK}.layernorm_after.@",
    f"{SWIN_BLOCK}.mlp.fc1.@": f"{SWIN_PUBLISHED_BLOCK}.intermediate.dense.@",
    f"{SWIN_BLOCK}.mlp.fc2.@": f"{SWIN_PUBLISHED_BLOCK}.output.dense.@",
    f"{SWIN}.layers.#.downsample.@": f"{SWIN_PUBLISHED}.encoder.layers.#.downsample.@",
    # Stages count from zero in the official code, from one in the published names.
    f"{SWIN}.norm1.@": f"{SWIN_PUBLISHED}.hidden_states_norms.stage2.@",
    f"{SWIN}.norm2.@": f"{SWIN_PUBLISHED}.hidden_states_norms.stage3.@",
    f"{SWIN}.norm3.@": f"{SWIN_PUBLISHED}.hidden_states_norms.stage4.@",
    "input_proj.#.#.@": "model.input_proj_vision.#.#.@",
    "bert.@": "model.text_backbone.@",
    "feat_map.@": "model.text_projection.@",
    "transformer.encoder.layers.#.self_attn.@": f"{DINO_ENCODER}.deformable_layer.self_attn.@",
    "transformer.encoder.layers.#.norm1.@": f"{DINO_ENCODER}.deformable_layer.self_attn_layer_norm.@",
    "transformer.encoder.layers.#.linear#.@": f"{DINO_ENCODER}.deformable_layer.fc#.@",
    "transformer.encoder.layers.#.norm2.@": f"{DINO_ENCODER}.deformable_layer.final_layer_norm.@",
    "transformer.encoder.text_layers.#.self_attn.in_proj_@": f"{DINO_ENCODER}.text_enhancer_layer.self_attn.?.@",
    "transformer.encoder.text_layers.#.self_attn.out_proj.@": f"{DINO_ENCODER}.text_enhancer_layer.self_attn.out_proj.@",
    "transformer.encoder.text_layers.#.linear#.@": f"{DINO_ENCODER}.text_enhancer_layer.fc#.@",
    # Both norms come after what they are said to be before and after of.
    "transformer.encoder.text_layers.#.norm1.@": f"{DINO_ENCODER}.text_enhancer_layer.layer_norm_before.@",
    "transformer.encoder.text_layers.#.norm2.@": f"{DINO_ENCODER}.text_enhancer_layer.layer_norm_after.@",
    "transformer.encoder.fusion_layers.#.layer_norm_v.@": f"{DINO_ENCODER}.fusion_layer.layer_norm_vision.@",
    "transformer.encoder.fusion_layers.#.layer_norm_l.@": f"{DINO_ENCODER}.fusion_layer.layer_norm_text.@",
    "transformer.encoder.fusion_layers.#.gamma_v": f"{DINO_ENCODER}.fusion_layer.vision_param",
    "transformer.encoder.fusion_layers.#.gamma_l": f"{DINO_ENCODER}.fusion_layer.text_param",
    "transformer.encoder.fusion_layers.#.attn.v_proj.@": f"{DINO_ENCODER}.fusion_layer.attn.vision_proj.@",
    "transformer.encoder.fusion_layers.#.attn.l_proj.@": f"{DINO_ENCODER}.fusion_layer.attn.text_proj.@",
    "transformer.encoder.fusion_layers.#.attn.values_v_proj.@": f"{DINO_ENCODER}.fusion_layer.attn.values_vision_proj.@",
    "transformer.encoder.fusion_layers.#.attn.values_l_proj.@": f"{DINO_ENCODER}.fusion_layer.attn.values_text_proj.@",
    "transformer.encoder.fusion_layers.#.attn.out_v_proj.@": f"{DINO_ENCODER}.fusion_layer.attn.out_vision_proj.@",
    "transformer.encoder.fusion_layers.#.attn.out_l_proj.@": f"{DINO_ENCODER}.fusion_layer.attn.out_text_proj.@",
    "transformer.level_embed": "model.level_embed",
    "transformer.tgt_embed.@": "model.query_position_embeddings.@",
    "transformer.enc_output.@": "model.enc_output.@",
    "transformer.enc_output_norm.@": "model.enc_output_norm.@",
    "transformer.enc_out_bbox_embed.@": "model.encoder_output_bbox_embed.@",
    "transformer.decoder.layers.#.self_attn.in_proj_@": f"{DINO_DECODER}.self_attn.?.@",
    "transformer.decoder.layers.#.self_attn.out_proj.@": f"{DINO_DECODER}.self_attn.out_proj.@",
    "transformer.decoder.layers.#.norm2.@": f"{DINO_DECODER}.self_attn_layer_norm.@",
    "transformer.decoder.layers.#.ca_text.in_proj_@": f"{DINO_DECODER}.encoder_attn_text.?.@",
    "transformer.decoder.layers.#.ca_text.out_proj.@": f"{DINO_DECODER}.encoder_attn_text.out_proj.@",
    "transformer.decoder.layers.#.catext_norm.@": f"{DINO_DECODER}.encoder_attn_text_layer_norm.@",
    "transformer.decoder.layers.#.cross_attn.@": f"{DINO_DECODER}.encoder_attn.@",
    "transformer.decoder.layers.#.norm1.@": f"{DINO_DECODER}.encoder_attn_layer_norm.@",
    "transformer.decoder.layers.#.linear#.@": f"{DINO_DECODER}.fc#.@",
    "transformer.decoder.layers.#.norm3.@": f"{DINO_DECODER}.final_layer_norm.@",
    "transformer.decoder.norm.@": "model.decoder.layer_norm.@",
    "transformer.decoder.ref_point_head.@": "model.decoder.reference_points_head.@",
    "bbox_embed.0.@": "bbox_embed.0.@",
}
# Official tensors that the network does not read, and the copies of the head that all decoder layers share.
DINO_UNUSED = re.compile(r"label_enc\.weight|bert\.embeddings\.position_ids|bert\.pooler\..+")
DINO_COPY = re.compile(r"(?:transformer\.decoder\.)?bbox_embed\.\d+\.(.+)")
# Depths, heads, window, side of the images it was trained on, of the backbone, and tensors of the whole network, by the backbone's width: Swin-T
# and Swin-B.
DINO_BACKBONES = {96: ([2, 2, 6, 2], [3, 6, 12, 24], 7, 224, 990), 128: ([2, 2, 18, 2], [4, 8, 16, 32], 12, 384, 1206)}
# The configuration of the official network with Swin-T.
DINO_CONFIG = {
    "architectures": ["GroundingDinoForObjectDetection"], "model_type": "grounding-dino", "dtype": "float32",
    "backbone_config": {"model_type": "swin", "image_size": 224, "patch_size": 4, "num_channels": 3, "embed_dim": 96, "depths": [2, 2, 6, 2],
                        "num_heads": [3, 6, 12, 24], "window_size": 7, "mlp_ratio": 4.0, "qkv_bias": True, "hidden_act": "gelu",
                        "layer_norm_eps": 1e-5, "out_features": ["stage2", "stage3", "stage4"], "out_indices": [2, 3, 4]},
    "text_config": {"model_type": "bert", "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
                    "intermediate_size": 3072, "hidden_act": "gelu", "max_position_embeddings": 512, "type_vocab_size": 2,
                    "layer_norm_eps": 1e-12},
    "d_model": 256, "num_queries": 900, "encoder_layers": 6, "encoder_ffn_dim": 2048, "encoder_attention_heads": 8, "encoder_n_points": 4,
    "decoder_layers": 6, "decoder_ffn_dim": 2048, "decoder_attention_heads": 8, "decoder_n_points": 4, "num_feature_levels": 4,
    "text_enhancer_dropout": 0.0, "fusion_dropout": 0.0, "fusion_droppath": 0.1, "activation_function": "relu", "max_text_len": 256,
    "two_stage": True, "embedding_init_target": True, "query_dim": 4, "decoder_bbox_embed_share": True, "two_stage_bbox_embed_share": False,
    "positional_embedding_temperature": 20, "position_embedding_type": "sine", "layer_norm_eps": 1e-5,
}
QKV = ["query", "key", "value"]

# A tensor of checkpoints that already have their published names, the file they go to, and the configuration that has to lie beside them.
PUBLISHED = {
    "visual.conv1.weight": ("open_clip_model.safetensors", "open_clip_config.json"),
    "vision_model.embeddings.class_embedding": ("model.safetensors", "config.json"),
    "decoder.film_mul.weight": ("model.safetensors", "config.json"),
    "vision_encoder.pos_embed": ("model.safetensors", "config.json"),
}


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
        parts = zip(QKV, value.chunk(3), strict=True) if "?" in new else [("", value)]
        result |= {new.replace("?", letter): part.clone() for letter, part in parts}
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


def dino_tensors(state):
    """Published tensors of the official GroundingDINO: one copy of the head that all decoder layers share, nothing that is not read."""
    kept = {}
    for name, value in state.items():
        if found := DINO_COPY.fullmatch(name):
            first = f"bbox_embed.0.{found[1]}"
            if first not in state or not torch.equal(value, state[first]):
                raise Refusal(f"`{name}` differs from `{first}`", "decoder layers with heads of their own are not supported")
            if name != first:
                continue
        if not DINO_UNUSED.fullmatch(name):
            kept[name] = value
    tensors = renamed(kept, DINO_NAMES)
    return tensors


def dino_config(tensors):
    """The configuration of the official network with this backbone."""
    width = tensors[f"{SWIN_PUBLISHED}.embeddings.norm.weight"].numel()
    depths, heads, window, side, count = DINO_BACKBONES.get(width, ([], [], 0, 0, 0))
    if len(tensors) != count:
        raise Refusal(f"{len(tensors)} tensors and a backbone of width {width}, which is no official network",
                      "`groundingdino_swint_ogc.pth` and `groundingdino_swinb_cogcoor.pth` are supported")
    backbone = DINO_CONFIG["backbone_config"] | {"image_size": side, "embed_dim": width, "depths": depths, "num_heads": heads, "window_size": window}
    return DINO_CONFIG | {"backbone_config": backbone}


def count(names, pattern):
    """How many numbers stand at the group of a pattern."""
    return len({found[1] for name in names if (found := re.match(pattern, name))})


def convert_state(state, decoder_heads=SAM_DECODER_HEADS):
    """Published tensors and configuration of an official network."""
    if any(name.startswith("image_encoder.") for name in state):
        tensors = renamed(state, SAM_NAMES)
        return tensors, sam_config(tensors, decoder_heads)
    if "transformer.level_embed" in state:
        tensors = dino_tensors(state)
        return tensors, dino_config(tensors)
    first = ", ".join(f"`{name}`" for name in list(state)[:3]) or "none"
    raise Refusal(f"the checkpoint is of no network that is known here; its first tensors: {first}", "give one of the checkpoints that `--help` lists")


def configuration_beside(source, name):
    """The configuration that lies beside a checkpoint."""
    file = source.parent / name
    if not file.is_file():
        raise Refusal(f"there is no `{name}` beside `{source}`", "fetch it from the repository of the checkpoint: heads and activation are not stored in the tensors")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refusal(f"`{file}` is not JSON: {error}", "fetch it again") from error


def write(folder, tensors, config, files=("model.safetensors", "config.json")):
    """Writes a snapshot; each file appears whole or not at all. `config` is None where it is already in the folder."""
    target = folder / files[0]
    if target.exists():
        raise Refusal(f"`{target}` is already there", "give another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / f"{files[0]}.part", {"format": "pt"})
    os.chmod(folder / f"{files[0]}.part", 0o644)  # safetensors lets nobody else read.
    if config is not None:
        (folder / f"{files[1]}.part").write_text(json.dumps(config, indent=2) + "\n")
        os.replace(folder / f"{files[1]}.part", folder / files[1])
    os.replace(folder / f"{files[0]}.part", target)
    return target


def convert(source, folder, decoder_heads=SAM_DECODER_HEADS):
    """Reads a checkpoint, writes a snapshot, says what it was."""
    state = read(source)
    published = next((files for name, files in PUBLISHED.items() if name in state), None)
    if published:
        # Cloned, since tensors of one file may share memory, which safetensors refuses.
        tensors, config = {name: value.contiguous().clone() for name, value in state.items()}, configuration_beside(source, published[1])
        is_in_place = folder.resolve() == source.parent.resolve()
        target, what = write(folder, tensors, None if is_in_place else config, published), published[1]
    else:
        tensors, config = convert_state(state, decoder_heads)
        target, what = write(folder, tensors, config), config["architectures"][0]
    parameters = sum(value.numel() for value in tensors.values())
    print(f"{target}: {what}, {len(tensors)} tensors, {parameters:,} numbers")


def main():
    if len(sys.argv) != 3 or set(sys.argv[1:]) & {"-h", "--help"}:
        asked = bool(set(sys.argv[1:]) & {"-h", "--help"})
        print(__doc__.strip(), file=sys.stdout if asked else sys.stderr)
        sys.exit(0 if asked else 2)
    if torch is None:
        print(f"error: the Python package `{MISSING}` is not installed\nhint: `pip install torch safetensors`", file=sys.stderr)
        sys.exit(2)
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except (Refusal, OSError) as error:
        print(error if isinstance(error, Refusal) else f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
