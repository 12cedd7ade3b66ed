//! Measuring maps: the metrics of each class, from the scores and maps of its test photos.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use crate::datasets::{Category, Dataset, Sample};
use crate::error::{Code, Context, Error, Remedy, Result};
use crate::evaluation::evaluated::Curves;
use crate::evaluation::{ClassMaps, ClassResult, Evaluated, Extreme, Metric, PhotoMap, PhotoValue, RunResult, Spread, Values, maps_of};
use crate::image::{Mask, read_map, resize_bilinear_map};
use crate::methods;
use crate::metrics::{Measured, PixelMetrics, PixelOptions, Ranking, Scored, image_metrics, pixel_metrics, tnr_at_fnr};

/// Photos at the wrong end of the scores that a result names.
const EXTREMES: usize = 5;

/// Why a class without masks has no metrics of pixels.
const NO_MASKS: &str = "no defect has a mask that is known";

/// Share of anomalous images that an operator accepts to miss.
const FALSE_NEGATIVES: f64 = 0.05;

/// How maps are measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MeasureOptions {
    /// Side of the square that maps and masks are resized to before they are compared, as papers do: maps bilinearly, masks to the nearest pixel.
    /// Without it they are compared at the size of the photo.
    pub size: Option<usize>,
    /// Whether metrics are exact to rounding; else they come with a bound of their error.
    pub exact: bool,
    /// Whether the approximations that papers print are computed, too.
    pub approximations: bool,
    /// Whether photos without a map are left out, instead of refused.
    pub lenient: bool,
}

/// Measures the maps of these folders; parts of one run are joined. `progress` is called with a class and the number of maps that were read for it.
///
/// Errors: maps that are missing, damaged or of another size than their photo; an error of `progress`.
pub fn measure(
    dataset: &Dataset,
    folders: &[PathBuf],
    options: MeasureOptions,
    progress: &(dyn Fn(&str, usize) -> Result<()> + Sync),
) -> Result<Evaluated> {
    let of_class = |(category, runs): (&Category, Vec<ClassMaps<'_>>)| {
        let advance = |done: usize| progress(&category.name, done);
        measure_class(category, runs, options, &advance).context(|| format!("class `{}`", category.name))
    };
    let maps = maps_of(dataset, folders, options.lenient)?;
    let mut classes = dataset.classes.iter().zip(maps).map(of_class).collect::<Result<Vec<_>>>()?;
    let draws = |class: &ClassResult| class.runs.iter().map(|run| run.draw).collect::<Vec<_>>();
    fill_undefined(&mut classes);
    if let Some(other) = classes.iter().find(|class| draws(class) != draws(&classes[0])) {
        let message = format!("`{}` has other draws of reference images than `{}`", other.name, classes[0].name);
        return Err(Error::new(Code::Dataset, message).hint(Remedy::FinishMaps));
    }
    Ok(Evaluated::new(dataset, options, classes))
}

/// Metrics that some classes have and others do not, whose masks are not known, are undefined there.
fn fill_undefined(classes: &mut [ClassResult]) {
    let metrics: BTreeSet<Metric> = classes.iter().flat_map(|class| &class.runs).flat_map(|run| run.values.keys().copied()).collect();
    for class in classes {
        for values in class.runs.iter_mut().map(|run| &mut run.values).chain([&mut class.mean.values]) {
            for metric in &metrics {
                values.entry(*metric).or_insert(Measured::undefined(NO_MASKS));
            }
        }
    }
}

/// The results of a class.
fn measure_class(
    category: &Category,
    runs: Vec<ClassMaps<'_>>,
    options: MeasureOptions,
    progress: &(dyn Fn(usize) -> Result<()> + Sync),
) -> Result<ClassResult> {
    let path = |photo: &PhotoMap<'_>| photo.sample.path.clone();
    // A photo that one run did not score is left out of all, which else would be of different photos.
    let is_scored: Vec<bool> = (0..runs[0].photos.len()).map(|at| runs.iter().all(|run| run.photos[at].map.is_some())).collect();
    let not_scored = runs[0]
        .photos
        .iter()
        .zip(&is_scored)
        .filter(|(_, is_scored)| !**is_scored)
        .map(|(photo, _)| path(photo))
        .collect();
    let without_mask = runs[0].photos.iter().filter(|photo| !photo.sample.are_pixels_known).map(path).collect();
    let runs = runs
        .into_iter()
        .map(|run| measure_run(run, &is_scored, options, progress))
        .collect::<Result<Vec<_>>>()?;
    let anomalous = category.test.iter().filter(|sample| sample.is_anomalous).count();
    Ok(ClassResult {
        name: category.name.clone(),
        normal: category.test.len() - anomalous,
        anomalous,
        not_scored,
        without_mask,
        mean: Spread::of(&runs.iter().map(|run| &run.values).collect::<Vec<_>>()),
        runs,
    })
}

/// The metrics of one run over a class.
fn measure_run(
    run: ClassMaps<'_>,
    is_scored: &[bool],
    options: MeasureOptions,
    progress: &(dyn Fn(usize) -> Result<()> + Sync),
) -> Result<RunResult> {
    let taken = run.photos.iter().zip(is_scored).filter(|(_, is_scored)| **is_scored);
    let photos: Vec<(&PhotoMap<'_>, &Path)> = taken.filter_map(|(photo, _)| Some((photo, photo.map.as_deref()?))).collect();
    let scores = photos
        .par_iter()
        .map(|(photo, map)| photo.score.map_or_else(|| score_of(photo.sample, map, options), Ok))
        .collect::<Result<Vec<f32>>>()?;
    let labelled: Vec<(f32, bool)> = scores.iter().zip(&photos).map(|(&score, (photo, _))| (score, photo.sample.is_anomalous)).collect();
    let images = image_metrics(&labelled)?;
    let mut values = of_images(&images, options.approximations);
    values.insert(Metric::ImageTnrAtFnr05, tnr_at_fnr(&labelled, FALSE_NEGATIVES)?);
    let mut result = RunResult {
        draw: run.draw,
        image_threshold: images.f1_threshold,
        pixel_threshold: None,
        aupimo: Vec::new(),
        false_alarms: extremes(&photos, &scores, false),
        misses: extremes(&photos, &scores, true),
        curves: Curves { image_roc: images.roc, image_pr: images.pr, ..Curves::default() },
        made_by: run.made_by.clone(),
        values: Values::new(),
    };
    let has_pixels = |(photo, _): &&(&PhotoMap<'_>, &Path)| photo.sample.are_pixels_known;
    let known: Vec<(&Sample, &Path)> = photos.iter().filter(has_pixels).map(|(photo, map)| (photo.sample, *map)).collect();
    if run.localizes() && known.iter().any(|(sample, _)| sample.is_anomalous) {
        let load = |at: usize| {
            let (sample, map) = known[at];
            load(sample, map, options.size).context(|| format!("the map of `{}`", sample.path))
        };
        let pixel_options = PixelOptions { is_exact: options.exact, approximations: options.approximations, ..PixelOptions::default() };
        let pixels = pixel_metrics(known.len(), &load, &pixel_options, progress)?;
        values.extend(of_pixels(&pixels));
        result.pixel_threshold = pixels.ranking.f1_threshold;
        result.curves = Curves { pixel_roc: pixels.ranking.roc, pixel_pr: pixels.ranking.pr, pro: pixels.pro, ..result.curves };
        let each = known.iter().zip(&pixels.aupimo.per_image).filter(|((sample, _), _)| sample.is_anomalous);
        result.aupimo = each.map(|((sample, _), value)| PhotoValue { path: sample.path.clone(), value: *value }).collect();
    }
    Ok(RunResult { values, ..result })
}

/// The map and mask of a photo, at the size in which they are compared.
fn load(sample: &Sample, file: &Path, size: Option<usize>) -> Result<Scored> {
    let map = read_map(file)?;
    let [height, width] = map.shape().axes();
    let Some(side) = size else { return Ok(Scored { mask: sample.mask_of_size(width, height)?, map }) };
    let mask = sample.mask()?.map(|mask| resize_nearest(&mask, side));
    Ok(Scored { map: resize_bilinear_map(&map, side, side), mask })
}

/// A mask stretched to a square as OpenCV's INTER_NEAREST does: pixel i comes from ⌊i·size/side⌋.
fn resize_nearest(mask: &Mask, side: usize) -> Mask {
    let (width, height) = (mask.width(), mask.height());
    let from = |pixel: usize| mask.data()[(pixel / side * height / side) * width + pixel % side * width / side];
    Mask::new(side, side, (0..side * side).map(from).collect())
}

/// The photos at the wrong end of the scores: anomalous ones with the lowest, or normal ones with the highest. Equal scores keep their order.
fn extremes(photos: &[(&PhotoMap<'_>, &Path)], scores: &[f32], is_anomalous: bool) -> Vec<Extreme> {
    let of_kind = photos.iter().zip(scores).filter(|((photo, _), _)| photo.sample.is_anomalous == is_anomalous);
    let mut all: Vec<Extreme> = of_kind.map(|((photo, _), &score)| Extreme { path: photo.sample.path.clone(), score }).collect();
    all.sort_by(|a, b| if is_anomalous { a.score.total_cmp(&b.score) } else { b.score.total_cmp(&a.score) });
    all.truncate(EXTREMES);
    all
}

/// The score of a photo by a map of another program: its largest value. Refuses a map of another size than the photo, unless both are resized.
fn score_of(sample: &Sample, file: &Path, options: MeasureOptions) -> Result<f32> {
    let map = read_map(file)?;
    let [height, width] = map.shape().axes();
    let photo = sample.read.announced_size(&sample.image)?;
    if options.size.is_none() && (photo.width, photo.height) != (width, height) {
        let message = format!("the map `{}` is {width}×{height}, but its photo {}×{}", file.display(), photo.width, photo.height);
        return Err(Error::new(Code::Dataset, message).hint(Remedy::CompareAtOneSize));
    }
    Ok(map.data().iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

fn of_images(images: &Ranking, approximations: bool) -> Values {
    let mut values = Values::from([(Metric::ImageAuroc, images.auroc), (Metric::ImageAp, images.ap), (Metric::ImageF1Max, images.f1_max)]);
    if approximations {
        values.insert(Metric::ImageAuprTrapezoid, images.aupr_trapezoid);
    }
    values
}

fn of_pixels(pixels: &PixelMetrics) -> Values {
    let mut values = Values::from([
        (Metric::PixelAuroc, pixels.ranking.auroc),
        (Metric::PixelAp, pixels.ranking.ap),
        (Metric::PixelF1Max, pixels.ranking.f1_max),
        (Metric::Aupro, pixels.aupro),
        (Metric::Aupro005, pixels.aupro_005),
        (Metric::Aupimo, pixels.aupimo.mean),
    ]);
    if let Some(found) = &pixels.approximations {
        values.extend([
            (Metric::PixelAuprTrapezoid, pixels.ranking.aupr_trapezoid),
            (Metric::Aupro200, found.aupro_200),
            (Metric::Aupro200Saa, found.aupro_200_saa),
            (Metric::RegionF1Saa, found.region_f1_saa),
        ]);
    }
    values
}

impl ClassMaps<'_> {
    /// Whether its maps locate defects; those of other programs are taken to.
    fn localizes(&self) -> bool {
        let method = self.made_by.as_ref().and_then(|made_by| made_by.parameter("method"));
        method.is_none_or(|name| methods::named(name).map_or(true, |info| info.localizes))
    }
}
