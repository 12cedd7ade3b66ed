//! The variants in `benches/variants/` compute what `matmul` computes.

mod common;
#[path = "../benches/variants/mod.rs"]
mod variants;

use zsas::kernels::Kernel;

#[test]
fn every_variant_equals_the_reference_of_matmul() {
    if common::adapter("every_variant_equals_the_reference_of_matmul").is_none() {
        return;
    }
    let device = variants::device().unwrap();
    for (rows, cols, inner) in [(1, 1, 1), (65, 63, 17), (64, 128, 32)] {
        for variant in variants::all(rows, cols, inner) {
            let implementation = &variant.implementations()[0];
            for elem in common::elems(&device) {
                common::check(&device, &variant, implementation, elem, 11);
            }
        }
    }
    assert_eq!(variants::all(1, 1, 1).len(), wgsl_files(), "a file of benches/variants is not among the variants");
}

fn wgsl_files() -> usize {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/variants");
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "wgsl"))
        .count()
}
