//! A folder of results: the files it holds, who may write to it, and what their lines say.

mod output;
mod record;
mod run_file;

pub use output::{Existing, Named, Output, REPORT, RESULTS, RUN, thumbs};
pub use record::{Decision, Earlier, FailedRecord, Head, Milliseconds, milliseconds};
pub use run_file::{Counts, Latency, RunFile};
