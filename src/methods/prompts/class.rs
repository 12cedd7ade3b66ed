//! Classes of inspected objects: their names and state phrases, and the classes of public data sets.

use std::sync::LazyLock;

use serde::Deserialize;

use super::embedded;
use crate::error::{Code, Error, Result};

/// Class of the inspected object: its name in prompts, and state phrases beside the usual ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Name, such as `metal_nut` or `metal nut`.
    pub name: String,
    /// Further phrases for the normal state, each with one `{o}` in place of the name.
    pub normal: Vec<String>,
    /// Further phrases for the anomalous state, likewise.
    pub anomalous: Vec<String>,
}

impl Class {
    /// Name of the default class.
    pub const ANYTHING: &str = "object";

    /// The class of a name, without further phrases. The name of a shipped class is its folder, in upper or lower case, with underscores,
    /// spaces or hyphens; any other name is used as it is.
    ///
    /// Errors with [`Code::Prompt`]: a name that is empty, holds control characters, or has more than 10,000 characters.
    pub fn named(name: &str) -> Result<Class> {
        refuse_unusable("the class name", name)?;
        let name = name.trim();
        if name.is_empty() {
            return Err(Error::new(Code::Prompt, "the class name is empty").hint("say what is inspected, as `bottle` or `metal nut`"));
        }
        let name = ShippedClass::find(name).map_or(name, |shipped| &shipped.folder);
        Ok(Class { name: name.to_owned(), normal: Vec::new(), anomalous: Vec::new() })
    }

    /// Adds the task-specific phrases that are shipped for a class of this name, if there are any.
    ///
    /// They are not added by default, since all published results of WinCLIP but one table use the usual states alone.
    pub fn with_shipped_states(mut self) -> Class {
        if let Some(shipped) = ShippedClass::find(&self.name) {
            self.normal.extend_from_slice(&shipped.normal);
            self.anomalous.extend_from_slice(&shipped.anomalous);
        }
        self
    }

    /// The classes known by name: those of MVTec AD, VisA and MPDD.
    pub fn shipped() -> impl Iterator<Item = &'static ShippedClass> {
        SHIPPED.classes.iter()
    }

    /// The name as words: `metal nut` for `metal_nut`.
    pub(super) fn spoken(&self) -> String {
        self.name.replace('_', " ")
    }
}

/// A class of a public data set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShippedClass {
    /// Data set, as on the command line: `mvtec`, `visa` or `mpdd`.
    pub dataset: String,
    /// Folder of the class in the data set, which is also its name in published prompts.
    pub folder: String,
    /// Task-specific phrases for the normal state; see [`Class::with_shipped_states`].
    #[serde(default)]
    pub normal: Vec<String>,
    /// Task-specific phrases for the anomalous state.
    #[serde(default)]
    pub anomalous: Vec<String>,
}

/// Layout of `classes.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shipped {
    classes: Vec<ShippedClass>,
}

static SHIPPED: LazyLock<Shipped> = LazyLock::new(|| embedded(include_str!("classes.toml")));

impl ShippedClass {
    /// Finds the shipped class of a name.
    fn find(name: &str) -> Option<&'static ShippedClass> {
        let words = name.split(|c: char| c.is_whitespace() || c == '-').filter(|word| !word.is_empty());
        let folder = words.collect::<Vec<_>>().join("_").to_lowercase();
        Class::shipped().find(|class| class.folder == folder)
    }
}

/// Most characters of a name or a phrase; a text tower reads the first few hundred.
const MAX_CHARACTERS: usize = 10_000;

/// Refuses text with control characters, or too long for a prompt; `what` names it in the message.
pub(in crate::methods) fn refuse_unusable(what: &str, text: &str) -> Result<()> {
    // The length in bytes first: it needs no pass over a text of many megabytes.
    if text.len() > MAX_CHARACTERS && text.chars().nth(MAX_CHARACTERS).is_some() {
        let message = format!("{what} has more than {MAX_CHARACTERS} characters");
        return Err(Error::new(Code::Prompt, message).hint("say it in a few words: a network reads some dozens of them"));
    }
    match text.chars().find(|character| character.is_control()) {
        None => Ok(()),
        Some(character) => {
            let message = format!("{what} holds the control character U+{:04X}", u32::from(character));
            Err(Error::new(Code::Prompt, message).hint("write it on one line, with spaces between words"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_public_data_sets_have_15_12_and_6_classes() {
        let of = |dataset: &str| Class::shipped().filter(|class| class.dataset == dataset).count();
        assert_eq!([of("mvtec"), of("visa"), of("mpdd")], [15, 12, 6]);
        assert_eq!(Class::shipped().count(), 33);
        assert_eq!(Class::shipped().map(|class| &class.folder).collect::<BTreeSet<_>>().len(), 33, "a name has one class");
    }

    #[test]
    fn every_shipped_class_is_found_by_folder_and_by_its_spoken_name() {
        for shipped in Class::shipped() {
            let class = Class::named(&shipped.folder).unwrap();
            assert_eq!(class.name, shipped.folder);
            assert_eq!(Class::named(&class.spoken().to_uppercase()).unwrap(), class);
        }
        for name in ["  Metal   nut ", "metal-nut", "Metal - nut"] {
            assert_eq!(Class::named(name).unwrap().name, "metal_nut", "{name}");
        }
        assert_eq!(Class::named("o-ring").unwrap().name, "o-ring", "a free name is left as it is");
    }

    #[test]
    fn any_object_has_a_class() {
        let long = "endless ".repeat(1_000) + "cable";
        for name in ["left door handle", "Gear_07", "🔩", "齿轮", "👩‍🏭 Zahnrad", &long] {
            let class = Class::named(name).unwrap();
            assert_eq!(class, Class { name: name.to_owned(), normal: vec![], anomalous: vec![] });
            assert_eq!(class.clone().with_shipped_states(), class);
        }
    }

    #[test]
    fn task_specific_phrases_come_when_asked_for() {
        let states = |name: &str| Class::named(name).unwrap().with_shipped_states().anomalous;
        assert_eq!(states("pcb3"), ["{o} with missing part"]);
        assert_eq!(states("pipe fryum"), ["burnt {o}"]);
        assert!(states("fryum").is_empty());
        assert!(Class::named("pcb3").unwrap().anomalous.is_empty());
    }

    #[test]
    fn a_name_that_says_nothing_is_refused() {
        let refusal = |name: &str| {
            let error = Class::named(name).unwrap_err();
            assert_eq!(error.code(), Code::Prompt);
            assert!(error.is_user());
            format!("{error:#}")
        };
        let empty = "the class name is empty\n\nhint: say what is inspected, as `bottle` or `metal nut`";
        assert_eq!(refusal(""), empty);
        assert_eq!(refusal(" \u{3000} "), empty);
        let bell = "the class name holds the control character U+0007\n\nhint: write it on one line, with spaces between words";
        assert_eq!(refusal("bot\u{7}tle"), bell);
        assert!(refusal("bottle\n").contains("U+000A"));
        assert!(refusal("\u{9b}31m").contains("U+009B"));
        assert!(refusal(&"ü".repeat(10_001)).contains("more than 10000 characters"));
        assert!(Class::named(&"ü".repeat(10_000)).is_ok());
    }
}
