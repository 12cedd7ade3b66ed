//! The output folder of a run: who may write to it, the records, pictures and report it holds, and how they are read again.

mod boxes;
mod calibration;
mod candidates;
pub mod html;
mod journal;
mod masks;
mod output;
mod owned;
mod pictures;
mod prompt;
mod record;
pub mod report;
mod run_file;
mod scored;
mod source;
mod tally;

pub use crate::inputs::{RESULTS, RUN};
pub use boxes::{BoxFiles, BoxParameters, BoxRecord, BoxRun, BoxesRecord, COCO, write_coco};
pub use calibration::{Calibration, CalibrationSummary, Conditions, Distribution, GoodPhoto, Made, Rule};
pub use candidates::CandidatesRecord;
pub use masks::{MaskFile, MaskFiles, MaskInvocation, MaskParameters, MaskRecord, MaskRun, MasksRecord, WrittenMasks};
pub use output::{Existing, InWork, Named, Output, REPORT, thumbs};
pub use owned::{own_files, regular_file};
pub use pictures::{OPACITY, Picture, Pictures, thumbnail};
pub use prompt::{NamedHash, PromptParameters};
pub use record::{Decision, Earlier, FailedRecord, Head, Milliseconds, milliseconds};
pub use run_file::{Counts, InferRun, Invocation, Latency, NotInspected, Parameters, RegionParameters, RunFile};
pub use scored::{DecisionRule, ScoredRecord, Threshold};
pub use source::SourceFile;
pub use tally::{InPart, Tally};

/// A value as JSON; ours have string keys and finite or null numbers, which never fails.
pub fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| panic!("our own records serialise: {error}"))
}
