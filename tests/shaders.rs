//! Every kernel in every constant set: assembles, validates, is what its Rust half declares, and translates to each backend's language.
//! Needs no GPU.
//!
//! Listings lie in `tests/golden/shaders/`; `UPDATE_GOLDEN=1 cargo test --release --locked --test shaders` rewrites them.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use naga::back::{hlsl, msl, spv};
use zsas::DType;
use zsas::kernels::{
    ELEMENT_LANES, Implementation, Kernel, MAX_INVOCATIONS, MAX_MATRIX_WORKGROUP_BYTES, MAX_WORKGROUP_BYTES, SOFTWARE_LANES, Tier,
    every_kernel,
};
use zsas::shader::{Assembled, Library, MatrixUnits, Reflection, assemble, reflect};

use common::assert_golden;

fn each_listing(mut visit: impl FnMut(&dyn Kernel, &Implementation, DType, Assembled)) {
    let library = Library::embedded();
    let mut seen = BTreeSet::new();
    for kernel in every_kernel() {
        let written = kernel.implementations();
        let emulated = written.clone().into_iter().filter(|one| one.tier == Tier::Matrix).map(Implementation::emulated);
        for implementation in written.into_iter().chain(emulated) {
            for elem in [DType::F32, DType::F16].into_iter().filter(|&elem| implementation.serves(elem)) {
                if !seen.insert((title(&implementation), implementation.constants.clone(), elem.to_string())) {
                    continue;
                }
                let shader = assemble(&library, implementation.file, &implementation.constants, elem, implementation.units)
                    .unwrap_or_else(|error| panic!("{kernel:?}: {error:?}"));
                visit(&*kernel, &implementation, elem, shader);
            }
        }
    }
}

/// Name of a listing.
fn title(implementation: &Implementation) -> String {
    let ending = if implementation.units == MatrixUnits::Emulated { "_emulated" } else { "" };
    format!("{}{ending}", implementation.file)
}

fn each_reflection(mut visit: impl FnMut(&dyn Kernel, &Implementation, DType, Reflection)) {
    each_listing(|kernel, implementation, elem, shader| {
        let reflection = reflect(&shader).unwrap_or_else(|error| panic!("{kernel:?}: {error:?}"));
        visit(kernel, implementation, elem, reflection);
    });
}

/// Of each file the listing of its first instance, as `zsas-gpu shader FILE` prints it; of every instance the prelude, in which alone
/// instances differ.
#[test]
fn every_listing_is_as_written_down() {
    let mut preludes = String::new();
    let mut codes = BTreeMap::new();
    each_listing(|_, implementation, _, shader| {
        let file = title(implementation);
        let is_prelude = |line: usize| shader.origin(line).starts_with("prelude:");
        let split = (1..).take_while(|&line| is_prelude(line)).count();
        let lines: Vec<&str> = shader.text.lines().collect();
        let (prelude, code) = lines.split_at(split);
        preludes += &format!("{file}: {}\n", prelude.join(" "));
        let first = codes.entry(file.clone()).or_insert_with(|| {
            assert_golden(&format!("shaders/{file}.wgsl"), &shader.text);
            code.join("\n")
        });
        assert_eq!(*first, code.join("\n"), "{file}: instances differ below the prelude");
    });
    assert_golden("shaders/preludes.txt", &preludes);

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/shaders");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "wgsl")) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(codes.contains_key(stem), "{} is the listing of no kernel: delete it", path.display());
    }
}

#[test]
fn every_kernel_matches_its_rust_declaration() {
    each_reflection(|kernel, implementation, elem, reflection| {
        let file = implementation.file;
        let params = kernel.params();
        assert_eq!(reflection.params, params.fields, "{file}: fields of Params");
        assert_eq!(reflection.params_size as usize, params.bytes.len(), "{file}: size of Params");
        let declared: Vec<_> = kernel
            .operands()
            .iter()
            .zip(1..)
            .map(|(operand, binding)| (operand.name.to_owned(), binding, operand.access, operand.storage.dtype(elem).to_string()))
            .collect();
        let found: Vec<_> = reflection
            .bindings
            .iter()
            .map(|binding| (binding.name.clone(), binding.binding, binding.access, binding.scalar.to_owned()))
            .collect();
        assert_eq!(found, declared, "{file}: bindings");
    });
}

#[test]
fn every_kernel_keeps_within_the_limits_that_devices_are_asked_for() {
    each_reflection(|_, implementation, _, reflection| {
        let invocations: u32 = reflection.workgroup_size.iter().product();
        assert!(invocations <= MAX_INVOCATIONS, "{}: {invocations} invocations", implementation.file);
        let bytes = reflection.workgroup_memory;
        let most = if implementation.tier == Tier::Matrix { MAX_MATRIX_WORKGROUP_BYTES } else { MAX_WORKGROUP_BYTES };
        assert!(bytes <= most, "{}: {bytes} bytes of workgroup memory", implementation.file);
    });
}

/// The lanes that Rust counts workgroups with are those of the WGSL file, and no launch has more workgroups than its folding spares.
#[test]
fn launches_are_as_long_as_the_work() {
    let library = Library::embedded();
    let mut seen = BTreeSet::new();
    for kernel in every_kernel() {
        for Implementation { file, constants, launch, elem, units, .. } in kernel.implementations() {
            let constant = |name: &str| constants.iter().find(|(known, _)| *known == name).map(|&(_, value)| value as usize);
            let params = kernel.params();
            let field = |name: &str| {
                let at = params.fields.iter().find(|field| field.name == name).unwrap().offset as usize;
                u32::from_le_bytes(params.bytes[at..at + 4].try_into().unwrap()) as usize
            };
            // What lanes or workgroups are counted for, and how many of these a workgroup makes.
            let (work, of_group) = match file {
                "unary" | "binary" | "logit" | "cast_to_f32" | "cast_from_f32" => (kernel.output_len(), 4 * ELEMENT_LANES),
                "pool" | "resize" | "concat" | "gather" | "permute" => (kernel.output_len(), constant("VEC").unwrap() * ELEMENT_LANES),
                "region_mask" => (kernel.output_len(), ELEMENT_LANES),
                "sine_positions" => (kernel.output_len() / 2, ELEMENT_LANES),
                "group_norm" => (field("images") * field("groups"), 1),
                "window_attention" | "window_attention_software" => {
                    let window = constant("WINDOW").unwrap();
                    let strips = |cells: usize| cells.div_ceil(window) + usize::from(constant("SHIFT") != Some(0));
                    let windows = field("images") * strips(field("height")) * strips(field("width"));
                    let of_tile = constant("ROWS").map_or(ELEMENT_LANES, |rows| rows * SOFTWARE_LANES);
                    (windows * (window * window).div_ceil(of_tile) * constant("HEADS").unwrap(), 1)
                }
                "deformable_attention" => (kernel.output_len() / 4, constant("WORKGROUP").unwrap()),
                "top_rows" => (field("sequences") * field("rows").div_ceil(ELEMENT_LANES), 1),
                "channels_last" => (kernel.output_len() / field("padded"), ELEMENT_LANES),
                "layer_norm" | "normalize_rows" | "softmax" | "top_mean" => (field("rows"), 1),
                "layer_norm_software" | "normalize_rows_software" | "softmax_software" | "top_mean_software" => {
                    (field("rows"), SOFTWARE_LANES)
                }
                "attention" => (field("heads") * field("queries").div_ceil(constant("WORKGROUP").unwrap()), 1),
                "attention_fours" | "attention_matrix" => (field("heads") * field("queries").div_ceil(constant("TILE").unwrap()), 1),
                "attention_software" | "attention_subgroup" => {
                    (field("heads") * field("queries").div_ceil(constant("ROWS").unwrap() * SOFTWARE_LANES), 1)
                }
                "matmul" | "matmul_fours" | "matmul_matrix" | "matmul_software" | "conv2d" | "conv2d_fours" | "conv2d_matrix"
                | "conv2d_software" | "matmul_subgroup" | "conv2d_subgroup" => {
                    let (rows, cols) = match file.starts_with("matmul") {
                        true => (field("rows"), field("cols")),
                        false => (field("batch") * field("height_out") * field("width_out"), field("channels_out")),
                    };
                    let (tall, wide) = match constant("TALL") {
                        Some(tall) if file.ends_with("_matrix") && constant("SPLIT") == Some(1) => (tall, 128),
                        Some(tall) => (tall, 64),
                        None => (constant("ROWS").unwrap(), 4 * constant("VECTORS").unwrap() * SOFTWARE_LANES),
                    };
                    let batch = if file.starts_with("matmul") { field("batch") } else { 1 };
                    (batch * rows.div_ceil(tall) * cols.div_ceil(wide), 1)
                }
                other => panic!("shaders/{other}.wgsl: how is its work shared out?"),
            };
            let (needed, groups) = (work.div_ceil(of_group), launch.x as usize * launch.y as usize);
            let spare = launch.y as usize - 1;
            assert!((needed..=needed + spare).contains(&groups), "{kernel:?} by {file}: {groups} workgroups for {needed}");

            let lanes = match file {
                "matmul" | "matmul_fours" | "conv2d" | "conv2d_fours" => constant("SPLIT").unwrap() * constant("TALL").unwrap(),
                "matmul_matrix" | "conv2d_matrix" => 4 * 32,
                _ if file.ends_with("_software") || file.ends_with("_subgroup") => SOFTWARE_LANES,
                _ => constant("WORKGROUP").unwrap_or(ELEMENT_LANES),
            };
            if seen.insert((file, constants.clone())) {
                let shader = assemble(&library, file, &constants, elem.unwrap_or(DType::F32), units).unwrap();
                let found = reflect(&shader).unwrap().workgroup_size;
                assert_eq!(found.iter().product::<u32>() as usize, lanes, "lanes of shaders/{file}.wgsl");
            }
        }
    }
}

#[test]
fn every_kernel_translates_to_spirv_msl_and_hlsl() {
    each_reflection(|_, implementation, _, reflection| {
        let (module, info) = (&reflection.module, &reflection.info);
        let file = implementation.file;
        let words = spv::write_vec(module, info, &spv::Options { lang_version: (1, 3), ..Default::default() }, None);
        assert!(!words.unwrap_or_else(|error| panic!("{file}: SPIR-V: {error}")).is_empty());
        if implementation.tier == Tier::Matrix {
            return; // Metal multiplies blocks of 8 × 8, DX12 has none.
        }
        let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        let (text, _) = msl::write_string(module, info, &options, &msl::PipelineOptions::default())
            .unwrap_or_else(|error| panic!("{file}: MSL: {error}"));
        assert!(text.contains("kernel void"), "{file}: MSL");
        let mut text = String::new();
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, fake_missing_bindings: true, ..Default::default() };
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(module, info, None)
            .unwrap_or_else(|error| panic!("{file}: HLSL: {error}"));
        assert!(text.contains("numthreads"), "{file}: HLSL");
    });
}

#[test]
fn every_file_in_shaders_is_used() {
    let library = Library::embedded();
    let mut used = BTreeSet::new();
    let mut texts = String::new();
    each_listing(|_, implementation, _, shader| {
        used.insert(implementation.file.to_owned());
        let lines = 1..=shader.text.lines().count();
        texts.extend(lines.map(|line| shader.origin(line) + "\n"));
    });
    assert_eq!(used, library.kernels().into_iter().collect());
    for module in library.modules() {
        assert!(texts.contains(&format!("shaders/lib/{module}.wgsl:")), "shaders/lib/{module}.wgsl is used by no kernel");
    }
}

/// Barriers belong to library functions, where all lanes arrive: naga accepts one inside a lane-dependent branch. Those of `attention`,
/// `attention_fours`, `attention_matrix` and `window_attention` are in main loops and branches that are the same for all lanes.
#[test]
fn kernel_files_hold_no_barrier_of_their_own() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let allowed = match path.file_stem().and_then(|stem| stem.to_str()) {
                Some("attention" | "attention_fours" | "window_attention") => 2,
                Some("attention_matrix") => 18,
                _ => 0,
            };
            let barriers = std::fs::read_to_string(&path).unwrap().matches("Barrier()").count();
            assert_eq!(barriers, allowed, "{} has a barrier outside shaders/lib", path.display());
        }
    }
}

/// A driver keeps an array in memory as soon as it does not unroll one loop over it, at a tenth of the speed: products have none. In the
/// others every loop runs over the whole of a short array, with nothing in it that would keep a driver from unrolling.
#[test]
fn kernels_for_gpus_keep_what_they_sum_in_variables_with_names() {
    const WHOLE_ARRAYS: [&str; 5] = ["attention", "attention_fours", "pool", "top_mean", "window_attention"];
    each_listing(|_, implementation, _, shader| {
        let is_for_gpus = !matches!(implementation.tier, Tier::Software | Tier::Subgroup) && implementation.units == MatrixUnits::Hardware;
        if is_for_gpus && !WHOLE_ARRAYS.contains(&implementation.file) {
            for (line, number) in shader.text.lines().zip(1..) {
                let is_array = line.trim_start().starts_with("var ") && line.contains("array<");
                assert!(!is_array, "{}: an array among variables: {line}", shader.origin(number));
            }
        }
    });
}

#[test]
fn an_error_names_the_line_of_the_file_that_is_edited() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("lib")).unwrap();
    let text = "//! broken\n//! set: SIZE\n\n@compute @workgroup_size(1)\nfn main() {\n    let x = inverseSqroot(2.0);\n}\n";
    std::fs::write(folder.path().join("broken.wgsl"), text).unwrap();
    let shader = assemble(&Library::folder(folder.path()), "broken", &[("SIZE", 2)], DType::F32, MatrixUnits::Hardware).unwrap();
    let error = reflect(&shader).unwrap_err();
    assert!(error.message().starts_with("shaders/broken.wgsl:6:"), "{error:?}");
    assert!(format!("{error:#}").contains("inverseSqroot(2.0)"), "{error:?}");
}
