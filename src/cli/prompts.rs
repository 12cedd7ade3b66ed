//! `prompts`: tries the prompts of a profile on a few photos (SAA+).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use zsas::error::printable;
use zsas::inspect::{Detector, Finding};
use zsas::methods::Reading;
use zsas::methods::saa::{Fate, Part, RegionCandidate, SaaSettings};
use zsas::{Code, Error, Result};

use crate::cli::device::DeviceArgs;
use crate::cli::photos::PhotoArgs;
use crate::cli::{Exit, choice, of_weights, talk};

const EXAMPLE: &str = "\
Example:
  zsas-gpu prompts check bottle.toml good.png bad.png --weights snapshots";

const AFTER: &str = "\
For each photo: the object's area, then for each caption how many boxes were probable enough, how
many each filter removed, and the boxes that make the map, with their scores. `infer --method saa+
--save candidates` draws the same.

Example:
  zsas-gpu prompts check bottle.toml good.png bad.png --weights snapshots";

/// Options of `prompts`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct PromptsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Run the prompts of a profile on photos and say which filter removed what.
    Check(CheckArgs),
}

/// Options of `prompts check`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
struct CheckArgs {
    /// A profile: class, and captions and bounds in `[saa]`
    profile: PathBuf,

    /// Photos
    #[arg(required = true, value_name = "PHOTO")]
    photos: Vec<PathBuf>,

    /// A folder of snapshots named by network; without it $ZSAS_WEIGHTS
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,

    /// Whether the published code or the paper's equations are followed
    #[arg(long, value_parser = choice::reading())]
    reading: Option<Reading>,

    /// Parts of saa+ to leave out
    #[arg(long, value_parser = choice::part(), value_delimiter = ',', value_name = "PART")]
    without: Vec<Part>,

    #[command(flatten)]
    read: PhotoArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the verb.
pub fn run(args: &PromptsArgs) -> Result<Exit> {
    let Action::Check(args) = &args.action;
    if let Some(missing) = args.photos.iter().find(|photo| !photo.is_file()) {
        return Err(Error::new(Code::NotFound, format!("there is no photo `{}`", missing.display())));
    }
    let mut builder = Detector::builder()
        .method("saa+")
        .profile(&args.profile)
        .reading(args.reading)
        .without(args.without.iter().copied())
        .precision(args.device.precision.0)
        .device(args.device.options()?);
    if let Some(place) = &args.weights {
        builder = builder.weights(place);
    }
    let detector = builder.open().map_err(of_weights(args.weights.as_deref()))?;
    args.device.describe(&detector.device(), false);
    let settings = detector.recipe().saa.clone().expect("saa+ has settings");
    talk::print_line(bounds(&settings))?;
    let mut failed = 0;
    for photo in &args.photos {
        let checked = args.read.options().open(photo).and_then(|decoded| {
            for warning in &decoded.warnings {
                talk::say(format_args!("warning: {}: {warning}", photo.display()));
            }
            for part in &decoded.uninspected {
                talk::say(format_args!("warning: {}: not looked at: {} ({})", photo.display(), part.reason.as_str(), part.count));
            }
            detector.inspect(&decoded.image)
        });
        match checked {
            Ok(found) => lines(&printable(&photo.display().to_string()), &settings, &found)
                .into_iter()
                .try_for_each(talk::print_line)?,
            Err(error) => {
                failed += 1;
                talk::say(format_args!("{}: {}", photo.display(), Error::message(&error)));
            }
        }
        if let Some(fault) = detector.fault() {
            return Err(fault);
        }
    }
    Ok(if failed > 0 { Exit::SomeFailed } else { Exit::Done })
}

/// The bounds that hold for all photos.
fn bounds(settings: &SaaSettings) -> String {
    let prompts = &settings.prompts;
    let area = prompts.area.map_or_else(|| "of any size".to_owned(), |area| format!("below {area} of its area"));
    let best = prompts.regions.map_or_else(|| "all".to_owned(), |regions| format!("the best {regions}"));
    format!(
        "object `{}`, {} a photo; defects {area}; {best} make the map; tokens above {}",
        prompts.object, prompts.count, prompts.box_threshold,
    )
}

/// What became of the candidates on a photo.
fn lines(photo: &str, settings: &SaaSettings, found: &Finding) -> Vec<String> {
    let Some(candidates) = &found.candidates else { return Vec::new() };
    let objects = match candidates.objects.len() {
        0 => "no object: the whole photo counts as one".to_owned(),
        count => format!("{count} boxes of the object, the largest {:.1} % of the photo", 100.0 * candidates.object_area),
    };
    let mut lines = vec![format!("\n{photo}: score {:.4}, {objects}", found.score)];
    for defect in &settings.prompts.defects {
        let of_caption: Vec<&RegionCandidate> = candidates.regions.iter().filter(|candidate| candidate.caption == defect.caption).collect();
        let count = |fate: Fate| of_caption.iter().filter(|candidate| candidate.fate == fate).count();
        let fates = Fate::ALL
            .into_iter()
            .filter(|&fate| count(fate) > 0)
            .map(|fate| format!(", {} {}", count(fate), fate.about()));
        lines.push(format!("  `{}`: {} boxes{}", defect.caption, of_caption.len(), fates.collect::<String>()));
        for candidate in of_caption.iter().filter(|candidate| candidate.fate == Fate::Kept) {
            let [x0, y0, x1, y1] = candidate.corners;
            let factor = candidate.rescored.map_or_else(String::new, |rescored| format!(" × {:.3}", rescored.factor));
            lines.push(format!(
                "    {:.3}{factor} = {:.3}  {x0:.0},{y0:.0},{x1:.0},{y1:.0}  {}",
                candidate.score,
                candidate.final_score(),
                candidate.tokens
            ));
        }
    }
    lines
}
