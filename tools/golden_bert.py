"""Writes tests/golden/text/bert.jsonl: what GroundingDINO reads of many kinds of caption, and its words for them, for tests without Python.

    python tools/golden_bert.py

Runs in the environment of `tools/requirements_dino.txt`: ids are those of transformers' tokenizer in plain Python, the rest is of the
original code. Seeded; the first line records the versions, then one line per caption: its kind, the text, its ids between [CLS] and [SEP],
the positions of its tokens, which count anew in each phrase, and the blocks of its mask, each as the first token and the one after the last
(a token without block attends to itself). Of prompts and some random captions also `likely`, some of their tokens, and `phrase`, the words
for these. Texts hold only characters that Python's own Unicode tables know.
"""

import json
import random
import unicodedata
from importlib.metadata import version
from pathlib import Path

import torch
from groundingdino.models.GroundingDINO.bertwarper import generate_masks_with_special_tokens
from groundingdino.util.utils import get_phrases_from_posmap
from transformers import BertTokenizer, BertTokenizerFast

ROOT = Path(__file__).resolve().parent.parent
PATH = ROOT / "tests" / "golden" / "text" / "bert.jsonl"
VOCABULARY = str(ROOT / "src" / "text" / "bert_vocabulary.txt")
SEED, RANDOM = 20261127, 1000
# Random captions whose words are recorded too.
WORDED = 300
# [CLS], [SEP], full stop, question mark.
SPECIAL = [101, 102, 1012, 1029]

# Published: the checks that this is the tokenizer that the network was trained with.
KNOWN = {
    "a cat.": ([101, 1037, 4937, 1012, 102], [0, 0, 1, 2, 0]),
    "metal nut.": ([101, 3384, 17490, 1012, 102], [0, 0, 1, 2, 0]),
    "crack. hole. broken part.": ([101, 8579, 1012, 4920, 1012, 3714, 2112, 1012, 102], [0, 0, 1, 0, 1, 0, 1, 2, 0]),
    "color defect. flip defect. scratch.": (
        [101, 3609, 21262, 1012, 11238, 21262, 1012, 11969, 1012, 102], [0, 0, 1, 2, 0, 1, 2, 0, 1, 0]),
    "cat . remote control .": ([101, 4937, 1012, 6556, 2491, 1012, 102], [0, 0, 1, 0, 1, 2, 0]),
    "a cat? a dog.": ([101, 1037, 4937, 1029, 1037, 3899, 1012, 102], [0, 0, 1, 2, 0, 1, 2, 0]),
    "defect on the candle": ([101, 21262, 2006, 1996, 13541, 102], [0, 0, 0, 0, 0, 0]),
}

# Objects and defects of SAA+ (Cao et al. 2023; caoyunkang/Segment-Any-Anomaly).
CLASSES = """carpet grid leather tile wood bottle cable capsule hazelnut metal_nut pill screw toothbrush transistor zipper candle capsules cashew
chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum ksdd2 mtd""".split()
OBJECTS = ["macaroni", "printed_circuit_board", "pcb"]
DEFECTS = [
    "black hole", "thread", "defect.", "irregular pattern", "broken part. contamination. white broken.",
    "crack. flawed golden wire. black hole.", "white crack. hole.", "white print. crack. thread.",
    "blue defect. black defect. red defect. scratch.", "red defect. yellow defect. blue defect. crack. scratch.", "crack. broken leather.",
    "color defect. hole. black defect. wick hole. spot. ", "black melt. dark liquid.", "bubble",
    "yellow defect. black defect. small holes. scratch. breakage. crack.", "small spot.",
    "crack. yellow defect. color defect. black defect. thread.",
    "broken part. purple defect. black defect. red defect. color defect. color crack. break",
    "broken part. red defect. black defect. crack. hole. scratch. color crack.", "broken part. red defect. black defect. crack. hole. scratch.",
    "edge. spot. chip.", "bent wire on pcb", "white scratch on pcb", "white defect on pcb", "white circle.", "bent wire", "pointed", "wire",
    "scratch on pcb", "defect on pcb", "yellow paper on pcb", "yellow defect on pcb", "black defect on pcb", "color defect on pcb", "black hole.",
    "black hole. blow hole. break. crack. fray. uneven.",
]
BLOCKS = [(0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x621, 0x64A), (0x900, 0x97F),
          (0xE01, 0xE5B), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x20A0, 0x20BF), (0x2190, 0x21FF), (0x2E80, 0x2EFF), (0x3000, 0x303F),
          (0x3041, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFF00, 0xFF60), (0x1F300, 0x1F64F), (0x20000, 0x2A6DF)]
ODD = ["\0", "\ufffd", "\x01", "\x7f", "\u200b", "\ufeff", "\t", "\n", "\r", "\x0b", "\x1c", "\u3000", "\xa0", ".", "?", ",", ";", "_", "##", "[SEP]",
       "[unk]", "\u0130", "\u1e9e", "e\u0301", "x" * 101, "a" * 100]
WORDS = "crack hole scratch broken part hazelnut toothbrush unbelievable antidisestablishmentarianism macaroni PCB Defect DAMAGE isn't 3.5mm".split()


def captions():
    """Pairs of a kind and a text."""
    yield from (("known", text) for text in KNOWN)
    prompts = [f"{what} on {name}" for name in CLASSES for what in ("defect", "damage", "flaw")]
    prompts += [f"{name}," for name in CLASSES + OBJECTS] + ["chewinggum"] + DEFECTS
    for text in prompts:
        text = text.lower().strip()
        yield "saa", text if text.endswith(".") else text + "."
    randomly = random.Random(SEED)
    for _ in range(RANDOM):
        parts = []
        for _ in range(randomly.randint(0, 12)):
            low, high = randomly.choice(BLOCKS)
            letters = "".join(filter(is_known, (chr(randomly.randint(low, high)) for _ in range(randomly.randint(1, 6)))))
            parts.append(randomly.choice([letters, randomly.choice(ODD), randomly.choice(WORDS), randomly.choice([". ", "?", " "])]))
        # Captions are lower-cased first, and a special token's name is then a word like others.
        yield "random", "".join(part + randomly.choice(["", " "]) for part in parts).lower()


def is_known(character):
    return unicodedata.category(character) not in ("Cn", "Cs", "Co")


def blocks(mask):
    """The blocks of more than one token that lie on the diagonal of a mask, which has nothing beside them."""
    found, at = [], 0
    while at < len(mask):
        end = at + int(mask[at].sum())
        found += [[at, end]] if end > at + 1 else []
        at = end
    rebuilt = torch.eye(len(mask), dtype=torch.bool)
    for start, end in found:
        rebuilt[start:end, start:end] = True
    assert torch.equal(rebuilt, mask), "a mask with something beside its diagonal of blocks"
    return found


def main():
    tokenizer = BertTokenizer(VOCABULARY, do_lower_case=True)
    # The one in Rust, which the released code gets, decodes; both split alike.
    decoder = BertTokenizerFast(VOCABULARY, do_lower_case=True)
    randomly = random.Random(SEED)
    lines = [{"transformers": version("transformers"), "groundingdino-py": version("groundingdino-py"), "seed": SEED}]
    count = 0
    for kind, text in captions():
        tokenized = tokenizer(text)
        ids = tokenized["input_ids"]
        assert decoder(text)["input_ids"] == ids, repr(text)
        mask, positions = generate_masks_with_special_tokens({"input_ids": torch.tensor([ids])}, SPECIAL, None)
        positions = positions[0].tolist()
        assert text not in KNOWN or KNOWN[text] == (ids, positions), f"{text!r}: {ids}, {positions}"
        line = {"kind": kind, "text": text, "ids": ids, "positions": positions, "blocks": blocks(mask[0])}
        count += kind == "random"
        if count <= WORDED:
            share = randomly.choice([0.2, 0.5, 0.9])
            line["likely"] = [at for at in range(len(ids)) if randomly.random() < share]
            likely = torch.zeros(len(ids), dtype=torch.bool)
            likely[line["likely"]] = True
            line["phrase"] = get_phrases_from_posmap(likely, tokenized, decoder)
        lines.append(line)
    PATH.write_text("".join(json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n" for line in lines))
    print(f"{len(lines) - 1} captions, {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
