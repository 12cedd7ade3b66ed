//! Holds the direction of `use` between the layers of `src/`, by reading it.

use std::path::{Path, PathBuf};

/// What every layer may use.
const BASE: [&str; 3] = ["error", "files", "uninspected"];

/// Each layer and what it may use beside itself and the base.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("files", &[]),
    ("uninspected", &[]),
    ("tensor", &[]),
    ("weights", &["tensor"]),
    ("image", &["tensor"]),
    ("text", &["tensor"]),
    ("shader", &["tensor"]),
    ("kernels", &["tensor", "shader"]),
    ("graph", &["tensor", "weights", "kernels"]),
    ("run", &["tensor", "weights", "shader", "kernels", "graph"]),
    ("nn", &["tensor", "weights", "kernels", "graph"]),
    ("models", &["tensor", "weights", "image", "text", "kernels", "graph", "nn"]),
    ("methods", &["tensor", "weights", "image", "text", "kernels", "graph", "nn", "models", "run"]),
    ("cli", &["tensor", "weights", "image", "text", "shader", "kernels", "graph", "nn", "models", "methods", "run"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Layer names after `crate::` or `zsas::` in a line, also inside one level of braces.
fn mentioned(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["crate::", "zsas::"] {
        for (at, _) in line.match_indices(root) {
            let rest = &line[at + root.len()..];
            let names = match rest.strip_prefix('{') {
                Some(inside) => inside.split(',').collect(),
                None => vec![rest],
            };
            let word = |name: &str| name.trim().split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("").to_owned();
            found.extend(names.into_iter().map(word));
        }
    }
    found
}

fn layer_of(path: &Path) -> String {
    let inside = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

#[test]
fn no_layer_uses_one_above_it() {
    let mut faults = Vec::new();
    for path in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let layer = layer_of(&path);
        if layer == "lib" || layer == "main" {
            continue;
        }
        let allowed = LAYERS
            .iter()
            .find(|(name, _)| *name == layer)
            .unwrap_or_else(|| panic!("`{layer}` is no known layer"))
            .1;
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            for name in mentioned(line) {
                let is_layer = LAYERS.iter().any(|(known, _)| *known == name);
                if is_layer && name != layer && !BASE.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                    faults.push(format!("`{layer}` may not use `{name}` ({}:{})", path.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_run_says_wgpu() {
    for path in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        if layer_of(&path) != "run" {
            let text = std::fs::read_to_string(&path).unwrap();
            let line = text.lines().position(|line| line.contains("wgpu::"));
            assert!(line.is_none(), "`wgpu::` outside `run` ({}:{})", path.display(), line.unwrap_or(0) + 1);
        }
    }
}

#[test]
fn a_forbidden_use_would_be_seen() {
    assert_eq!(mentioned("use crate::run::Device;"), ["run"]);
    assert_eq!(mentioned("    let x = crate::graph::Graph::default();"), ["graph"]);
    assert_eq!(mentioned("use zsas::{kernels::Kernel, Device};"), ["kernels", "Device"]);
}
