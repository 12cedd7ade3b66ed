"""Runs the original GroundingDINO with random weights on random pixels: checkpoint and outputs for comparison.

    python tools/dino_original.py FOLDER swin_T_224_1k|swin_B_384_22k HEIGHT WIDTH CAPTION

In the environment of `tools/requirements_dino.txt`; `tools/parity.py grounding-dino-original` calls it. FOLDER gets `official.pth`, as the
authors publish checkpoints, and `truth.safetensors`: pixels, token ids, selected queries, and the outputs of the stages.
"""

import re
import sys
from pathlib import Path

import torch
import transformers
from groundingdino.models.GroundingDINO import groundingdino
from groundingdino.util.misc import nested_tensor_from_tensor_list
from groundingdino.util.slconfig import SLConfig
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent
SEED = 1


def build(backbone):
    """The official network. Its tokenizer and its BERT would come from the hub."""
    tokenizer = transformers.BertTokenizerFast(vocab_file=str(ROOT / "src" / "text" / "bert_vocabulary.txt"), do_lower_case=True)
    groundingdino.get_tokenlizer.get_tokenlizer = lambda _: tokenizer
    groundingdino.get_tokenlizer.get_pretrained_language_model = lambda _: transformers.BertModel(transformers.BertConfig())
    config = SLConfig.fromfile(str(Path(groundingdino.__file__).parents[2] / "config" / "GroundingDINO_SwinT_OGC.py"))
    config.backbone, config.use_checkpoint, config.use_transformer_ckpt = backbone, False, False
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


@torch.no_grad()
def main():
    folder, backbone, height, width, caption = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    torch.manual_seed(SEED)
    model = redraw(build(backbone))
    torch.save({"model": {f"module.{name}": value for name, value in model.state_dict().items()}}, folder / "official.pth")
    pixels, stages, topk = torch.randn(1, 3, height, width), {}, torch.topk

    def select(*values, **options):
        chosen = topk(*values, **options)
        stages["query_rows"] = chosen[1]
        return chosen

    torch.topk = select
    hook = model.transformer.encoder.register_forward_hook(
        lambda _module, _inputs, outputs: stages.update(encoder_vision=outputs[0], encoder_text=outputs[1]))
    outputs = model(nested_tensor_from_tensor_list(pixels), captions=[caption])
    hook.remove()
    ids = model.tokenizer([caption], return_tensors="pt")["input_ids"]
    stages |= {"pixel_values": pixels, "input_ids": ids, "logits": outputs["pred_logits"][..., :ids.shape[1]], "pred_boxes": outputs["pred_boxes"]}
    save_file({name: value.contiguous() for name, value in stages.items()}, folder / "truth.safetensors")


if __name__ == "__main__":
    main()
