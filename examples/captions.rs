//! Looks for several captions in one photo, which is encoded once: `cargo run --release --example captions -- PHOTO SNAPSHOT CAPTION …`.

use std::time::Instant;

use zsas::image::Rgb;
use zsas::methods::Grounder;
use zsas::models::GroundingDino;
use zsas::models::grounding_dino::Semantics;
use zsas::text::Caption;
use zsas::{Checkpoint, Device, DeviceOptions, Precision};

fn main() -> zsas::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [photo, snapshot, captions @ ..] = &arguments[..] else { panic!("usage: captions PHOTO SNAPSHOT CAPTION …") };
    let device = Device::open(&DeviceOptions::default())?;
    let network = GroundingDino::load(&Checkpoint::open(snapshot)?)?;
    let grounder = Grounder::new(&device, network, Precision::F32, Semantics::Original);
    let captions = captions.iter().map(|caption| Caption::verbatim(caption)).collect::<zsas::Result<Vec<_>>>()?;
    let embedded = grounder.embed(&captions)?;
    // The first run compiles, the second shows what a photo costs.
    for _ in 0..2 {
        let start = Instant::now();
        let encoded = grounder.encode(&grounder.prepare(&Rgb::open(photo)?))?;
        let image = start.elapsed();
        let found = grounder.find(&encoded, &embedded)?;
        println!("image {:.2} s, captions {:.2} s", image.as_secs_f64(), (start.elapsed() - image).as_secs_f64());
        for (caption, candidates) in captions.iter().zip(&found) {
            let best = candidates.iter().max_by(|a, b| a.score().total_cmp(&b.score()));
            println!("{}: {:?}", caption.text(), best.map(|best| (best.score(), best.corners)));
        }
    }
    Ok(())
}
