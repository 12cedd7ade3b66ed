//! Evaluation: a data set, maps of its test photos, exact metrics, and the tables, curves and page that show them.
//!
//! Two steps that can run apart. [`MapRun`] scores the test photos of each class with a detector and keeps records and maps in a folder;
//! [`measure`] reads such folders, or those of any other program, and computes the metrics. A run that was killed or dealt out to several
//! machines is measured as one that was not.

mod curves;
mod evaluated;
mod map_run;
mod maps;
mod measure;
mod metric;
mod page;
mod published;
mod shots;
mod tables;
mod write;

pub use evaluated::{ClassResult, Evaluated, Extreme, PhotoValue, RunResult, Spread};
pub use map_run::{ClassObserver, MapRun, Scored};
pub use maps::{ClassMaps, MadeBy, PhotoMap, maps_of};
pub use measure::{MeasureOptions, measure};
pub use metric::{Metric, Values};
pub use page::Photos;
pub use published::{PUBLISHED, Published};
pub use shots::{FewShot, Shots};
pub use tables::{csv, markdown};
pub use write::{EVALUATION, check_output, write};
