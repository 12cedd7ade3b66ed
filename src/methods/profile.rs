//! Profiles: class, state phrases, threshold and prompts of SAA+ for a product, read from a TOML file.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::prompts::{Class, OBJECT, refuse_unusable};
use super::saa::OwnPrompts;
use crate::error::{Code, Context, Error, Result, nearest};
use crate::files::read_limited;
use crate::text::Caption;

/// Class, state phrases, threshold and prompts of SAA+ for a product, as a TOML file gives them:
///
/// ```toml
/// class = "bottle"
/// normal = ["{o} without scratch"]                    # further phrases for a good one, if any
/// anomalous = ["scratched {o}", "{o} with a dent"]    # and for a bad one
/// threshold = 0.57                                    # scores from here on are anomalous, if given
///
/// [saa]                                               # for saa+; each key replaces what is usual for the class
/// defects = ["broken part. contamination.", "crack"]  # captions that are looked for, beside `defect on bottle` and the like
/// general = true                                      # whether `defect on bottle` and the like are looked for
/// object = "bottle"                                   # caption of the object itself
/// count = 1                                           # objects in a photo
/// regions = 5                                         # K: as many of the best regions make the map
/// area = 0.3                                          # θ_area: a defect is smaller than this share of the object
/// overlap = 0.0                                       # θ_IoU: and overlaps the object by more than this (reading `paper`)
/// box_threshold = 0.1                                 # a box counts from a token above this probability
/// text_threshold = 0.1                                # tokens above it are the words of a box
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Class of the inspected object, with the phrases of the file.
    pub class: Class,
    /// Scores from here on are anomalous.
    pub threshold: Option<f32>,
    /// Prompts of SAA+.
    pub saa: OwnPrompts,
}

/// Most bytes of a profile.
const MAX_BYTES: u64 = 1 << 20;

/// Most phrases of each state.
const MAX_PHRASES: usize = 1000;

impl Profile {
    /// The profile of a class alone.
    pub fn of(class: Class) -> Profile {
        Profile { class, threshold: None, saa: OwnPrompts::default() }
    }

    /// Reads the profile in a file.
    ///
    /// Errors: those of [`Profile::parse`]; [`Code::NotFound`]; [`Code::Config`] for a file that is not regular, not UTF-8, or over 1 MiB.
    pub fn read(file: &Path) -> Result<Profile> {
        let name = file.display().to_string();
        let bytes = read_limited(file, MAX_BYTES, Code::Config).map_err(|error| match error.code() {
            Code::NotFound => Error::new(Code::NotFound, format!("there is no profile `{name}`")),
            _ => error.context("as a profile"),
        })?;
        let text = String::from_utf8(bytes).map_err(|_| Error::new(Code::Config, "not UTF-8").context(format!("in `{name}`")))?;
        Profile::parse(&text, &name)
    }

    /// Reads a profile; `file` stands for it in messages.
    ///
    /// Where a file has phrases, the task-specific phrases shipped for its class are used too, before its own. Where it has none, the
    /// prompts are those of the class alone, so that a threshold found without the profile holds with it too.
    ///
    /// Errors: [`Code::Config`] for an invalid profile, [`Code::Prompt`] for text that cannot be used in a prompt; both name the line.
    pub fn parse(text: &str, file: &str) -> Result<Profile> {
        let source = Source { text, file };
        let mut class = None;
        let mut normal = Vec::new();
        let mut anomalous = Vec::new();
        let (mut threshold, mut saa) = (None, OwnPrompts::default());
        for (name, value) in source.entries()? {
            match KEYS.iter().find(|key| key.name == name.get_ref()) {
                Some(&CLASS) => class = Some(source.class(&value)?),
                Some(&NORMAL) => normal = source.phrases(&NORMAL, &value)?,
                Some(&ANOMALOUS) => anomalous = source.phrases(&ANOMALOUS, &value)?,
                Some(&THRESHOLD) => threshold = Some(source.number(&THRESHOLD, &value, f32::is_finite)?),
                Some(&SAA) => saa = source.saa(&value)?,
                _ => return Err(source.unknown_key(&name, "a profile", &KEYS)),
            }
        }
        let mut class = class.ok_or_else(|| source.no_class())?;
        if !(normal.is_empty() && anomalous.is_empty()) {
            class = class.with_shipped_states();
        }
        class.normal.append(&mut normal);
        class.anomalous.append(&mut anomalous);
        Ok(Profile { class, threshold, saa })
    }
}

/// A key of a profile.
#[derive(PartialEq, Eq)]
struct Key {
    name: &'static str,
    /// Type of the value, in words.
    wants: &'static str,
    /// An example, for hints.
    example: &'static str,
}

const CLASS: Key = Key { name: "class", wants: "a string", example: r#"class = "bottle""# };
const NORMAL: Key = Key { name: "normal", wants: "a list of strings", example: r#"normal = ["{o} without scratch"]"# };
const ANOMALOUS: Key = Key {
    name: "anomalous",
    wants: "a list of strings",
    example: r#"anomalous = ["scratched {o}", "{o} with a dent"]"#,
};
const THRESHOLD: Key = Key { name: "threshold", wants: "a finite number", example: "threshold = 0.57" };
const SAA: Key = Key { name: "saa", wants: "a table", example: "[saa]" };
const KEYS: [Key; 5] = [CLASS, NORMAL, ANOMALOUS, THRESHOLD, SAA];

const DEFECTS: Key = Key {
    name: "defects",
    wants: "a list of strings",
    example: r#"defects = ["broken part. contamination.", "crack"]"#,
};
const GENERAL: Key = Key { name: "general", wants: "`true` or `false`", example: "general = false" };
const SAA_OBJECT: Key = Key { name: "object", wants: "a string", example: r#"object = "bottle""# };
const COUNT: Key = Key { name: "count", wants: "a whole number from 1 on", example: "count = 1" };
const REGIONS: Key = Key { name: "regions", wants: "a whole number from 1 on", example: "regions = 5" };
const AREA: Key = Key { name: "area", wants: "a finite number above 0", example: "area = 0.3" };
const OVERLAP: Key = Key { name: "overlap", wants: "a number from 0 to 1", example: "overlap = 0.1" };
const BOX_THRESHOLD: Key = Key { name: "box_threshold", wants: "a number from 0 to 1", example: "box_threshold = 0.1" };
const TEXT_THRESHOLD: Key = Key { name: "text_threshold", wants: "a number from 0 to 1", example: "text_threshold = 0.1" };
const SAA_KEYS: [Key; 9] = [DEFECTS, GENERAL, SAA_OBJECT, COUNT, REGIONS, AREA, OVERLAP, BOX_THRESHOLD, TEXT_THRESHOLD];

/// The name of an entry, and its value, with where they stand.
type Name<'a> = Spanned<Cow<'a, str>>;
type Value<'a> = Spanned<DeValue<'a>>;

/// The text of a profile, and the name of its file for messages.
struct Source<'a> {
    text: &'a str,
    file: &'a str,
}

impl<'a> Source<'a> {
    /// Entries from the top, so that the first fault is the one reported.
    fn entries(&self) -> Result<Vec<(Name<'a>, Value<'a>)>> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let at = error.span().unwrap_or(self.text.len()..self.text.len());
            self.fault(format!("not TOML: {}", error.message()), at)
        })?;
        let mut entries: Vec<_> = table.into_inner().into_iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        Ok(entries)
    }

    /// The table of prompts of SAA+.
    fn saa(&self, value: &Value<'a>) -> Result<OwnPrompts> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(&SAA, kind(value), value.span()));
        };
        let mut entries: Vec<(&Name<'a>, &Value<'a>)> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let is_share = |number: f32| (0.0..=1.0).contains(&number);
        let mut own = OwnPrompts::default();
        for (name, value) in entries {
            match SAA_KEYS.iter().find(|key| key.name == name.get_ref()) {
                Some(&DEFECTS) => own.defects = Some(self.strings(&DEFECTS, value, |value| self.caption(&DEFECTS, value))?),
                Some(&GENERAL) => own.general = Some(self.switch(&GENERAL, value)?),
                Some(&SAA_OBJECT) => own.object = Some(self.caption(&SAA_OBJECT, value)?),
                Some(&COUNT) => own.count = Some(self.count(&COUNT, value)?),
                Some(&REGIONS) => own.regions = Some(self.count(&REGIONS, value)?),
                Some(&AREA) => own.area = Some(self.number(&AREA, value, |number| number.is_finite() && number > 0.0)?),
                Some(&OVERLAP) => own.overlap = Some(self.number(&OVERLAP, value, is_share)?),
                Some(&BOX_THRESHOLD) => own.box_threshold = Some(self.number(&BOX_THRESHOLD, value, is_share)?),
                Some(&TEXT_THRESHOLD) => own.text_threshold = Some(self.number(&TEXT_THRESHOLD, value, is_share)?),
                _ => return Err(self.unknown_key(name, "`[saa]`", &SAA_KEYS)),
            }
        }
        Ok(own)
    }

    /// A caption of GroundingDINO that holds something to look for.
    fn caption(&self, key: &Key, value: &Value) -> Result<String> {
        let DeValue::String(text) = value.get_ref() else {
            return Err(self.wrong(key, kind(value), value.span()));
        };
        refuse_unusable("a caption", text).context(|| self.place(value.span()))?;
        Caption::verbatim(text).context(|| self.place(value.span()))?;
        Ok(text.to_string())
    }

    fn switch(&self, key: &Key, value: &Value) -> Result<bool> {
        match value.get_ref() {
            DeValue::Boolean(is_on) => Ok(*is_on),
            _ => Err(self.wrong(key, kind(value), value.span())),
        }
    }

    fn count(&self, key: &Key, value: &Value) -> Result<usize> {
        let DeValue::Integer(integer) = value.get_ref() else {
            return Err(self.wrong(key, kind(value), value.span()));
        };
        let count = usize::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|&count| count > 0);
        count.ok_or_else(|| self.wrong(key, &format!("`{}`", &self.text[value.span()]), value.span()))
    }

    fn class(&self, value: &Value) -> Result<Class> {
        let DeValue::String(name) = value.get_ref() else {
            return Err(self.wrong(&CLASS, kind(value), value.span()));
        };
        Class::named(name).context(|| self.place(value.span()))
    }

    fn phrases(&self, key: &Key, value: &Value) -> Result<Vec<String>> {
        self.strings(key, value, |element| self.phrase(key, element))
    }

    /// A list of texts, each read by `read`.
    fn strings(&self, key: &Key, value: &Value, read: impl Fn(&Value) -> Result<String>) -> Result<Vec<String>> {
        let DeValue::Array(elements) = value.get_ref() else {
            return Err(self.wrong(key, kind(value), value.span()));
        };
        if elements.len() > MAX_PHRASES {
            let message = format!("`{}` lists {} phrases, more than {MAX_PHRASES}", key.name, elements.len());
            return Err(self.fault(message, value.span()).hint("a few say more than many, and take less time"));
        }
        elements.iter().map(read).collect()
    }

    /// A phrase with one placeholder for the class.
    fn phrase(&self, key: &Key, value: &Value) -> Result<String> {
        let DeValue::String(phrase) = value.get_ref() else {
            return Err(self.wrong(key, &format!("a list with {}", kind(value)), value.span()));
        };
        refuse_unusable("a state phrase", phrase).context(|| self.place(value.span()))?;
        let found = match phrase.matches(OBJECT).count() {
            1 => return Ok(phrase.to_string()),
            0 => format!("no `{OBJECT}`"),
            count => format!("{count} `{OBJECT}`"),
        };
        let hint = format!("write `{OBJECT}` once, in place of the class, as in `scratched {OBJECT}`");
        Err(self.fault(format!("state phrase `{phrase}` has {found}"), value.span()).hint(hint))
    }

    /// A number that is as it must be.
    fn number(&self, key: &Key, value: &Value, is_right: impl Fn(f32) -> bool) -> Result<f32> {
        let number: Option<f32> = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|whole| whole as f32),
            _ => return Err(self.wrong(key, kind(value), value.span())),
        };
        let wrong = || self.wrong(key, &format!("`{}`", &self.text[value.span()]), value.span());
        number.filter(|&number| is_right(number)).ok_or_else(wrong)
    }

    fn unknown_key(&self, name: &Name, of: &str, keys: &[Key]) -> Error {
        let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
        let hint = match nearest(name.get_ref(), names.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("the keys of {of} are `{}`", names.join("`, `")),
        };
        self.fault(format!("unknown key `{}`", name.get_ref()), name.span()).hint(hint)
    }

    fn no_class(&self) -> Error {
        let error = Error::new(Code::Config, "there is no `class`").context(format!("in `{}`", self.file));
        error.hint(format!("say what is inspected, as in `{}`", CLASS.example))
    }

    /// The error for a value of the wrong type; `found` names its type.
    fn wrong(&self, key: &Key, found: &str, at: Range<usize>) -> Error {
        let message = format!("`{}` must be {}, not {found}", key.name, key.wants);
        self.fault(message, at).hint(format!("write it as in `{}`", key.example))
    }

    fn fault(&self, message: String, at: Range<usize>) -> Error {
        Error::new(Code::Config, message).context(self.place(at))
    }

    fn place(&self, at: Range<usize>) -> String {
        let line = 1 + self.text.bytes().take(at.start).filter(|byte| *byte == b'\n').count();
        format!("in `{}`, line {line}", self.file)
    }
}

/// Type of a value with its article, for messages.
fn kind(value: &Value) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Profile {
        Profile::parse(text, "p.toml").unwrap()
    }

    /// The refusal of a text as a user reads it.
    fn refusal(code: Code, text: &str) -> String {
        let error = Profile::parse(text, "p.toml").unwrap_err();
        assert_eq!(error.code(), code, "{error:?}");
        assert!(error.is_user());
        format!("{error:#}")
    }

    #[test]
    fn a_profile_names_a_class_its_states_and_a_threshold() {
        let text = "# line 3\r\nthreshold = 0.57\r\nclass = \"Metal nut\"\r\nnormal = [\"{o} without scratch\"]\r\n\
                    anomalous = [\r\n  \"scratched {o}\", # most often\r\n  \"{o} with a dent\",\r\n]\r\n";
        let class = Class {
            name: "metal_nut".into(),
            normal: vec!["{o} without scratch".into()],
            anomalous: vec!["scratched {o}".into(), "{o} with a dent".into()],
        };
        assert_eq!(parse(text), Profile { threshold: Some(0.57), ..Profile::of(class) });
        assert_eq!(parse(&format!("\u{feff}{text}")), parse(text), "a byte-order mark is no text");
    }

    #[test]
    fn all_but_the_class_may_be_left_out() {
        assert_eq!(parse("class = '齿轮 🔩'"), Profile::of(Class::named("齿轮 🔩").unwrap()));
    }

    #[test]
    fn a_threshold_is_any_finite_number() {
        let threshold = |number: &str| parse(&format!("class = 'x'\nthreshold = {number}")).threshold;
        assert_eq!(threshold("-2"), Some(-2.0));
        assert_eq!(threshold("0x10"), Some(16.0));
        assert_eq!(threshold("1_000.5e-1"), Some(100.05));
    }

    #[test]
    fn shipped_states_come_with_a_profile_that_has_phrases() {
        assert!(parse("class = 'pcb1'\nthreshold = 0.5\nnormal = []").class.anomalous.is_empty());
        let profile = parse("class = 'pcb1'\nanomalous = ['scratched {o}']");
        assert_eq!(profile.class.anomalous, ["{o} with missing part", "scratched {o}"]);
    }

    #[test]
    fn an_unknown_key_meets_the_nearest_known_one() {
        assert_eq!(
            refusal(Code::Config, "class = 'x'\n\nanomalus = ['a {o}']"),
            "unknown key `anomalus`\n  in `p.toml`, line 3\n\nhint: did you mean `anomalous`?"
        );
        assert_eq!(
            refusal(Code::Config, "[camera]\nexposure = 3"),
            "unknown key `camera`\n  in `p.toml`, line 1\n\nhint: the keys of a profile are `class`, `normal`, `anomalous`, `threshold`, `saa`"
        );
    }

    #[test]
    fn prompts_of_saa_are_a_table_of_their_own() {
        let text = "class = 'gear'\n[saa]\ndefects = ['chipped tooth. crack.', 'rust']\ngeneral = false\nobject = 'gear'\ncount = 0x3\nregions = 7\n\
                    area = 1\noverlap = 0.25\nbox_threshold = 0.2\ntext_threshold = 0.15\n";
        let saa = OwnPrompts {
            defects: Some(vec!["chipped tooth. crack.".into(), "rust".into()]),
            general: Some(false),
            object: Some("gear".into()),
            count: Some(3),
            regions: Some(7),
            area: Some(1.0),
            overlap: Some(0.25),
            box_threshold: Some(0.2),
            text_threshold: Some(0.15),
        };
        assert_eq!(parse(text), Profile { saa, ..Profile::of(Class::named("gear").unwrap()) });
        let within = |entry: &str| refusal(Code::Config, &format!("class = 'x'\n[saa]\n{entry}"));
        assert!(within("regoins = 3").ends_with("line 3\n\nhint: did you mean `regions`?"));
        assert!(within("general = 0").starts_with("`general` must be `true` or `false`, not an integer\n"));
        assert!(within("count = 0").starts_with("`count` must be a whole number from 1 on, not `0`\n"));
        assert!(within("count = 1.5").starts_with("`count` must be a whole number from 1 on, not a float\n"));
        assert!(within("area = 0").starts_with("`area` must be a finite number above 0, not `0`\n"));
        assert!(within("overlap = 1.5").starts_with("`overlap` must be a number from 0 to 1, not `1.5`\n"));
        assert!(within("defects = 'crack'").starts_with("`defects` must be a list of strings, not a string\n"));
        assert!(refusal(Code::Config, "saa = 3").starts_with("`saa` must be a table, not an integer\n"));
        assert!(
            refusal(Code::Prompt, "class = 'x'\n[saa]\nobject = ' . '")
                .starts_with("the caption holds nothing to look for\n  in `p.toml`, line 3")
        );
    }

    #[test]
    fn of_two_faults_the_upper_is_reported() {
        assert!(refusal(Code::Config, "colour = 'red'\nanomalous = 3").starts_with("unknown key `colour`\n  in `p.toml`, line 1\n"));
    }

    #[test]
    fn a_value_of_the_wrong_type_meets_an_example() {
        assert_eq!(
            refusal(Code::Config, "class = 7"),
            "`class` must be a string, not an integer\n  in `p.toml`, line 1\n\nhint: write it as in `class = \"bottle\"`"
        );
        assert_eq!(
            refusal(Code::Config, "class = 'x'\nnormal = 'clean {o}'"),
            "`normal` must be a list of strings, not a string\n  in `p.toml`, line 2\n\n\
             hint: write it as in `normal = [\"{o} without scratch\"]`"
        );
        assert_eq!(
            refusal(Code::Config, "class = 'x'\nanomalous = [\n  'a {o}',\n  true,\n]"),
            "`anomalous` must be a list of strings, not a list with a boolean\n  in `p.toml`, line 4\n\n\
             hint: write it as in `anomalous = [\"scratched {o}\", \"{o} with a dent\"]`"
        );
        assert_eq!(
            refusal(Code::Config, "threshold = '0.5'"),
            "`threshold` must be a finite number, not a string\n  in `p.toml`, line 1\n\nhint: write it as in `threshold = 0.57`"
        );
        for (value, kind) in [("1.5", "a float"), ("2020-01-01", "a date"), ("[1]", "a list"), ("{ a = 1 }", "a table")] {
            let start = format!("`class` must be a string, not {kind}\n");
            assert!(refusal(Code::Config, &format!("class = {value}")).starts_with(&start));
        }
    }

    #[test]
    fn a_threshold_that_is_not_finite_is_refused() {
        for number in ["inf", "-nan", "1e39", "99999999999999999999"] {
            assert_eq!(
                refusal(Code::Config, &format!("class = 'x'\nthreshold = {number}")),
                format!(
                    "`threshold` must be a finite number, not `{number}`\n  in `p.toml`, line 2\n\nhint: write it as in `threshold = 0.57`"
                )
            );
        }
    }

    #[test]
    fn a_phrase_has_one_place_for_the_class() {
        assert_eq!(
            refusal(Code::Config, "class = 'x'\nanomalous = ['bent {o}',\n'scratched']"),
            "state phrase `scratched` has no `{o}`\n  in `p.toml`, line 3\n\n\
             hint: write `{o}` once, in place of the class, as in `scratched {o}`"
        );
        assert_eq!(
            refusal(Code::Config, "normal = ['{o} on {o}']"),
            "state phrase `{o} on {o}` has 2 `{o}`\n  in `p.toml`, line 1\n\n\
             hint: write `{o}` once, in place of the class, as in `scratched {o}`"
        );
    }

    #[test]
    fn a_profile_without_a_class_is_refused() {
        for text in ["", "threshold = 0.5"] {
            assert_eq!(
                refusal(Code::Config, text),
                "there is no `class`\n  in `p.toml`\n\nhint: say what is inspected, as in `class = \"bottle\"`"
            );
        }
    }

    #[test]
    fn text_that_cannot_stand_in_a_prompt_is_refused_where_it_stands() {
        assert_eq!(
            refusal(Code::Prompt, "\nclass = ' '"),
            "the class name is empty\n  in `p.toml`, line 2\n\nhint: say what is inspected, as `bottle` or `metal nut`"
        );
        assert_eq!(
            refusal(Code::Prompt, "class = 'x'\nnormal = ['''\nclean\n{o}''']"),
            "a state phrase holds the control character U+000A\n  in `p.toml`, line 2\n\n\
             hint: write it on one line, with spaces between words"
        );
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line() {
        for (text, why) in [
            ("\nclass = \"bottle", "invalid basic string, expected `\"`"),
            ("class = 'x'\nnormal = [", "unclosed array, expected `]`"),
            ("class = 'x'\nclass = 'y'", "duplicate key"),
            ("threshold = 0.5\nclass: bottle", "key with no value, expected `=`"),
        ] {
            assert_eq!(refusal(Code::Config, text), format!("not TOML: {why}\n  in `p.toml`, line 2"));
        }
        let deep = format!("class = {}", "[".repeat(100_000));
        assert!(refusal(Code::Config, &deep).starts_with("not TOML: "), "and does not exhaust the stack");
    }

    #[test]
    fn too_many_or_too_long_phrases_are_refused() {
        let long = refusal(Code::Prompt, &format!("class = \"a\"\nnormal = [\"{{o}} {}\"]", "x".repeat(20_000)));
        assert!(long.starts_with("a state phrase has more than 10000 characters\n  in `p.toml`, line 2"), "{long}");
        let many = refusal(Code::Config, &format!("class = \"a\"\nanomalous = [{}]", "\"{o}\",".repeat(1001)));
        assert!(many.starts_with("`anomalous` lists 1001 phrases, more than 1000"), "{many}");
    }

    #[test]
    fn what_is_no_small_file_is_no_profile() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.toml");
        assert_eq!(Profile::read(&file).unwrap_err().code(), Code::NotFound);
        assert_eq!(Profile::read(folder.path()).unwrap_err().code(), Code::Config);
        std::fs::write(&file, "class = \"bottle\"\n").unwrap();
        assert_eq!(Profile::read(&file).unwrap().class.name, "bottle");
        std::fs::write(&file, vec![b' '; (MAX_BYTES + 1) as usize]).unwrap();
        assert_eq!(Profile::read(&file).unwrap_err().code(), Code::Config);
        std::fs::write(&file, [0xff]).unwrap();
        assert_eq!(Profile::read(&file).unwrap_err().message(), "not UTF-8");
    }
}
