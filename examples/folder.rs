//! Inspects a folder of images: `cargo run --release --example folder -- photos/ found/` writes records, pictures and a report.

use std::path::PathBuf;

use zsas::inspect::{Detector, Job, JobOptions, ScoreOptions, Scoring, Unobserved};
use zsas::results::Existing;

fn main() -> zsas::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(images), Some(output)) = (arguments.next(), arguments.next()) else { panic!("usage: folder IMAGES OUTPUT") };
    let options = JobOptions { existing: Existing::Overwrite, ..JobOptions::default() };
    let job = Job::new(&[images], &output, options)?;
    let detector = Detector::builder().open()?;
    let scoring = Scoring::new(&detector, ScoreOptions { report: true, ..ScoreOptions::default() })?;
    let outcome = job.run(&scoring, &Unobserved)?;
    outcome.end?;
    println!("{} scored, {} failed", outcome.tally.counts.scored, outcome.tally.counts.failed);
    for (score, path) in outcome.tally.worst() {
        println!("{score:9.4}  {path}");
    }
    Ok(())
}
