//! Prompt parameters: class, phrases, views and reference images of a run, for `run.json` and the report.

use serde::Serialize;

use crate::methods::{Recipe, Reference, References, SaaSettings};

/// Class, phrases, views and references of a run.
#[derive(Clone, Debug, Serialize)]
pub struct PromptParameters {
    /// Class of the inspected object; `None` for a method that takes no text.
    pub class: Option<String>,
    /// Further phrases for the normal state.
    pub normal: Vec<String>,
    /// Further phrases for the anomalous state.
    pub anomalous: Vec<String>,
    /// Prompts, choices and parts left out of SAA+ or SAA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saa: Option<SaaSettings>,
    /// Reference images.
    pub references: Vec<NamedHash>,
    /// Memory file that was read instead of reference images.
    pub memory: Option<NamedHash>,
}

/// A path, and the hash of what was read from it: of the pixels of an image, of the bytes of a memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedHash {
    /// The path as given.
    pub path: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

impl PromptParameters {
    /// The prompt parameters of a recipe; `None` for a method that takes neither text nor references.
    pub fn of(recipe: &Recipe, memory: Option<NamedHash>) -> Option<PromptParameters> {
        let hash = |reference: &Reference| NamedHash { path: reference.name.clone(), sha256: reference.sha256.clone() };
        let inputs = recipe.method.inputs;
        (inputs.text || inputs.references == References::Required).then(|| PromptParameters {
            class: inputs.text.then(|| recipe.class.name.clone()),
            normal: recipe.class.normal.clone(),
            anomalous: recipe.class.anomalous.clone(),
            saa: recipe.saa.clone(),
            references: recipe.references.iter().map(hash).collect(),
            memory,
        })
    }

    /// The parameters in one line, for the report.
    pub fn summary(&self) -> String {
        let references = match (&self.memory, self.references.len()) {
            (Some(memory), _) => Some(format!("compared with the memory `{}`", memory.path)),
            (None, 0) => None,
            (None, count) => Some(format!("compared with {count} reference image{}", if count == 1 { "" } else { "s" })),
        };
        let count = self.normal.len() + self.anomalous.len();
        let without = self.saa.iter().flat_map(|saa| &saa.without).map(|part| part.as_str()).collect::<Vec<&str>>();
        let class = self.class.as_ref().map(|class| format!("class {class}"));
        let phrases = (count > 0).then(|| format!("{count} phrases of its own"));
        let without = (!without.is_empty()).then(|| format!("without {}", without.join(", ")));
        [class, phrases, without, references].into_iter().flatten().collect::<Vec<String>>().join(", ")
    }
}
