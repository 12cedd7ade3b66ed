//! Time and memory of pixel metrics on made maps: `cargo bench --bench metrics -- [COUNT] [SIDE] [skewed] [exact] [approximations] [tiff]`.
//!
//! A map is a coarse grid of seeded numbers, interpolated, as maps of methods are; `skewed` takes it through an exponential. In a fifth of the maps
//! discs are marked and raised. `tiff` reads maps from a hundred float TIFF files instead, over and over. Besides the time with metrics, it prints
//! that of loading alone, as many times.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tiff::decoder::{Decoder, DecodingResult};
use zsas::image::{Mask, encode_tiff};
use zsas::metrics::{PixelOptions, Scored, pixel_metrics};
use zsas::tensor::{Array, Seeded};

/// Side of the coarse grid.
const GRID: usize = 33;

/// Files in a folder of maps.
const FILES: usize = 100;

fn main() -> zsas::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is = |word: &str| arguments.iter().any(|argument| argument == word);
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<usize>().ok());
    let (count, side) = (numbers.next().unwrap_or(100), numbers.next().unwrap_or(512));
    let options = PixelOptions { is_exact: is("exact"), approximations: is("approximations"), ..PixelOptions::default() };
    let folder = tempfile::tempdir().unwrap();
    if is("tiff") {
        (0..FILES.min(count))
            .for_each(|at| std::fs::write(path(folder.path(), at), encode_tiff(&map(at, side, is("skewed"))).unwrap()).unwrap());
    }
    let make = |at: usize| match is("tiff") {
        true => read(&path(folder.path(), at % FILES)),
        false => map(at, side, is("skewed")),
    };
    let loads = Mutex::new(vec![0_u32; count]);
    let load = |at: usize| {
        loads.lock().unwrap()[at] += 1;
        // Marks belong to the map, whose seed is that of its file.
        let seed = if is("tiff") { at % FILES } else { at };
        Ok(Scored { map: make(at), mask: mask(seed, side) })
    };
    let start = Instant::now();
    let found = pixel_metrics(count, &load, &options, &|_| Ok(()))?;
    let seconds = start.elapsed().as_secs_f64();
    let memory = peak_memory();
    let loads = loads.into_inner().unwrap();
    let start = Instant::now();
    // What nobody uses need not be made.
    let checksum = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().unwrap().get().min(8);
        for thread in 0..threads {
            let (loads, make, checksum) = (&loads, &make, &checksum);
            scope.spawn(move || {
                for at in (thread..count).step_by(threads) {
                    for _ in 0..loads[at] {
                        checksum.fetch_add(u64::from(make(at).data()[0].to_bits()), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let alone = start.elapsed().as_secs_f64();
    std::hint::black_box(checksum.into_inner());
    let megabytes = memory.map_or("unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    println!(
        "{count} maps of {side}², {} loads: {seconds:.1} s, loading alone {alone:.1} s, memory {megabytes}",
        loads.iter().sum::<u32>()
    );
    println!("{:?}", found.totals);
    for (name, metric) in [
        ("AUROC", found.ranking.auroc),
        ("AP", found.ranking.ap),
        ("AUPR", found.ranking.aupr_trapezoid),
        ("F1-max", found.ranking.f1_max),
        ("AUPRO", found.aupro),
        ("AUPRO 0.05", found.aupro_005),
        ("AUPIMO", found.aupimo.mean),
    ] {
        println!("{name:12} {:.9} ± {:.1e}", metric.value.unwrap_or(f64::NAN), metric.error);
    }
    println!("{:?}", found.approximations);
    Ok(())
}

/// The map of a seed.
fn map(seed: usize, side: usize, is_skewed: bool) -> Array {
    let mut random = Seeded::new(seed as u64);
    let grid: Vec<f32> = (0..GRID * GRID).map(|_| random.uniform() as f32).collect();
    let discs = discs(seed, side);
    // Cell and share of the next one, of each column.
    let places: Vec<(usize, f32)> = (0..side)
        .map(|at| {
            let place = at as f32 * (GRID - 1) as f32 / side as f32;
            (place as usize, place.fract())
        })
        .collect();
    let mut scores = Vec::with_capacity(side * side);
    for (y, &(cell_y, share_y)) in places.iter().enumerate() {
        let row: Vec<f32> = (0..GRID)
            .map(|x| grid[cell_y * GRID + x] * (1.0 - share_y) + grid[(cell_y + 1) * GRID + x] * share_y)
            .collect();
        let near: Vec<_> = discs.iter().filter(|disc| disc.1.abs_diff(y) < disc.2).collect();
        for (x, &(cell, share)) in places.iter().enumerate() {
            let mut score = 0.6 * (row[cell] * (1.0 - share) + row[cell + 1] * share);
            if near.iter().any(|disc| is_within(disc, x, y)) {
                score += 0.3;
            }
            scores.push(if is_skewed { (16.0 * (score - 1.0)).exp() } else { score });
        }
    }
    Array::new([side, side], scores)
}

fn mask(seed: usize, side: usize) -> Option<Mask> {
    let discs = discs(seed, side);
    if discs.is_empty() {
        return None;
    }
    let mut marks = vec![false; side * side];
    for disc in &discs {
        for y in disc.1.saturating_sub(disc.2)..(disc.1 + disc.2).min(side) {
            (0..side).filter(|&x| is_within(disc, x, y)).for_each(|x| marks[y * side + x] = true);
        }
    }
    Some(Mask::new(side, side, marks))
}

/// Centre and radius of the discs of a seed; a fifth of the seeds has some.
fn discs(seed: usize, side: usize) -> Vec<(usize, usize, usize)> {
    let mut random = Seeded::new(seed as u64 + (1 << 32));
    let count = if seed.is_multiple_of(5) { 1 + seed / 5 % 3 } else { 0 };
    let mut below = |bound: usize| (random.uniform() * bound as f64) as usize;
    (0..count).map(|_| (below(side), below(side), 3 + below(side / 10))).collect()
}

fn is_within(&(x0, y0, radius): &(usize, usize, usize), x: usize, y: usize) -> bool {
    x0.abs_diff(x).pow(2) + y0.abs_diff(y).pow(2) < radius.pow(2)
}

fn path(folder: &Path, at: usize) -> std::path::PathBuf {
    folder.join(format!("{at}.tiff"))
}

fn read(path: &Path) -> Array {
    let mut decoder = Decoder::new(File::open(path).unwrap()).unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    let DecodingResult::F32(scores) = decoder.read_image().unwrap() else { panic!("not f32") };
    Array::new([height as usize, width as usize], scores)
}

/// The most memory that this process had at a time, in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}
