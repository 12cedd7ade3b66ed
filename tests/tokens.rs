//! Token ids as open_clip gives them, recorded by `tools/golden_text.py`, and as GroundingDINO reads them, by `tools/golden_bert.py`.

use zsas::text::{BertTokenizer, Caption, ClipTokenizer, SubSentences, Tokens};

/// Number of ids that published CLIP networks read.
const CONTEXT: usize = 77;

/// One recorded text.
#[derive(serde::Deserialize)]
struct Golden {
    kind: String,
    text: String,
    ids: Vec<u32>,
}

fn goldens() -> Vec<Golden> {
    let lines = include_str!("golden/text/clip.jsonl").lines().skip(1); // versions
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What differs, a line each.
fn differences(tokenizer: &ClipTokenizer, goldens: &[Golden]) -> Vec<String> {
    let differs = |golden: &&Golden| tokenizer.encode(&golden.text, CONTEXT).ids != golden.ids;
    let line = |Golden { kind, text, ids }: &Golden| {
        format!("{kind} {text:?}\n  open_clip {ids:?}\n  here      {:?}", tokenizer.encode(text, CONTEXT).ids)
    };
    goldens.iter().filter(differs).map(line).collect()
}

#[test]
fn every_recorded_text_gets_the_ids_of_open_clip() {
    let goldens = goldens();
    assert!(goldens.len() > 1500, "only {} texts", goldens.len());
    let found = differences(&ClipTokenizer::new(), &goldens);
    assert!(found.is_empty(), "{} of {} texts differ, the first:\n{}", found.len(), goldens.len(), found[..found.len().min(10)].join("\n"));
}

#[test]
fn a_changed_id_would_be_noticed() {
    let mut goldens = goldens();
    goldens[3].ids[2] += 1;
    let found = differences(&ClipTokenizer::new(), &goldens);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains(&format!("{:?}", goldens[3].text)), "{}", found[0]);
}

#[test]
fn recorded_texts_of_full_length_are_cut_ones() {
    let tokenizer = ClipTokenizer::new();
    let cut = |golden: &&Golden| tokenizer.encode(&golden.text, CONTEXT).is_truncated;
    let (cut, whole): (Vec<_>, Vec<_>) = goldens().into_iter().partition(|golden| cut(&golden));
    assert!(cut.len() >= 16 && cut.iter().all(|golden| golden.ids.len() == CONTEXT));
    for golden in &whole {
        let without_end = tokenizer.encode(&golden.text, golden.ids.len() - 1);
        assert!(without_end.is_truncated && golden.ids.len() <= CONTEXT, "{:?}", golden.text);
    }
}

#[test]
fn a_text_of_a_megabyte_is_cut() {
    let tokenizer = ClipTokenizer::new();
    let repeated = ["a", "word ", "é", "Ã©", "ÃƒÂ©\n", "🙂", "&amp;", "e\u{301}", "。", "\u{fffd}", "Â a", "\u{1b}[", "\u{301}", "<", "&#"];
    let begun = [("»", "Ã©"), ("日", "Ã© "), ("&", "amp;"), ("", "日Ã©"), ("", "âââ€")];
    for (begin, unit) in repeated.map(|unit| ("", unit)).into_iter().chain(begun) {
        let text = begin.to_owned() + &unit.repeat(1_000_000 / unit.len());
        let Tokens { ids, is_truncated } = tokenizer.encode(&text, CONTEXT);
        assert!(is_truncated && ids.len() == CONTEXT, "{begin:?} {unit:?}: {} tokens", ids.len());
        assert_eq!((ids[0], ids[CONTEXT - 1]), (49406, 49407), "{begin:?} {unit:?}");
    }
}

/// One recorded caption: ids of transformers' tokenizer in plain Python, positions of the original GroundingDINO.
#[derive(serde::Deserialize)]
struct GoldenCaption {
    kind: String,
    text: String,
    ids: Vec<u32>,
    positions: Vec<u32>,
}

fn captions() -> Vec<GoldenCaption> {
    let lines = include_str!("golden/text/bert.jsonl").lines().skip(1); // versions
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Captions that differ, a line each.
fn differing(captions: &[GoldenCaption]) -> Vec<String> {
    let line = |GoldenCaption { kind, text, ids, positions }: &GoldenCaption| {
        let found = SubSentences::of(&BertTokenizer::get().encode(text));
        (found.ids != *ids || found.positions != *positions)
            .then(|| format!("{kind} {text:?}\n  original {ids:?} {positions:?}\n  here     {:?} {:?}", found.ids, found.positions))
    };
    captions.iter().filter_map(line).collect()
}

#[test]
fn every_recorded_caption_gets_the_ids_and_positions_of_the_original() {
    let captions = captions();
    assert!(captions.len() > 1100, "only {} captions", captions.len());
    let found = differing(&captions);
    assert!(found.is_empty(), "{} of {} differ, the first:\n{}", found.len(), captions.len(), found[..found.len().min(10)].join("\n"));
}

#[test]
fn a_changed_id_or_position_of_a_caption_would_be_noticed() {
    let mut captions = captions();
    captions[2].ids[3] += 1;
    captions[3].positions[2] += 1;
    assert_eq!(differing(&captions).len(), 2);
}

/// What a user's caption is made of is the text that the network was trained to read.
#[test]
fn a_caption_of_prompts_is_read_verbatim() {
    for GoldenCaption { text, ids, positions, .. } in captions().iter().filter(|caption| caption.kind == "saa" && caption.ids.len() <= 256)
    {
        let caption = Caption::verbatim(text).unwrap();
        assert_eq!((&caption.tokens().ids, &caption.tokens().positions), (ids, positions), "{text:?}");
    }
}
