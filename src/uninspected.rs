//! What was not inspected, by reason: files left out of a folder, further pages, parts of an image outside a crop.

use serde::{Deserialize, Serialize};

/// Reason why something was not inspected, as records and `run.json` spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A symbolic link in a searched folder.
    Link,
    /// A pipe, socket or device in a searched folder.
    Special,
    /// A file in a searched folder with the ending of an image format that is not supported.
    Format,
    /// An image in a searched folder whose file name has no ending.
    NoEnding,
    /// An image whose name, or that of a folder between it and the searched one, begins with a dot; or such a folder that cannot be read.
    Hidden,
    /// A thumbnail that a file manager or storage box made, or a folder of them that cannot be read.
    Thumbnail,
    /// A folder that could not be read.
    UnreadableFolder,
    /// An output folder of an earlier run.
    ResultsFolder,
    /// A further page or frame of an image file.
    Page,
    /// Pixels outside the part of the image that the method inspects.
    OutsideCrop,
}

impl Reason {
    /// The name as records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Link => "link",
            Reason::Special => "special",
            Reason::Format => "format",
            Reason::NoEnding => "no_ending",
            Reason::Hidden => "hidden",
            Reason::Thumbnail => "thumbnail",
            Reason::UnreadableFolder => "unreadable_folder",
            Reason::ResultsFolder => "results_folder",
            Reason::Page => "page",
            Reason::OutsideCrop => "outside_crop",
        }
    }
}

/// A part of an image that was not inspected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uninspected {
    /// Why.
    pub reason: Reason,
    /// Pages, or 1.
    pub count: usize,
    /// Share of the image's pixels, 0 to 1, where that is known.
    pub share: Option<f64>,
}

impl Uninspected {
    /// Further pages of a file.
    pub fn pages(count: usize) -> Uninspected {
        Uninspected { reason: Reason::Page, count, share: None }
    }

    /// This share of the pixels, outside the part that the method inspects.
    pub fn outside_crop(share: f64) -> Uninspected {
        Uninspected { reason: Reason::OutsideCrop, count: 1, share: Some(share) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_spelt_the_same_in_json_and_in_text() {
        for reason in [Reason::Link, Reason::NoEnding, Reason::UnreadableFolder, Reason::ResultsFolder, Reason::Page, Reason::OutsideCrop] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
