//! Scores one photo: `cargo run --release --example one_photo -- part.png [snapshots CLASS]`, by texture, or by language where weights of CLIP are.

use zsas::image::Rgb;
use zsas::inspect::Detector;

fn main() -> zsas::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [photo] => by_texture(photo),
        [photo, weights, class] => by_language(photo, weights, class),
        _ => panic!("usage: one_photo PHOTO [WEIGHTS CLASS]"),
    }
}

/// UTAD, on the weights inside the library.
fn by_texture(photo: &str) -> zsas::Result<()> {
    let detector = Detector::builder().method("utad").open()?;
    let found = detector.inspect(&Rgb::open(photo)?)?;
    println!("{} {:?}", found.score, found.regions(2.4));
    Ok(())
}

/// WinCLIP, on a snapshot of CLIP, or a folder with a snapshot `clip`.
fn by_language(photo: &str, weights: &str, class: &str) -> zsas::Result<()> {
    let detector = Detector::builder().method("winclip").class(class).weights(weights).open()?;
    let found = detector.inspect(&Rgb::open(photo)?)?;
    println!("{} {:?}", found.score, found.regions(0.5));
    Ok(())
}
