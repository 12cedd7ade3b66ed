//! What does not fit together in a data set: collected, then refused in one error or counted in notes.

use std::collections::BTreeMap;
use std::path::Path;

use crate::datasets::Layout;
use crate::error::{Code, Error, Remedy, Result};
use crate::inputs::LeftOut;
use crate::uninspected::Reason;

/// Most lines of an error.
const MAX_SHOWN: usize = 20;

/// Most places that a note names.
const MAX_NAMED: usize = 3;

/// A kind of mismatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    NoTestPhoto,
    NoTraining,
    Entry,
    MissingImage,
    UnreadableImage,
    UnreadableFolder,
    Stray,
    SameStem,
    Twice,
    MissingMask,
    NoLabel,
    MaskWithoutImage,
    SeveralMasks,
    UnreadableMask,
    MaskSize,
    NotBinary,
    Transparent,
    EmptyMask,
    MarkedNormal,
}

impl Kind {
    /// Its name for one and for several, and what a lenient opening makes of them.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        const IMAGE_ALONE: &str = "counted for metrics of images alone";
        const LEFT_OUT: &str = "left out";
        match self {
            Kind::NoTestPhoto => ("class without a test photo", "classes without a test photo", LEFT_OUT),
            Kind::NoTraining => {
                ("class without a good training photo", "classes without a good training photo", "of no use for references")
            }
            Kind::Entry => ("entry that cannot be used", "entries that cannot be used", LEFT_OUT),
            Kind::MissingImage => ("photo that does not exist", "photos that do not exist", LEFT_OUT),
            Kind::UnreadableImage => ("unreadable photo", "unreadable photos", LEFT_OUT),
            Kind::UnreadableFolder => ("unreadable folder", "unreadable folders", LEFT_OUT),
            Kind::Stray => (
                "photo outside of the folders of good and defective ones",
                "photos outside of the folders of good and defective ones",
                LEFT_OUT,
            ),
            Kind::SameStem => {
                ("photo that differs from another in its ending alone", "photos that differ from others in their ending alone", LEFT_OUT)
            }
            Kind::Twice => {
                ("photo that is listed twice", "photos that are listed twice", "counted where they are listed first, test before training")
            }
            Kind::MissingMask => ("anomalous photo without a mask", "anomalous photos without a mask", IMAGE_ALONE),
            Kind::NoLabel => ("photo without the mask that labels it", "photos without the mask that labels them", LEFT_OUT),
            Kind::MaskWithoutImage => ("mask without a photo", "masks without a photo", "not used"),
            Kind::SeveralMasks => ("photo whose name fits several masks", "photos whose names fit several masks", IMAGE_ALONE),
            Kind::UnreadableMask => (
                "unreadable mask",
                "unreadable masks",
                "their photos counted for metrics of images alone, or left out where the mask is the label",
            ),
            Kind::MaskSize => ("mask of another size than its photo", "masks of another size than their photos", IMAGE_ALONE),
            Kind::NotBinary => ("mask that is not binary", "masks that are not binary", "every pixel that is not 0 counted as a defect"),
            Kind::Transparent => ("mask with marks that are transparent", "masks with marks that are transparent", IMAGE_ALONE),
            Kind::EmptyMask => ("anomalous photo whose mask is empty", "anomalous photos whose masks are empty", IMAGE_ALONE),
            Kind::MarkedNormal => ("normal photo whose mask marks a defect", "normal photos whose masks mark a defect", IMAGE_ALONE),
        }
    }

    fn counted(self, count: usize) -> String {
        let (one, several, _) = self.words();
        counted(count, one, several)
    }
}

/// A number with the words for one and for several.
pub(super) fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// A mismatch: where it is, and its line in an error.
struct Fault {
    place: String,
    line: String,
}

/// All mismatches by kind, and notes.
#[derive(Default)]
pub(super) struct Report {
    faults: BTreeMap<Kind, Vec<Fault>>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a mismatch; `what` continues its place in a line: "`place` what".
    pub fn fault(&mut self, kind: Kind, place: &str, what: &str) {
        let fault = Fault { place: place.to_owned(), line: format!("`{place}` {what}") };
        self.faults.entry(kind).or_default().push(fault);
    }

    /// Adds what a user has to know though nothing is wrong.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Adds what a search left out of a place.
    pub fn left_out(&mut self, place: &str, left_out: &LeftOut) {
        if left_out.of(Reason::UnreadableFolder) > 0 {
            self.fault(Kind::UnreadableFolder, place, &format!("holds {} that cannot be read", left_out.of(Reason::UnreadableFolder)));
        }
        if !left_out.is_empty() {
            self.note(format!("left out of `{place}`: {left_out}"));
        }
    }

    /// The notes, with all mismatches counted; an error that lists them unless they are to be accepted.
    pub fn finish(self, layout: Layout, root: &Path, is_lenient: bool) -> Result<Vec<String>> {
        let Report { faults, mut notes } = self;
        if is_lenient {
            notes.extend(faults.iter().map(|(&kind, faults)| counted_note(kind, faults)));
            return Ok(notes);
        }
        let total: usize = faults.values().map(Vec::len).sum();
        if total == 0 {
            return Ok(notes);
        }
        let mismatches = counted(total, "mismatch", "mismatches");
        let message = format!("`{}` is not as the layout `{}` says: {mismatches}", root.display(), layout.as_str());
        let error = lines(&faults).into_iter().fold(Error::new(Code::Dataset, message), Error::context);
        Err(error.hint(Remedy::AcceptMismatches))
    }
}

/// The first lines of each kind, then the number of the others by kind.
fn lines(faults: &BTreeMap<Kind, Vec<Fault>>) -> Vec<String> {
    let mut shown: BTreeMap<Kind, usize> = BTreeMap::new();
    let total: usize = faults.values().map(Vec::len).sum();
    // Dealt out in turn, so that no kind is hidden behind another.
    while shown.values().sum::<usize>() < MAX_SHOWN.min(total) {
        for (&kind, faults) in faults {
            let is_full = shown.values().sum::<usize>() == MAX_SHOWN;
            let count = shown.entry(kind).or_default();
            *count += usize::from(!is_full && *count < faults.len());
        }
    }
    let mut lines: Vec<String> = faults
        .iter()
        .flat_map(|(kind, faults)| &faults[..shown[kind]])
        .map(|fault| fault.line.clone())
        .collect();
    let rest: Vec<String> = faults
        .iter()
        .filter(|(kind, faults)| faults.len() > shown[kind])
        .map(|(kind, faults)| kind.counted(faults.len() - shown[kind]))
        .collect();
    if !rest.is_empty() {
        lines.push(format!("and {}", rest.join(", ")));
    }
    lines
}

/// `2 unreadable masks, left out: `a`, `b``
fn counted_note(kind: Kind, faults: &[Fault]) -> String {
    let named: Vec<String> = faults.iter().take(MAX_NAMED).map(|fault| format!("`{}`", fault.place)).collect();
    let more = if faults.len() > MAX_NAMED { ", …" } else { "" };
    format!("{}, {}: {}{more}", kind.counted(faults.len()), kind.words().2, named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(counts: &[(Kind, usize)]) -> Report {
        let mut report = Report::default();
        for &(kind, count) in counts {
            (0..count).for_each(|at| report.fault(kind, &format!("{kind:?}{at}"), "is wrong"));
        }
        report
    }

    fn text(counts: &[(Kind, usize)]) -> String {
        format!("{:#}", report(counts).finish(Layout::Mvtec, Path::new("root"), false).unwrap_err())
    }

    #[test]
    fn twenty_lines_are_shown_of_all_kinds_and_the_rest_counted() {
        let shown = text(&[(Kind::MissingMask, 500), (Kind::MaskSize, 2), (Kind::NoTraining, 1)]);
        assert!(
            shown.starts_with("`root` is not as the layout `mvtec` says: 503 mismatches\n  `NoTraining0` is wrong\n  `MissingMask0`"),
            "{shown}"
        );
        assert_eq!(shown.matches("is wrong").count(), MAX_SHOWN);
        // 20 − 1 − 2 = 17 of the 500
        assert!(shown.contains("`MissingMask16`") && !shown.contains("`MissingMask17`"), "{shown}");
        assert!(shown.contains("`MaskSize1` is wrong\n  and 483 anomalous photos without a mask\n\nhint: "), "{shown}");
        assert!(text(&[(Kind::MissingMask, 20)]).contains("`MissingMask19` is wrong\n\nhint"));
        assert!(text(&[(Kind::MissingMask, 21)]).contains("and 1 anomalous photo without a mask\n"));
    }

    #[test]
    fn accepted_mismatches_are_counted_with_what_became_of_them() {
        let notes = report(&[(Kind::MaskSize, 4), (Kind::Stray, 1)])
            .finish(Layout::Mvtec, Path::new("root"), true)
            .unwrap();
        assert_eq!(
            notes,
            [
                "1 photo outside of the folders of good and defective ones, left out: `Stray0`",
                "4 masks of another size than their photos, counted for metrics of images alone: `MaskSize0`, `MaskSize1`, `MaskSize2`, …"
            ]
        );
        assert!(Report::default().finish(Layout::Mvtec, Path::new("root"), false).unwrap().is_empty());
    }
}
