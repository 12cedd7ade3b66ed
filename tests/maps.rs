//! Maps and masks that other programs wrote, which `tools/golden_maps.py` makes, and the sizes that headers of photos announce.

use std::path::{Path, PathBuf};

use zsas::image::{Mask, Palette, ReadOptions, read_map, read_mask};
use zsas::{Array, Code};

const ROWS: usize = 18;
const COLUMNS: usize = 20;

fn golden(folder: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder).join(name)
}

fn map_of(value: impl Fn(usize, usize) -> f32) -> Array {
    Array::new([ROWS, COLUMNS], (0..ROWS * COLUMNS).map(|at| value(at / COLUMNS, at % COLUMNS)).collect())
}

/// Names of golden files in a folder, sorted.
fn names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(golden(folder, "")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn floats_of_any_width_order_compression_and_tiling_are_read_exactly() {
    // 18 + 31 / 32 needs 10 of the 11 bits that an f16 has.
    let expected = map_of(|row, column| row as f32 + column as f32 / 32.0);
    let files: Vec<String> = names("maps")
        .into_iter()
        .filter(|name| !name.starts_with("refused") && !name.starts_with("whole"))
        .collect();
    assert_eq!(files.len(), 15, "{files:?}");
    for name in files {
        assert_eq!(read_map(&golden("maps", &name)).unwrap(), expected, "{name}");
    }
}

#[test]
fn whole_numbers_become_0_to_1_by_their_depth() {
    // 257 v / 65535 = v / 255, rounded to f32 alike.
    let expected = map_of(|row, column| (row * 12 + column) as f32 / 255.0);
    for name in ["whole_8.png", "whole_16.png", "whole_16.tiff"] {
        assert_eq!(read_map(&golden("maps", name)).unwrap(), expected, "{name}");
    }
}

#[test]
fn what_is_no_map_is_refused_and_says_why() {
    let cases = [
        ("refused_nan.npy", Code::Nonfinite, "NaN in row 7, column 3"),
        ("refused_infinite.tiff", Code::Nonfinite, "-inf in row 7, column 3"),
        ("refused_beyond_f32.npy", Code::Nonfinite, "inf in row 0, column 1"),
        ("refused_three_maps.npy", Code::Decode, "[3, 18, 20]"),
        ("refused_whole.npy", Code::Decode, "`|u1`, not floats"),
        ("refused_two_pages.tiff", Code::Decode, "holds 2"),
        ("refused_colours.png", Code::Decode, "has 3"),
        ("refused_format.bmp", Code::Decode, "holds no maps"),
    ];
    assert_eq!(names("maps").iter().filter(|name| name.starts_with("refused")).count(), cases.len());
    for (name, code, what) in cases {
        let error = read_map(&golden("maps", name)).unwrap_err();
        assert_eq!(error.code(), code, "{name}: {error}");
        assert!(error.message().contains(what), "{name}: {error}");
        assert!(format!("{error:#}").contains(name), "{error:#}");
    }
    assert_eq!(read_map(&golden("maps", "no.npy")).unwrap_err().code(), Code::NotFound);
    assert_eq!(read_map(&golden("maps", "../maps")).unwrap_err().code(), Code::Decode);
}

#[test]
fn a_map_cut_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tifffile_f16.tiff", "libtiff_f32_lzw_predictor3.tif", "numpy_f4.npy", "whole_16.png"] {
        let whole = std::fs::read(golden("maps", name)).unwrap();
        let file = folder.path().join(name);
        // A prime step meets every kind of field.
        for length in (0..whole.len()).step_by(7) {
            std::fs::write(&file, &whole[..length]).unwrap();
            // tifffile writes what describes the file behind the pixels of this one: a cut there takes nothing of the map.
            if let Ok(map) = read_map(&file) {
                assert!(name.ends_with("tiff") || name.ends_with("tif"), "{name} cut to {length}");
                assert_eq!(map, read_map(&golden("maps", name)).unwrap(), "{name} cut to {length}");
            }
        }
    }
}

#[test]
fn a_tiff_that_announces_a_huge_map_is_refused_by_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("huge.tiff");
    let honest = std::fs::read(golden("maps", "pillow_f32.TIFF")).unwrap();
    // Entries of the directory: tag, type 4 (u32) or 3 (u16), one value.
    let set = |bytes: &mut Vec<u8>, tag: u16, value: u32| {
        let is_entry = |entry: &[u8]| entry[..2] == tag.to_le_bytes() && matches!(entry[2], 3 | 4) && entry[4..8] == [1, 0, 0, 0];
        let at = bytes.windows(12).position(is_entry).unwrap();
        bytes[at + 2] = 4;
        bytes[at + 8..at + 12].copy_from_slice(&value.to_le_bytes());
    };
    for (width, height, code) in [(60_000, 60_000, Code::TooLarge), (u32::MAX, u32::MAX, Code::TooLarge), (11_000, 11_000, Code::Decode)] {
        let mut bytes = honest.clone();
        set(&mut bytes, 256, width);
        set(&mut bytes, 257, height);
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(read_map(&file).unwrap_err().code(), code, "{width}×{height}");
    }
}

#[test]
fn the_size_that_a_header_announces_is_that_of_the_decoded_photo() {
    let (mut compared, mut turned) = (0, 0);
    for ignore_orientation in [false, true] {
        let mut options = ReadOptions { ignore_orientation, ..ReadOptions::default() };
        options.limits.min_side = 1;
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")).unwrap() {
            let file = entry.unwrap().path();
            let Ok(decoded) = options.open(&file) else { continue };
            let announced = options.announced_size(&file).unwrap();
            assert_eq!((announced.width, announced.height), (decoded.image.width(), decoded.image.height()), "{}", file.display());
            assert!(!announced.is_turned || !ignore_orientation && file.to_str().unwrap().contains("orientation"));
            (compared, turned) = (compared + 1, turned + usize::from(announced.is_turned));
        }
    }
    assert!(compared >= 40 && turned == 3, "{compared} files, {turned} turned");
}

/// The mask of `tools/golden_maps.py`.
fn marks() -> Mask {
    Mask::new(5, 4, (0..20).map(|at| [6, 7, 12].contains(&at)).collect())
}

#[test]
fn a_mask_of_any_depth_and_kind_marks_what_is_not_0() {
    let read = |name: &str, palette| read_mask(&golden("masks", name), palette, &ReadOptions::default()).unwrap();
    for name in names("masks") {
        let (palette, values) = match name.as_str() {
            "empty.png" | "palette_green_first.png" | "antialiased.png" => continue,
            "kinds.png" | "palette_black_first.png" | "palette_black_first.tiff" => (Palette::Colors, 2),
            _ => (Palette::Colors, 1),
        };
        let file = read(&name, palette);
        assert_eq!((&file.mask, file.values), (&marks(), values), "{name}");
        assert_eq!(file.transparent, if name == "rgba_marked_transparent.png" { 3 } else { 0 }, "{name}");
    }
    assert_eq!((read("empty.png", Palette::Colors).mask.area(), read("empty.png", Palette::Colors).values), (0, 0));
    assert_eq!(read("antialiased.png", Palette::Colors).values, 2);
    assert_eq!(read("antialiased.png", Palette::Colors).mask.area(), 4);
}

#[test]
fn indices_of_a_palette_count_where_they_are_asked_for() {
    let read = |name: &str, palette| read_mask(&golden("masks", name), palette, &ReadOptions::default()).unwrap();
    for name in ["palette_black_first.png", "palette_black_first.tiff", "palette_green_first.png"] {
        let file = read(name, Palette::Indices);
        assert_eq!((&file.mask, file.values), (&marks(), if name.starts_with("palette_b") { 2 } else { 1 }), "{name}");
    }
    // The other way round, each marks what it should not.
    assert_eq!(read("palette_green_first.png", Palette::Colors).mask.area(), 20);
    assert_eq!(read("palette_white_first.png", Palette::Indices).mask.area(), 17);
}

#[test]
fn a_mask_is_turned_upright_unless_orientation_is_ignored() {
    let options = ReadOptions { ignore_orientation: true, ..ReadOptions::default() };
    let file = golden("masks", "orientation6.png");
    let stored = read_mask(&file, Palette::Colors, &options).unwrap().mask;
    assert_eq!((stored.width(), stored.height(), stored.area()), (4, 5, 3));
    assert_eq!(read_mask(&file, Palette::Colors, &ReadOptions::default()).unwrap().mask, marks());
}
