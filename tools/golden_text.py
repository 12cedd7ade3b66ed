"""Writes tests/golden/text/: the token ids that open_clip gives to many kinds of text, for tests that need no Python.

    python tools/golden_text.py

Needs open_clip_torch and ftfy. Seeded; the first line records the versions, then one line per text: its kind, the text, its ids with the
start and end token, cut to 77, not padded. Texts hold only characters that Python's own Unicode tables know.
"""

import json
import random
import sys
import unicodedata
from importlib.metadata import version
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer

ROOT = Path(__file__).resolve().parent.parent
PATH = ROOT / "tests" / "golden" / "text" / "clip.jsonl"
SEED = 20261122
LARGEST = 400_000

# Published ids, start and end token left out: the checks that the installed open_clip is the one the networks were trained with.
KNOWN = {
    "a cropped photo of the bottle.": [320, 31139, 1125, 539, 518, 5392, 269],
    "a photo of a flawless metal nut.": [320, 1125, 539, 320, 15531, 4044, 6491, 269],
    "a photo of a flawless metal_nut.": [320, 1125, 539, 320, 15531, 4044, 318, 6491, 269],
    "a jpeg corrupted photo of a damaged hazelnut.": [320, 73, 11207, 30429, 775, 1125, 539, 320, 13568, 35816, 269],
    "a photo of the toothbrush with defect for visual inspection.": [
        320, 1125, 539, 518, 36841, 593, 44013, 556, 7195, 15142, 269],
    "a close-up photo of a pcb1 without damage.": [320, 2660, 268, 705, 1125, 539, 320, 26235, 272, 2193, 6822, 269],
    "a photo of a unblemished pipe_fryum for anomaly detection.": [
        320, 1125, 539, 320, 569, 1447, 714, 1492, 10459, 318, 936, 7259, 556, 46811, 16220, 269],
    "a dark photo of the macaroni2 with flaw.": [320, 3144, 1125, 539, 518, 41824, 273, 593, 34978, 269],
    "a bright photo of a perfect chewinggum.": [320, 4852, 1125, 539, 320, 1878, 983, 8141, 11235, 269],
    "normal bottle": [5967, 5392],
    "anomalous bottle": [21612, 526, 879, 5392],
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "a photo of a flawless bottle.": [320, 1125, 539, 320, 15531, 5392, 269],
    "a cropped photo of the damaged metal nut": [320, 31139, 1125, 539, 518, 13568, 4044, 6491],
    "Hello, World!  it's 2023": [3306, 267, 1002, 256, 585, 568, 273, 271, 273, 274],
    "metal_nut": [4044, 318, 6491],
    "the pcb1 with a scratch...": [518, 26235, 272, 593, 320, 13258, 678],
    "  &lt;b&gt;crème brûlée&amp;amp; ": [283, 321, 285, 1075, 12138, 614, 711, 127, 119, 75, 13489, 261],
    "🙂 ok": [14860, 2481],
}

STATES = ["{}", "flawless {}", "perfect {}", "unblemished {}", "{} without flaw", "{} without damage", "damaged {}", "{} with defect"]
FRAMES = ["a photo of a {}.", "a blurry photo of the {}.", "a close-up photo of a {}", "a jpeg corrupted photo of the {}.",
          "there is a {} in the scene.", "a photo of one {} for visual inspection."]
OBJECTS = ["bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal nut", "pill", "screw", "tile", "toothbrush",
           "transistor", "wood", "zipper", "candle", "cashew", "chewinggum", "fryum", "macaroni1", "pcb4", "pipe_fryum"]

# First and last code point of each block that texts are drawn from.
SCRIPTS = {
    "latin": (0x00C0, 0x024F), "ipa": (0x0250, 0x02AF), "greek": (0x0370, 0x03FF), "cyrillic": (0x0400, 0x052F),
    "armenian": (0x0531, 0x058A), "hebrew": (0x0591, 0x05F4), "arabic": (0x0600, 0x06FF), "syriac": (0x0700, 0x074F),
    "devanagari": (0x0900, 0x097F), "bengali": (0x0980, 0x09FE), "tamil": (0x0B82, 0x0BFA), "telugu": (0x0C00, 0x0C7F),
    "thai": (0x0E01, 0x0E5B), "tibetan": (0x0F00, 0x0FDA), "myanmar": (0x1000, 0x109F), "georgian": (0x10A0, 0x10FF),
    "jamo": (0x1100, 0x11FF), "ethiopic": (0x1200, 0x137C), "cherokee": (0x13A0, 0x13FD), "runic": (0x16A0, 0x16F8),
    "khmer": (0x1780, 0x17F9), "mongolian": (0x1800, 0x18AA), "latin additional": (0x1E00, 0x1EFF),
    "greek extended": (0x1F00, 0x1FFE), "punctuation": (0x2000, 0x206F), "currency": (0x20A0, 0x20C0),
    "letterlike": (0x2100, 0x218B), "arrows and mathematics": (0x2190, 0x23FF), "enclosed": (0x2460, 0x24FF), "box": (0x2500, 0x25FF),
    "dingbats": (0x2700, 0x27BF), "coptic": (0x2C80, 0x2CFF), "kana": (0x3041, 0x30FF), "han": (0x4E00, 0x9FFF),
    "hangul": (0xAC00, 0xD7A3), "presentation": (0xFB00, 0xFB4F), "gothic": (0x10330, 0x1034A), "deseret": (0x10400, 0x1044F),
    "mathematical letters": (0x1D400, 0x1D7FF), "adlam": (0x1E900, 0x1E95F), "han extension": (0x20000, 0x2A6DF),
}
DIGITS = [0x30, 0x660, 0x6F0, 0x966, 0x9E6, 0xBE6, 0xE50, 0xF20, 0x1040, 0x17E0, 0xFF10, 0x1D7CE, 0x1E950]
EMOJI = ["🙂", "👍🏽", "👩‍🔬", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🏴󠁧󠁢󠁷󠁬󠁳󠁿", "🇩🇪", "1️⃣", "❤️‍🔥", "☎︎", "🧑🏿‍🚀", "🫠", "©️", "™", "⚙️", "🕵🏻‍♀️"]
WHITE = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2003\u2007\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
PAGES = ["latin-1", "sloppy-windows-1252", "sloppy-windows-1251", "sloppy-windows-1250", "sloppy-windows-1253", "sloppy-windows-1254",
         "sloppy-windows-1257", "iso-8859-2", "macroman", "cp437"]
PHRASES = ["café crème", "naïve façade", "l’humanité", "“quoted” – dash", "Größe 5 µm", "El Niño à la carte", "Ação à noite", "Łódź żółw",
           "Příliš žluťoučký", "Смотри фото", "Ελληνικά", "日本語の写真", "한국어", "مرحبا", "שלום", "ไทย", "हिन्दी", "✔ done", "🙂 smile", "…",
           "10 °C ± 2", "½ × ¾", "€ 5 £ 3", "às vezes", "Señor ¿qué?", "Tiếng Việt", "İstanbul ığdır", "Ąžuolas", "É", "voilà"]
ENTITIES = ["&amp;", "&amp", "&lt;b&gt;", "&quot;x&quot;", "&nbsp;", "&hellip;", "&rsquo;", "&eacute;", "&EACUTE;", "&SZLIG;", "&nTILDE;",
            "&notit;", "&notin;", "&notinva", "&copy", "&COPY", "&copycat;", "&#233;", "&#xe9;", "&#XE9", "&#233", "&#0;", "&#1;", "&#x80;",
            "&#x81;", "&#150;", "&#13;", "&#x1c;", "&#xfffe;", "&#xfdd0;", "&#x1ffff;", "&#xd800;", "&#x110000;", "&#99999999999999999999;",
            "&#;", "&#x;", "&#xg;", "&;", "&", "&&amp;", "&amp;lt;", "&amp;amp;lt;", "&amp;amp;amp;lt;", "&#38;lt;", "&#38;#38;lt;", "&unknown;",
            "&CounterClockwiseContourIntegral;", "&ThisNameIsFarTooLongToBeAnEntity;", "&fjlig;", "&semi;", "&#59;", "&#59x;", "&bne;", "&Jscr;",
            "&LT;", "&GTDOT;", "&ampere;", "&lt", "&ltx", "&Aacute", "&AACUTE;", "&alpha;", "&ALPHA;", "&Alpha;", "&yuml", "&AMPX;", "&ETHX;"]
ODDITIES = ["", " ", "\n", "\0", "\x7f", "\ufeff", "\ufffd", "\uffff", "<start_of_text>", "<end_of_text>", "<|startoftext|>", "<|endoftext|>",
            "<START_OF_TEXT>", "a <start_of_text> b <end_of_text> c", "x<end_of_text>y", "!<end_of_text>!", "<start_of_text><end_of_text>",
            "<ſtart_of_text>", "&lt;end_of_text&gt;", "_", "__a__", "'", "''s", "'ſ", "it'ſ", "\"", "\\", "\\n", "%s", "{}", "None",
            "ß", "ẞ", "GROẞ", "İ", "I", "ı", "ΣΑΣ", "ΌΔΟΣ", "ΌΔΟΣ Σ", "Σ", "ΑΣ.", "ΑΣ̈", "ǅ", "Ǳ", "ĳ", "ŉ", "ﬃ", "ﬅ", "ﬓ", "K", "Å", "Ω", "…",
            "Ã ", "Ã©Ã ", "Ã la mode", "Ã quele", "fÃ cil", "Ã©À\nb", "&lt;\n<\n&lt;", "&lt;\n&lt;", "<&lt;", "\x1b[31mred\x1b[0m", "\x1b[1;3", "\u0660\x1b[\u0660m",
            "e\u0301", "\u0301", "a\u0323\u0302", "a\u0302\u0323", "\u1100\u1161\u11a8", "\u200d", "a\u200db", "\u202eabc", "x\u00adx",
            "\ud7ff", "\ue000", "\uf8ff", "\U000f0000", "\U0010ffff", "½ ² ₃ Ⅷ ④ 三 〇 ൰", "don't DON'T we'll we'LL y'all'd've I'm 'twas 's 'tis"]


def known(character):
    """Whether Python's Unicode tables hold the character."""
    return unicodedata.category(character) not in ("Cn", "Cs")


def drawn(draw, first, last, count):
    """Characters of a block, with a space now and then."""
    block = [character for character in map(chr, range(first, last + 1)) if known(character)]
    return "".join(" " if draw.random() < 0.15 else draw.choice(block) for _ in range(count))


def words(draw, count):
    """Lower, upper and mixed-case ASCII words with digits and punctuation between."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    def word():
        text = "".join(draw.choice(letters[: draw.randint(6, 26)]) for _ in range(draw.randint(1, 11)))
        return draw.choice([text, text, text.upper(), text.title()])
    glue = [" ", " ", " ", ", ", "-", "_", "'s ", "'ll ", ". ", "!? ", " 42 ", "/", " (", ") ", "...", "  ", "n't ", " 3.14 ", "@", "#"]
    return "".join(word() + draw.choice(glue) for _ in range(count))


def mojibake(draw):
    """A phrase whose UTF-8 was read in another code page, once or twice, whole or in part, and perhaps damaged further."""
    text = " ".join(draw.sample(PHRASES, draw.randint(1, 2)))
    for _ in range(draw.choice([1, 1, 1, 2])):
        page = draw.choice(PAGES)
        text = text.encode().decode(page, "replace")
    damage = draw.randrange(6)
    if damage == 0:
        text = text.replace("\xa0", " ")
    elif damage == 1 and text:
        at = draw.randrange(len(text))
        text = text[:at] + draw.choice(["\ufffd", "?", "\x1a"]) + text[at + 1 :]
    elif damage == 2:
        text = draw.choice(PHRASES) + " " + text
    elif damage == 3:
        text = text[: draw.randint(1, len(text))]
    elif damage == 4:
        text = draw.choice(["plain ", "„", "日本 ", "x\n"]) + text + draw.choice(["", ".", " Â", "\n"])
    return text


def suspicious():
    """Characters that code pages put at bytes 128 and above, the raw material of mojibake."""
    return sorted({character for page in PAGES for character in bytes(range(0x80, 0x100)).decode(page) if known(character)})


def texts(draw):
    """All texts with their kinds, in a fixed order."""
    for text in KNOWN:
        yield "known", text
    for text in ODDITIES + ENTITIES + EMOJI + PHRASES:
        yield "chosen", text
    for frame in FRAMES:
        for state in draw.sample(STATES, 4):
            yield "prompt", frame.format(state.format(draw.choice(OBJECTS)))
    for _ in range(150):
        yield "words", words(draw, draw.randint(1, 7))
    for name, (first, last) in SCRIPTS.items():
        for _ in range(4):
            yield name, drawn(draw, first, last, draw.randint(2, 14))
    for _ in range(50):
        yield "emoji", "".join(draw.choice(EMOJI + [" ", "a ", "ok"]) for _ in range(draw.randint(1, 5)))
    for _ in range(50):
        marks = lambda: "".join(chr(draw.randint(0x300, 0x36F)) for _ in range(draw.randint(0, 3)))
        yield "combining", "".join(draw.choice("aeiouAEIOUçñüsz ") + marks() for _ in range(draw.randint(1, 8)))
    for _ in range(40):
        yield "width", drawn(draw, 0xFF01, 0xFFEE, draw.randint(2, 12))
    for _ in range(30):
        yield "ligatures and quotes", "".join(draw.choice("ﬀﬁﬂﬃﬄﬅﬆĲĳŉǅǆǈǌǲ‘’‚‛“”„‟ʼ′″ abs") for _ in range(draw.randint(3, 14)))
    for _ in range(80):
        yield "entities", draw.choice(["", " ", "<", "a"]).join(draw.choice(ENTITIES + ["x", " "]) for _ in range(draw.randint(2, 4)))
    for _ in range(220):
        yield "mojibake", mojibake(draw)
    raw = suspicious()
    for _ in range(120):
        yield "suspicious", "".join(draw.choice([*draw.choices(raw, k=4), " ", "a"]) for _ in range(draw.randint(2, 10)))
    for _ in range(60):
        yield "controls", "".join(draw.choice([chr(draw.randint(0, 0x1F)), chr(draw.randint(0x7F, 0x9F)), "a", "Bc", "\u206a", "\ufeff", "\ufffa", "é"])
                                  for _ in range(draw.randint(2, 10)))
    for _ in range(50):
        yield "white space", "".join(draw.choice(WHITE) if draw.random() < 0.5 else draw.choice(["a", "b1", ".", "É"]) for _ in range(draw.randint(2, 12)))
    for _ in range(40):
        yield "case", "".join(draw.choice("ẞßİıIiΣςσΑάΌ.’ ̈ǅǄÅKſSTﬀÀÖ") for _ in range(draw.randint(2, 10)))
    for _ in range(40):
        yield "contractions", "".join(draw.choice(["it", "WE", "'s", "'T", "'re", "'VE", "'m", "'ll", "'D", "’s", "'ſ", "'x", "''", " ", "9"])
                                      for _ in range(draw.randint(2, 8)))
    for _ in range(50):
        yield "digits", "".join(draw.choice([chr(draw.choice(DIGITS) + draw.randrange(10)), draw.choice("²½Ⅷ④〇三٫.,- a")])
                                for _ in range(draw.randint(2, 12)))
    for _ in range(12):
        yield "long", words(draw, draw.randint(60, 300))
    for _ in range(2):
        yield "long", drawn(draw, 0x4E00, 0x9FFF, 90)
    yield "long", "abcdefghijklmnopqrstuvwxyz" * 40
    yield "long", "é" * 300
    anything = [character for character in map(chr, range(0x110000)) if known(character) and unicodedata.category(character) != "Co"]
    for _ in range(120):
        yield "anything", "".join(draw.choice(anything) for _ in range(draw.randint(1, 6)))


def ids(tokenizer, text):
    """Start, ids, end; cut to 77 with the end token last, not padded."""
    row = tokenizer([text])[0].tolist()
    return row[: len(tokenizer.encode(text)) + 2]


def main():
    tokenizer, draw = SimpleTokenizer(), random.Random(SEED)
    for text, expected in KNOWN.items():
        assert tokenizer.encode(text) == expected, text
    versions = {name: version(name) for name in ["open_clip_torch", "ftfy", "regex"]}
    header = {"script": "tools/golden_text.py", "seed": SEED, "python": sys.version.split()[0], "unicode": unicodedata.unidata_version} | versions
    lines = [json.dumps(header)]
    lines += [json.dumps({"kind": kind, "text": text, "ids": ids(tokenizer, text)}, separators=(",", ":")) for kind, text in texts(draw)]
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text("\n".join(lines) + "\n", encoding="utf-8")
    size = PATH.stat().st_size
    assert size <= LARGEST, f"{PATH} has {size} bytes"
    print(f"{PATH.relative_to(ROOT)}: {len(lines) - 1} texts, {size} bytes")


if __name__ == "__main__":
    main()
