//! Token ids as open_clip gives them, recorded by `tools/golden_text.py`, and as GroundingDINO reads them, by `tools/golden_bert.py`.

use zsas::text::{BertTokenizer, Caption, ClipTokenizer, MAX_CAPTION_TOKENS, SubSentences, Tokens};

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

/// One recorded caption: ids of transformers' tokenizer in plain Python, the rest of the original GroundingDINO.
#[derive(Clone, serde::Deserialize)]
struct GoldenCaption {
    kind: String,
    text: String,
    ids: Vec<u32>,
    positions: Vec<u32>,
    /// Tokens that attend to each other: the first and the one after the last.
    blocks: Vec<[u32; 2]>,
    /// Tokens above a threshold.
    likely: Option<Vec<usize>>,
    /// The words for these.
    phrase: Option<String>,
}

impl GoldenCaption {
    fn tokens(&self) -> SubSentences {
        let mut ranges: Vec<[u32; 2]> = (0..self.ids.len() as u32).map(|at| [at, at + 1]).collect();
        for block in &self.blocks {
            ranges[block[0] as usize..block[1] as usize].fill(*block);
        }
        SubSentences { ids: self.ids.clone(), positions: self.positions.clone(), ranges }
    }
}

fn captions() -> Vec<GoldenCaption> {
    let lines = include_str!("golden/text/bert.jsonl").lines().skip(1); // versions
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Captions that differ, a line each.
fn differing(captions: &[GoldenCaption]) -> Vec<String> {
    let line = |golden: &GoldenCaption| {
        let (found, text) = (SubSentences::of(&BertTokenizer::get().encode(&golden.text)), &golden.text);
        (found != golden.tokens()).then(|| format!("{} {text:?}\n  original {:?}\n  here     {found:?}", golden.kind, golden.tokens()))
    };
    captions.iter().filter_map(line).collect()
}

#[test]
fn every_recorded_caption_gets_the_tokens_positions_and_mask_of_the_original() {
    let captions = captions();
    assert!(captions.len() > 1100, "only {} captions", captions.len());
    let found = differing(&captions);
    assert!(found.is_empty(), "{} of {} differ, the first:\n{}", found.len(), captions.len(), found[..found.len().min(10)].join("\n"));
}

#[test]
fn a_changed_id_position_or_block_of_a_caption_would_be_noticed() {
    let mut captions = captions();
    captions[2].ids[3] += 1;
    captions[3].positions[2] += 1;
    captions[4].blocks[0][1] -= 1;
    assert_eq!(differing(&captions).len(), 3);
}

/// What a user's caption is made of is the text that the network was trained to read.
#[test]
fn a_caption_of_prompts_is_read_verbatim() {
    for golden in captions().iter().filter(|caption| caption.kind == "saa") {
        let caption = Caption::verbatim(&golden.text).unwrap();
        assert_eq!((caption.text(), caption.tokens()), (golden.text.as_str(), &golden.tokens()));
    }
}

#[test]
fn any_caption_is_read_phrase_by_phrase_as_it_is_read_at_once() {
    let mut read = 0;
    for golden in captions().iter().flat_map(|golden| [golden.text.clone(), golden.text.to_uppercase()]) {
        let list = golden.split(['.', ';']).collect::<Vec<_>>();
        for caption in [Caption::verbatim(&golden), Caption::of_phrases(&list)].into_iter().flatten() {
            assert_eq!(caption.tokens(), &SubSentences::of(&BertTokenizer::get().encode(caption.text())), "{golden:?}");
            let named: Vec<usize> = (0..caption.tokens().ids.len()).filter_map(|at| caption.phrase_of_token(at)).collect();
            assert!(named.is_sorted() && (0..caption.phrases().len()).all(|phrase| named.contains(&phrase)), "{golden:?}");
            read += 1;
        }
    }
    assert!(read > 4000, "only {read}");
}

/// A caption whose words the original made, and the words here; `None` for others.
fn words(golden: &GoldenCaption) -> Option<(&String, String)> {
    let caption = Caption::verbatim(&golden.text).ok().filter(|caption| caption.tokens().ids == golden.ids)?;
    let likely = golden.likely.as_ref()?;
    let probabilities: Vec<f32> = (0..golden.ids.len()).map(|at| if likely.contains(&at) { 0.11 } else { 0.1 }).collect();
    Some((golden.phrase.as_ref()?, caption.released_phrase(&probabilities, 0.1)))
}

#[test]
fn likely_tokens_are_the_words_of_the_original() {
    let captions = captions();
    let found: Vec<_> = captions.iter().filter_map(words).collect();
    assert!(found.len() > 170, "only {}", found.len());
    found.iter().for_each(|(original, here)| assert_eq!(*original, here));
    // Captions without a full stop at their end are those of the tokenizer alone.
    for GoldenCaption { ids, likely, phrase, .. } in &captions {
        if let (Some(likely), Some(phrase)) = (likely, phrase) {
            assert_eq!(&BertTokenizer::get().decode(likely.iter().map(|at| ids[*at])), phrase);
        }
    }
    let mut changed = captions[2].clone();
    changed.likely = Some((0..changed.ids.len()).filter(|at| !changed.likely.as_ref().unwrap().contains(at)).collect());
    let (original, here) = words(&changed).unwrap();
    assert_ne!(*original, here);
}

#[test]
fn no_mark_of_a_piece_reaches_a_user() {
    for golden in captions().iter().filter(|golden| !golden.text.contains('#')) {
        let (Ok(caption), Some(likely)) = (Caption::verbatim(&golden.text), &golden.likely) else { continue };
        let probabilities: Vec<f32> = (0..golden.ids.len()).map(|at| f32::from(u8::from(likely.contains(&at)))).collect();
        let label = caption.label(&probabilities, 0.5);
        assert!(!label.tokens.contains("##") && !label.tokens.contains("[CLS]") && !label.tokens.contains("[SEP]"), "{label:?}");
    }
}

#[test]
fn a_caption_of_a_megabyte_is_cut() {
    for unit in ["a", "word ", "é", "🙂", "e\u{301}", "\u{301}", "日", "#", "?", "a?", "a.", ".", "x,y\n", "\u{fffd}", "a \u{1} . "] {
        let text = unit.repeat(1_000_000 / unit.len());
        for caption in [Caption::verbatim(&text), Caption::of_phrases(&[&text])].into_iter().flatten() {
            let count = caption.tokens().ids.len();
            assert!(count <= MAX_CAPTION_TOKENS && count == caption.tokens().ranges.len(), "{unit:?}: {count} tokens");
        }
    }
}
