"""Runs the original GroundingDINO with random weights on random pixels: checkpoint and outputs for comparison.

    python tools/dino_original.py FOLDER swin_T_224_1k|swin_B_384_22k|small HEIGHT WIDTH CAPTION

In the environment of `tools/requirements_dino.txt`; `tools/parity.py` and `tools/check_convert.py` call it. FOLDER gets `official.pth`, as the
authors publish checkpoints, and `truth.safetensors`: pixels, token ids, scores of cells, selected queries, and the outputs of the stages under
the names of `dino_reference.forward`. `small` has the sizes of SMALL.
"""

import re
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent
SEED = 1
# A network of the same build, by part. The official code fixes the width of queries at 256, and the patches of its backbones at 4.
SMALL = {
    "backbone": {"embed_dim": 16, "depths": [1, 2, 2, 1], "num_heads": [1, 2, 2, 4], "window_size": 3, "mlp_ratio": 2.0},
    "text": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40},
    "detector": {"enc_layers": 2, "dec_layers": 2, "dim_feedforward": 64, "nheads": 4, "num_queries": 381},
}


def build(backbone):
    """The official network. Its tokenizer and its BERT would come from the hub."""
    # Not at the top: `check_convert.py` reads SMALL where this package is not installed.
    from groundingdino.models.GroundingDINO import groundingdino
    from groundingdino.models.GroundingDINO.backbone import backbone as backbones
    from groundingdino.models.GroundingDINO.backbone.swin_transformer import SwinTransformer
    from groundingdino.util.slconfig import SLConfig

    sizes = SMALL if backbone == "small" else {"backbone": {}, "text": {}, "detector": {}}
    tokenizer = transformers.BertTokenizerFast(vocab_file=str(ROOT / "src" / "text" / "bert_vocabulary.txt"), do_lower_case=True)
    groundingdino.get_tokenlizer.get_tokenlizer = lambda _: tokenizer
    groundingdino.get_tokenlizer.get_pretrained_language_model = lambda _: transformers.BertModel(transformers.BertConfig(**sizes["text"]))
    if backbone == "small":
        backbones.build_swin_transformer = lambda _, **options: SwinTransformer(**options, **sizes["backbone"])
        backbone = "swin_T_224_1k"
    config = SLConfig.fromfile(str(Path(groundingdino.__file__).parents[2] / "config" / "GroundingDINO_SwinT_OGC.py"))
    for name, value in {"backbone": backbone, "use_checkpoint": False, "use_transformer_ckpt": False, **sizes["detector"]}.items():
        setattr(config, name, value)
    return groundingdino.build_groundingdino(config)


def redraw(model):
    """Draws every parameter anew, exact in f16, as `dino_reference.redraw` does under the published names."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn_like(value)
            if "sampling_offsets.bias" in name:
                drawn = 2 * noise
            elif re.search(r"bbox_embed\.(\d+\.)?layers\.2\.", name):
                drawn = 0.3 * noise * (value[0].numel() ** -0.5 if value.dim() > 1 else 1)
            elif re.search(r"_embeddings\.weight$|level_embed|tgt_embed|relative_position_bias_table", name):
                drawn = 0.5 * noise
            elif re.search(r"gamma_[vl]$", name):
                drawn = 0.25 + 0.5 * torch.rand_like(value)
            elif value.dim() > 1:
                drawn = noise * value[0].numel() ** -0.5
            elif name.endswith("weight"):
                drawn = 0.5 + torch.rand_like(value)
            else:
                drawn = 0.1 * noise
            value.copy_(drawn.half())
    return model.eval()


def save(model, path):
    """Writes a checkpoint as the authors publish them."""
    torch.save({"model": {f"module.{name}": value for name, value in model.state_dict().items()}}, path)


@torch.no_grad()
def main():
    folder, backbone, height, width, caption = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    torch.manual_seed(SEED)
    model = redraw(build(backbone))
    save(model, folder / "official.pth")
    pixels, stages, topk = torch.randn(1, 3, height, width), {}, torch.topk

    def select(scores, *values, **options):
        chosen = topk(scores, *values, **options)
        stages.update(query_scores=scores, query_rows=chosen[1])
        return chosen

    def keep(module, take):
        module.register_forward_hook(lambda _module, _inputs, outputs: stages.update(take(outputs)))

    torch.topk = select
    keep(model.bert, lambda outputs: {"last_hidden_state": outputs["last_hidden_state"]})
    keep(model.backbone[0], lambda outputs: {f"stage{at}": outputs[at - 2].tensors for at in (2, 3, 4)})
    keep(model.transformer.encoder, lambda outputs: {"encoder_vision": outputs[0], "encoder_text": outputs[1]})
    keep(model.transformer.decoder, lambda outputs: {f"decoder_{at}": queries for at, queries in enumerate(outputs[0], 1)})
    outputs = model(pixels, captions=[caption])
    ids = model.tokenizer([caption], return_tensors="pt")["input_ids"]
    stages |= {"pixel_values": pixels, "input_ids": ids, "logits": outputs["pred_logits"][..., :ids.shape[1]], "pred_boxes": outputs["pred_boxes"]}
    save_file({name: value.contiguous() for name, value in stages.items()}, folder / "truth.safetensors")


if __name__ == "__main__":
    main()
