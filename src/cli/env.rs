//! `env`: lists the environment variables that the program reads.

use clap::Args;
use serde::Serialize;
use zsas::Result;

use crate::cli::{Exit, talk};

/// Variable for the folder of weights.
pub const WEIGHTS: &str = zsas::models::store::VARIABLE;
/// Variable for the cache folder.
pub const CACHE: &str = "ZSAS_CACHE";
/// Variable for a folder of shaders that are being edited.
pub const SHADERS: &str = "ZSAS_SHADERS";
/// Variable for the limit of GPU memory.
pub const GPU_MEMORY: &str = "ZSAS_GPU_MEMORY";
/// Variable for the attempts before which the device is lost on purpose.
pub const LOSE_DEVICE_AT: &str = "ZSAS_LOSE_DEVICE_AT";

/// Variable for the image at which the process aborts on purpose.
pub const ABORT_AT: &str = "ZSAS_ABORT_AT";

const AFTER: &str = "\
Example:
  zsas-gpu env";

/// Options of `env`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct EnvArgs {
    /// One JSON object per variable and line
    #[arg(long)]
    json: bool,
}

/// An environment variable and its meaning.
#[derive(Serialize)]
struct Variable {
    name: &'static str,
    value: Option<String>,
    default: &'static str,
    meaning: &'static str,
}

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, value: None, default, meaning }
}

const VARIABLES: [Variable; 13] = [
    variable(
        WEIGHTS,
        "the weights inside the binary, for utad and saliency",
        "a snapshot, or a folder of snapshots named by network (`clip`, `clipseg`, `grounding-dino`, `sam`, `wide-resnet`)",
    ),
    variable(CACHE, "the user's cache folder", "where embedded prompts and compiled kernels are cached; empty: nowhere"),
    variable(
        "MESA_SHADER_CACHE_DIR",
        "the user's cache folder, else $ZSAS_CACHE",
        "read by Mesa's drivers: where compiled kernels are cached",
    ),
    variable(SHADERS, "the shaders inside the binary", "a folder to read WGSL files from, for editing them without rebuilding"),
    variable(
        GPU_MEMORY,
        "what the driver gives, or what memory is free",
        "limit of the memory of the device in megabytes, where it is shared",
    ),
    variable(
        LOSE_DEVICE_AT,
        "never",
        "attempts of `infer` and `segment`, counted from 1 (`2` or `2,3`), before which the device is lost, to test the recovery",
    ),
    variable(ABORT_AT, "never", "path of a photo at which `infer` aborts, to test a later `--resume`"),
    variable("RAYON_NUM_THREADS", "0: as many as the system lets this process use", "threads that compute where the CPU is the device"),
    variable("WGPU_BACKEND", "vulkan,metal,dx12", "the graphics interfaces that are used"),
    variable("VK_DRIVER_FILES", "all installed drivers", "read by the Vulkan loader: the drivers it offers (formerly VK_ICD_FILENAMES)"),
    variable("RUST_LOG", "error,zsas=warn", "what is logged to stderr, by module; overrules `-v`"),
    variable("NO_COLOR", "colours on a terminal", "anything switches colours off"),
    variable("COLUMNS", "the terminal's width", "width to which `--help` is wrapped where there is no terminal"),
];

/// Prints the table.
pub fn run(args: &EnvArgs) -> Result<Exit> {
    for mut variable in VARIABLES {
        variable.value = std::env::var_os(variable.name).map(|value| value.to_string_lossy().into_owned());
        if args.json {
            talk::print_json(&variable)?;
        } else {
            let Variable { name, value, default, meaning } = &variable;
            let value = value.as_ref().map_or_else(|| "(not set)".to_owned(), |value| format!("= {value}"));
            talk::print(format_args!("{name} {value}\n    default: {default}\n    {meaning}\n"))?;
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_whose_folder_is_looked_for_is_named() {
        let meaning = VARIABLES.iter().find(|variable| variable.name == WEIGHTS).unwrap().meaning;
        for network in zsas::models::NETWORKS {
            assert!(meaning.contains(&format!("`{}`", network.name)), "{meaning} lacks {network}");
        }
    }
}
