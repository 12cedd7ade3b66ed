//! WinCLIP and WinCLIP+ (Jeong et al. 2023).

mod windows;

pub use windows::{SIDES, harmonic_map, harmonic_mean, windows};
