//! Holds the direction of `use` between the layers of `src/`, by reading it.

use std::fs;
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
    ("metrics", &["tensor", "image"]),
    ("text", &["tensor"]),
    ("inputs", &["image"]),
    ("datasets", &["tensor", "image", "inputs"]),
    ("shader", &["tensor"]),
    ("kernels", &["tensor", "shader"]),
    ("graph", &["tensor", "weights", "kernels"]),
    ("run", &["tensor", "weights", "shader", "kernels", "graph"]),
    ("nn", &["tensor", "weights", "kernels", "graph"]),
    ("models", &["tensor", "weights", "image", "text", "kernels", "graph", "nn"]),
    ("methods", &["tensor", "weights", "image", "text", "kernels", "graph", "nn", "models", "run"]),
    ("results", &["tensor", "image", "inputs", "weights", "run", "methods"]),
    ("inspect", &["tensor", "weights", "image", "text", "inputs", "kernels", "models", "methods", "run", "results"]),
    ("evaluation", &["tensor", "image", "inputs", "methods", "results", "inspect", "datasets", "metrics"]),
    (
        "cli",
        &[
            "tensor",
            "weights",
            "image",
            "text",
            "inputs",
            "shader",
            "kernels",
            "graph",
            "nn",
            "models",
            "methods",
            "run",
            "results",
            "inspect",
            "datasets",
            "evaluation",
        ],
    ),
];

/// Names that the root of the library exports, and their layers.
fn exported() -> Vec<(String, String)> {
    let root = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let mut names = Vec::new();
    for line in root.split(';').map(str::trim).filter_map(|line| line.split_once("pub use ").map(|(_, rest)| rest)) {
        let (layer, rest) = line.split_once("::").unwrap();
        names.extend(rest.trim_matches(['{', '}']).split(',').map(|name| (name.trim().to_owned(), layer.to_owned())));
    }
    names
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
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

/// The code of a file without its comments and texts in quotes, which may name any layer.
fn code(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or("").split('"').step_by(2).collect::<String>() + "\n")
        .collect()
}

/// First names after `crate::` and `zsas::`, those at the top of braces included, with the line on which the path begins.
fn mentioned(code: &str) -> Vec<(usize, String)> {
    let word = |text: &str| text.trim().split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("").to_owned();
    let mut found = Vec::new();
    for root in ["crate::", "zsas::"] {
        for (at, _) in code.match_indices(root) {
            let line = code[..at].matches('\n').count() + 1;
            let rest = &code[at + root.len()..];
            let Some(inside) = rest.strip_prefix('{') else {
                found.push((line, word(rest)));
                continue;
            };
            let (mut depth, mut start) = (0, 0);
            for (at, c) in inside.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth > 0 => depth -= 1,
                    ',' | '}' if depth == 0 => {
                        found.push((line, word(&inside[start..at])));
                        start = at + 1;
                        if c == '}' {
                            break;
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

fn layer_of(path: &Path) -> String {
    let inside = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// What a file of a layer uses and may not.
fn faults(layer: &str, path: &Path, text: &str, exported: &[(String, String)]) -> Vec<String> {
    let allowed = LAYERS
        .iter()
        .find(|(name, _)| *name == layer)
        .unwrap_or_else(|| panic!("`{layer}` is no known layer"))
        .1;
    let mut faults = Vec::new();
    for (line, name) in mentioned(&code(text)) {
        let used = exported.iter().find(|(export, _)| *export == name).map_or(&name, |(_, layer)| layer);
        let is_layer = LAYERS.iter().any(|(known, _)| known == used);
        if is_layer && used != layer && !BASE.contains(&used.as_str()) && !allowed.contains(&used.as_str()) {
            faults.push(format!("`{layer}` may not use `{used}` ({}:{line})", path.display()));
        }
    }
    faults
}

#[test]
fn no_layer_uses_one_above_it() {
    let exported = exported();
    let mut found = Vec::new();
    for path in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let layer = layer_of(&path);
        if layer != "lib" && layer != "main" {
            found.extend(faults(&layer, &path, &fs::read_to_string(&path).unwrap(), &exported));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_layer_stands_only_on_layers_above_it_in_the_table() {
    for (at, (layer, allowed)) in LAYERS.iter().enumerate() {
        for used in *allowed {
            assert!(LAYERS[..at].iter().any(|(name, _)| name == used), "`{layer}` uses `{used}`, which stands behind it");
        }
    }
}

#[test]
fn only_run_says_wgpu_and_only_the_command_line_names_options() {
    for path in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let (layer, text) = (layer_of(&path), fs::read_to_string(&path).unwrap());
        if layer != "run" {
            let line = text.lines().position(|line| line.contains("wgpu::"));
            assert!(line.is_none(), "`wgpu::` outside `run` ({}:{})", path.display(), line.unwrap_or(0) + 1);
        }
        if layer != "cli" && layer != "main" {
            let names_option = |line: &str| !line.trim_start().starts_with("//") && line.contains("`--");
            let line = text.lines().position(names_option);
            assert!(line.is_none(), "an option of the command line in the library ({}:{})", path.display(), line.unwrap_or(0) + 1);
        }
    }
}

#[test]
fn a_forbidden_use_is_seen_in_whatever_form_it_is_written() {
    let exported = exported();
    let fault = |text: &str| faults("kernels", Path::new("x.rs"), text, &exported);
    assert_eq!(fault("use crate::graph::Graph;"), ["`kernels` may not use `graph` (x.rs:1)"]);
    assert_eq!(fault("use crate::{\n    tensor::{Array, Shape},\n    run::Program,\n};"), ["`kernels` may not use `run` (x.rs:1)"]);
    assert_eq!(fault("\nuse crate::Device;"), ["`kernels` may not use `run` (x.rs:2)"]);
    assert_eq!(fault("    let x = crate::methods::finite(y);"), ["`kernels` may not use `methods` (x.rs:1)"]);
    assert!(fault("// crate::run\nuse crate::tensor::Array; let text = \"crate::run\";").is_empty());
}
