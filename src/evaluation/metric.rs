//! The metrics of an evaluation: their names, and their values for a class, a mean of classes, and several seeds.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::metrics::Measured;

/// A metric, in the order of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Area under the ROC curve of image scores.
    ImageAuroc,
    /// Average precision of image scores, by steps.
    ImageAp,
    /// Largest F1 of image scores over all thresholds.
    ImageF1Max,
    /// Area under the ROC curve of pixels.
    PixelAuroc,
    /// Average precision of pixels, by steps.
    PixelAp,
    /// Largest F1 of pixels over all thresholds.
    PixelF1Max,
    /// Area under the per-region overlap curve up to a false positive rate of 0.3.
    Aupro,
    /// The same up to 0.05.
    Aupro005,
    /// Area under the per-image overlap curve between false positive rates of 1e-5 and 1e-4, mean over anomalous images.
    Aupimo,
    /// Share of normal images below the threshold that 95 % of the anomalous ones reach.
    ImageTnrAtFnr05,
    /// Area under the precision-recall curve of image scores by trapezoids, as some papers print.
    ImageAuprTrapezoid,
    /// The same of pixels.
    PixelAuprTrapezoid,
    /// AUPRO with 200 thresholds and rescaled rates, as many papers print.
    Aupro200,
    /// The same as in SAA+'s code, which fills the holes of regions.
    Aupro200Saa,
    /// Largest F1 over regions, F_r of SAA+.
    RegionF1Saa,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Metric; 15] = [
        Metric::ImageAuroc,
        Metric::ImageAp,
        Metric::ImageF1Max,
        Metric::PixelAuroc,
        Metric::PixelAp,
        Metric::PixelF1Max,
        Metric::Aupro,
        Metric::Aupro005,
        Metric::Aupimo,
        Metric::ImageTnrAtFnr05,
        Metric::ImageAuprTrapezoid,
        Metric::PixelAuprTrapezoid,
        Metric::Aupro200,
        Metric::Aupro200Saa,
        Metric::RegionF1Saa,
    ];

    /// The name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::ImageAuroc => "image_auroc",
            Metric::ImageAp => "image_ap",
            Metric::ImageF1Max => "image_f1_max",
            Metric::PixelAuroc => "pixel_auroc",
            Metric::PixelAp => "pixel_ap",
            Metric::PixelF1Max => "pixel_f1_max",
            Metric::Aupro => "aupro",
            Metric::Aupro005 => "aupro_005",
            Metric::Aupimo => "aupimo",
            Metric::ImageTnrAtFnr05 => "image_tnr_at_fnr_05",
            Metric::ImageAuprTrapezoid => "image_aupr_trapezoid",
            Metric::PixelAuprTrapezoid => "pixel_aupr_trapezoid",
            Metric::Aupro200 => "aupro_200",
            Metric::Aupro200Saa => "aupro_200_saa",
            Metric::RegionF1Saa => "region_f1_saa",
        }
    }

    /// The head of its column.
    pub fn title(self) -> &'static str {
        match self {
            Metric::ImageAuroc => "image AUROC",
            Metric::ImageAp => "AP",
            Metric::ImageF1Max => "F1-max",
            Metric::PixelAuroc => "pixel AUROC",
            Metric::PixelAp => "AP",
            Metric::PixelF1Max => "F1-max",
            Metric::Aupro => "AUPRO",
            Metric::Aupro005 => "AUPRO₀.₀₅",
            Metric::Aupimo => "AUPIMO",
            Metric::ImageTnrAtFnr05 => "TNR@FNR 5 %",
            Metric::ImageAuprTrapezoid => "image AUPR (trapezoid)",
            Metric::PixelAuprTrapezoid => "pixel AUPR (trapezoid)",
            Metric::Aupro200 => "AUPRO (200 steps)",
            Metric::Aupro200Saa => "AUPRO (200 steps, SAA)",
            Metric::RegionF1Saa => "region F1 (SAA)",
        }
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Values of metrics; a metric that was not asked for is missing, one that is not defined has a reason.
pub type Values = BTreeMap<Metric, Measured>;
