//! What the test files share: the device under test, golden texts, seeded numbers, and the one comparison everybody must use.

#![allow(dead_code, unused_imports, unused_macros, reason = "each test file uses its own part")]

pub mod binary;
pub mod clip;
pub mod dino;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use zsas::image::Rgb;
use zsas::kernels::{Implementation, Kernel, Tier, sample};
use zsas::models::clip::Clip;
use zsas::run::{expected, worst};
pub use zsas::tensor::Seeded;
use zsas::weights::Checkpoint;
use zsas::{Array, DType, Device, DeviceChoice, DeviceOptions};

/// The device that models and methods are tested on, opened once: a GPU, else the CPU.
pub fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| open(DeviceOptions::default()))
}

/// The CPU, opened once.
pub fn cpu() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| open_cpu(DeviceOptions::default()))
}

/// The adapter that kernels are tested on, opened once: a GPU, else a software adapter; `None` where the machine has none, and the test says
/// so by name.
pub fn adapter(test: &str) -> Option<&'static Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let device = DEVICE.get_or_init(|| adapter_choice().map(|choice| open(DeviceOptions { choice, ..DeviceOptions::default() })));
    if device.is_none() {
        skip(test, "adapter");
    }
    device.as_ref()
}

/// How the adapter under test is chosen; `None` where the machine has none.
pub fn adapter_choice() -> Option<DeviceChoice> {
    static CHOICE: OnceLock<Option<DeviceChoice>> = OnceLock::new();
    let found = CHOICE.get_or_init(|| {
        let all = zsas::run::adapters();
        if all.iter().any(|adapter| !adapter.is_software()) {
            Some(DeviceChoice::Auto)
        } else {
            (!all.is_empty()).then_some(DeviceChoice::Index(0))
        }
    });
    found.clone()
}

/// Opens the adapter under test with options of its own.
pub fn open_adapter(options: DeviceOptions) -> Device {
    open(DeviceOptions { choice: adapter_choice().expect("a test that needs an adapter asks for it first"), ..options })
}

/// Opens the CPU with options of its own.
pub fn open_cpu(options: DeviceOptions) -> Device {
    open(DeviceOptions { choice: DeviceChoice::Cpu, ..options })
}

/// Opens a device that this machine has.
pub fn open(options: DeviceOptions) -> Device {
    Device::open(&options).unwrap()
}

/// Says by name that a test passes unrun, as this machine lacks something; fails it where `$ZSAS_TEST_NEEDS` lists that: `adapter,f16`.
pub fn skip(test: &str, lacking: &str) {
    let needed = std::env::var("ZSAS_TEST_NEEDS").unwrap_or_default();
    assert!(!needed.split(',').any(|one| one.trim() == lacking), "`{test}` needs {lacking}, and this machine has none");
    eprintln!("skipped: `{test}` needs {lacking}");
}

/// Whether the adapter stores f16; where not, the test is skipped.
pub fn has_f16(test: &str, device: &Device) -> bool {
    let found = elems(device).contains(&DType::F16);
    if !found {
        skip(test, "f16");
    }
    found
}

/// The storages of the adapter under test.
pub fn elems(device: &Device) -> Vec<DType> {
    let f16 = device.adapter().is_some_and(|adapter| adapter.f16);
    if f16 { vec![DType::F32, DType::F16] } else { vec![DType::F32] }
}

/// The implementations of a kernel that this device can run: on the CPU the native form; on an adapter those for matrix units on emulated
/// ones where it has none, those for subgroups where it has them.
pub fn runnable(device: &Device, kernel: &dyn Kernel) -> Vec<Implementation> {
    if device.is_cpu() {
        return vec![Implementation::native()];
    }
    let is_of = |tier| device.adapter().is_some_and(|adapter| adapter.tier == tier);
    let (has_units, has_subgroups) = (is_of(Tier::Matrix), is_of(Tier::Subgroup));
    let all = kernel.implementations().into_iter().filter(|one| one.tier != Tier::Subgroup || has_subgroups);
    all.map(|one| if one.tier == Tier::Matrix && !has_units { one.emulated() } else { one }).collect()
}

/// Compares with a text in `tests/golden/`; `UPDATE_GOLDEN=1` rewrites it, for review in the diff.
#[track_caller]
pub fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let accept = concat!("accept with: UPDATE_GOLDEN=1 cargo test --release --locked --test ", env!("CARGO_CRATE_NAME"));
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}\n{accept}", path.display()));
    let same = golden.split('\n').zip(text.split('\n')).take_while(|(old, new)| old == new).count();
    let [old, new] = [&golden, text].map(|text| text.split('\n').nth(same).unwrap_or("(the end)"));
    assert!(golden == text, "tests/golden/{name}:{}: `{old}` became `{new}`\n{accept}", same + 1);
}

/// A file of `tests/golden/` that a reference program wrote.
#[track_caller]
pub fn golden_file(name: &str) -> Checkpoint {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let regenerate = "regenerate with: python tools/golden.py, or tools/golden_clip.py for what is built on CLIP";
    Checkpoint::open(path).unwrap_or_else(|error| panic!("{error:?}\n{regenerate}"))
}

/// A tensor of such a file.
#[track_caller]
pub fn golden_array(file: &str, name: &str) -> Array {
    let file = golden_file(file);
    let shape = file.shape(name).unwrap_or_else(|| panic!("`{}` holds no `{name}`", file.name()));
    file.root().weight(name, shape).unwrap().to_array().unwrap()
}

/// A photo that methods are held to: `textile`, `wide`, or `reference_1` to `reference_4`.
pub fn photo(name: &str) -> Rgb {
    let path = format!("{}/tests/golden/methods/{name}.png", env!("CARGO_MANIFEST_DIR"));
    Rgb::open(path).unwrap()
}

/// Every fifth pixel of every fifth row, as goldens keep maps.
pub fn thinned(map: &Array) -> Array {
    every(map, 5)
}

/// Every `step`-th pixel of every `step`-th row.
pub fn every(map: &Array, step: usize) -> Array {
    let [height, width] = map.shape().axes();
    let data = (0..height)
        .step_by(step)
        .flat_map(|y| (0..width).step_by(step).map(move |x| map.data()[y * width + x]));
    Array::new([height.div_ceil(step), width.div_ceil(step)], data.collect())
}

/// The tiny CLIP that the methods on it are held to: 5 × 5 patches, 2 blocks, 3 heads.
pub fn tiny() -> Clip {
    Clip::load(&golden_file("clip/tiny")).unwrap()
}

/// Runs one implementation of a kernel on the device and holds it to its reference.
///
/// The output is poisoned with NaN and lies between guard bands; inputs are followed by NaN. Then the check must fail on purpose: with one
/// output element moved past its bound, and with one element of each input changed, where that moves the reference's own output. Returns
/// the names of the inputs that do: a test over all instances of a kernel holds that each input is one of them somewhere.
pub fn check(device: &Device, kernel: &dyn Kernel, implementation: &Implementation, elem: DType, seed: u64) -> Vec<&'static str> {
    let mut seeded = Seeded::new(seed);
    let inputs = sample(kernel, elem, &mut seeded);
    check_on(device, kernel, implementation, elem, &inputs, &mut seeded)
}

/// As [`check`], on given inputs.
pub fn check_on(
    device: &Device,
    kernel: &dyn Kernel,
    implementation: &Implementation,
    elem: DType,
    inputs: &[Vec<f32>],
    seeded: &mut Seeded,
) -> Vec<&'static str> {
    let what = format!("{kernel:?} by `{}` in {elem}", implementation.file);
    let borrowed: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let launched = device
        .launch(kernel, implementation, elem, &borrowed)
        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert!(launched.guards_intact, "{what} wrote outside its output");
    let (values, bounds) = expected(kernel, elem, implementation.factors(), &borrowed);
    assert!(
        values.iter().chain(&bounds).all(|x| x.is_finite()),
        "{what}: the reference left an element unwritten, or its bound is not finite"
    );
    if let Some(at) = worst(&launched.output, &values, &bounds) {
        panic!("{what}: element {at} is {} on the device, {} by the reference, bound {:e}", launched.output[at], values[at], bounds[at]);
    }
    must_fail_on_a_moved_output(&what, &launched.output, &values, &bounds, seeded);
    let given = inputs.iter().enumerate().filter(|(_, input)| !input.is_empty());
    given
        .filter(|(at, input)| {
            must_fail_on_a_changed_input(
                &what,
                kernel,
                [elem, implementation.factors()],
                inputs,
                (*at, input.len()),
                &launched.output,
                seeded,
            )
        })
        .map(|(at, _)| kernel.operands()[at].name)
        .collect()
}

fn must_fail_on_a_moved_output(what: &str, output: &[f32], values: &[f64], bounds: &[f64], seeded: &mut Seeded) {
    let at = seeded.bits() as usize % output.len();
    let mut moved = output.to_vec();
    moved[at] = (values[at] + 1.01 * bounds[at] + 1e-6 * values[at].abs() + 1e-30) as f32;
    assert_eq!(worst(&moved, values, bounds), Some(at), "{what}: this check cannot fail at output {at}");
    moved[at] = f32::NAN;
    assert_eq!(worst(&moved, values, bounds), Some(at), "{what}: this check lets NaN pass at output {at}");
}

/// Whether a change of an input moves the reference, and is then noticed.
fn must_fail_on_a_changed_input(
    what: &str,
    kernel: &dyn Kernel,
    [elem, factors]: [DType; 2],
    inputs: &[Vec<f32>],
    (operand, len): (usize, usize),
    output: &[f32],
    seeded: &mut Seeded,
) -> bool {
    let (truth, _) = expected(kernel, elem, factors, &inputs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut moves = false;
    for attempt in 0..12 {
        let at = seeded.bits() as usize % len;
        let mut changed = inputs.to_vec();
        let step = [3.0, -3.0, 40.0, -40.0][attempt % 4];
        changed[operand][at] = DType::F16.round(f64::from(changed[operand][at]) + step) as f32;
        let (values, bounds) = expected(kernel, elem, factors, &changed.iter().map(Vec::as_slice).collect::<Vec<_>>());
        moves |= values != truth;
        if worst(output, &values, &bounds).is_some() {
            return true;
        }
    }
    let name = kernel.operands()[operand].name;
    assert!(!moves, "{what}: this check cannot fail: a changed `{name}` passes");
    false
}
