//! Exact metrics of anomaly detection: of image scores, and of pixel maps against masks, in memory that does not grow with the number of images.
//!
//! Rules, the same everywhere. A threshold t takes scores ≥ t for anomalous; equal scores share one threshold; −0 is 0; NaN is an error. Without
//! something anomalous and something normal, metrics have no value, but a reason. Pixels are those of all images, normal ones included. Values are
//! fractions, and come with the largest error they can have ([`Measured`]).
//!
//! [`image_metrics`] ranks images. [`pixel_metrics`] ranks pixels, loading each map a few times, and adds the overlap with regions (AUPRO) and with
//! images (AUPIMO). [`PixelCounts`] is the accumulator below it, for a single pass, or for counts from several places that are merged.
//!
//! ```
//! use zsas::metrics::image_metrics;
//!
//! let found = image_metrics(&[(0.9, true), (0.4, false), (0.3, true), (0.1, false)])?;
//! assert_eq!(found.auroc.value, Some(0.75));
//! # Ok::<(), zsas::Error>(())
//! ```

mod approximations;
mod counts;
mod curve;
mod decision;
mod exact;
mod group;
mod key;
mod measured;
mod overlap;
mod passes;
mod pimo;
mod pixel_metrics;
mod pixels;
mod ranking;
mod region_f1;
mod steps;
mod tallies;

pub use approximations::Approximations;
pub use counts::{PixelCounts, Totals};
pub use decision::{Confusion, f1_at, iou_at, tnr_at_fnr, tpr_at_fpr};
pub use measured::Measured;
pub use overlap::Overlap;
pub use pimo::Aupimo;
pub use pixel_metrics::{PixelMetrics, PixelOptions, pixel_metrics};
pub use pixels::Scored;
pub use ranking::{Ranking, image_metrics};
