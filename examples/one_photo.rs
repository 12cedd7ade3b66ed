//! Scores one image with UTAD, or with WinCLIP where weights of CLIP and a class are given:
//! `cargo run --release --example one_photo -- part.png [snapshots CLASS]`.

use zsas::image::Rgb;
use zsas::inspect::Detector;

fn main() -> zsas::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [image] => with_utad(image),
        [image, weights, class] => with_winclip(image, weights, class),
        _ => panic!("usage: one_photo IMAGE [WEIGHTS CLASS]"),
    }
}

/// Scores with UTAD, on the weights inside the library.
fn with_utad(image: &str) -> zsas::Result<()> {
    let detector = Detector::builder().method("utad").open()?;
    let found = detector.inspect(&Rgb::open(image)?)?;
    println!("{} {:?}", found.score, found.regions(2.4));
    Ok(())
}

/// Scores with WinCLIP, on a snapshot of CLIP, or a folder with a snapshot `clip`.
fn with_winclip(image: &str, weights: &str, class: &str) -> zsas::Result<()> {
    let detector = Detector::builder().method("winclip").class(class).weights(weights).open()?;
    let found = detector.inspect(&Rgb::open(image)?)?;
    println!("{} {:?}", found.score, found.regions(0.5));
    Ok(())
}
