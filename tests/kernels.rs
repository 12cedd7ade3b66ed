//! Every implementation of every kernel, on the adapter and on the CPU, against its f64 reference: within derived bounds, on odd sizes, and able to fail.

mod common;

use std::collections::BTreeMap;
use std::sync::Mutex;

use zsas::kernels::{
    Activation, Attention, Conv2d, HeadLayout, Implementation, Kernel, LayerNorm, Logit, NormalizeRows, Selection, Softmax, TopMean, Unary,
    every_kernel, sample,
};
use zsas::run::{expected, worst};
use zsas::{DType, Device, DeviceOptions};

#[test]
fn every_kernel_equals_its_reference() {
    if let Some(device) = common::adapter("every_kernel_equals_its_reference") {
        hold_every_kernel(device);
    }
}

#[test]
fn every_native_form_equals_its_reference() {
    hold_every_kernel(common::cpu());
}

/// Instances are many; a thread for each core keeps it busy while pipelines compile.
fn hold_every_kernel(device: &Device) {
    let all = every_kernel();
    // By kernel and operand: whether a change of it was noticed in any instance.
    let noticed: Mutex<BTreeMap<(&str, &str), bool>> = Mutex::default();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(kernel) = all.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    for implementation in common::runnable(device, &**kernel) {
                        for elem in common::elems(device).into_iter().filter(|&elem| implementation.serves(elem)) {
                            let moving = common::check(device, &**kernel, &implementation, elem, 7);
                            let operands = kernel.operands();
                            for operand in operands.iter().take(operands.len() - 1).filter(|operand| operand.len > 0) {
                                *noticed.lock().unwrap().entry((kernel.name(), operand.name)).or_default() |=
                                    moving.contains(&operand.name);
                            }
                        }
                    }
                }
            });
        }
    });
    let ignored: Vec<_> = noticed.into_inner().unwrap().into_iter().filter(|(_, is_noticed)| !is_noticed).collect();
    assert!(ignored.is_empty(), "no change of these moves the reference in any instance, so neither side may read them: {ignored:?}");
}

#[test]
fn the_same_launch_twice_is_bit_identical() {
    let Some(device) = common::adapter("the_same_launch_twice_is_bit_identical") else { return };
    let mut seeded = common::Seeded::new(3);
    for kernel in every_kernel() {
        let inputs = sample(&*kernel, DType::F32, &mut seeded);
        assert!(bits_on(device, &*kernel, &inputs) == bits_on(device, &*kernel, &inputs), "{kernel:?}");
    }
}

/// Bits of the output of the implementation that a device uses.
fn bits_on(device: &Device, kernel: &dyn Kernel, inputs: &[Vec<f32>]) -> Vec<u32> {
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let implementation = device.implementation(kernel, DType::F32);
    let output = device.launch(kernel, &implementation, DType::F32, &inputs).unwrap().output;
    output.into_iter().map(f32::to_bits).collect()
}

/// What a call computes follows from sizes alone.
#[test]
fn native_forms_give_the_same_bytes_on_any_number_of_threads() {
    let devices = [1, 2, 5].map(|threads| common::open_cpu(DeviceOptions { threads: Some(threads), ..DeviceOptions::default() }));
    let mut seeded = common::Seeded::new(4);
    for kernel in every_kernel() {
        let inputs = sample(&*kernel, DType::F32, &mut seeded);
        let bits = devices.each_ref().map(|device| bits_on(device, &*kernel, &inputs));
        assert!(bits[0] == bits[1] && bits[0] == bits[2], "{kernel:?}");
    }
}

#[test]
fn in_native_forms_a_nan_stays_in_its_row() {
    let (rows, cols) = (3, 70);
    let mut x: Vec<f32> = (0..rows * cols).map(|at| (at % 17) as f32 * 0.25 - 2.0).collect();
    x[cols + 5] = f32::NAN;
    let ones = vec![1.0; cols];
    let elementwise = |activation| Unary { activation, scale: 1.0, offset: 0.0, len: rows * cols };
    /// A kernel, its inputs, and how many elements of the row are NaN.
    type Case<'a> = (Box<dyn Kernel>, Vec<&'a [f32]>, usize);
    let kernels: Vec<Case<'_>> = Activation::ALL
        .into_iter()
        .map(|activation| (Box::new(elementwise(activation)) as Box<dyn Kernel>, vec![&x[..]], 1))
        .chain([
            (Box::new(Softmax { rows, cols }) as Box<dyn Kernel>, vec![&x[..]], cols),
            (Box::new(LayerNorm { rows, cols, eps: 1e-5 }), vec![&x, &ones, &ones], cols),
            (Box::new(NormalizeRows { rows, cols, eps: 1e-12 }), vec![&x], cols),
            (Box::new(Logit { eps: 1e-3, len: rows * cols }), vec![&x], 1),
            (Box::new(TopMean { selection: Selection::Smallest, rows, cols, count: 9 }), vec![&x], 1),
        ])
        .collect();
    for (kernel, inputs, lost) in kernels {
        let implementation = common::cpu().implementation(&*kernel, DType::F32);
        let y = common::cpu().launch(&*kernel, &implementation, DType::F32, &inputs).unwrap().output;
        let found: Vec<usize> = (0..y.len()).filter(|&at| y[at].is_nan()).map(|at| at * rows / y.len()).collect();
        assert_eq!(found, vec![1; lost], "{kernel:?}");
    }
}

#[test]
fn the_cpu_refuses_f16() {
    let kernel = Softmax { rows: 2, cols: 3 };
    let refused = common::cpu().launch(&kernel, &Implementation::native(), DType::F16, &[&[0.0; 6]]);
    assert_eq!(refused.unwrap_err().code(), zsas::Code::NoAdapter);
}

#[test]
fn the_comparison_knows_nan_infinity_and_a_bound_overstepped() {
    let (values, bounds) = (vec![1.0, 2.0, 3.0], vec![0.1, 0.1, 0.1]);
    assert_eq!(worst(&[1.0, 2.05, 3.0], &values, &bounds), None);
    assert_eq!(worst(&[1.0, 2.2, 3.4], &values, &bounds), Some(2));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(worst(&[1.0, bad, 3.0], &values, &bounds), Some(1));
    }
    assert_eq!(worst(&[1.0], &[f64::NAN], &[0.1]), Some(0));
}

/// What can run a kernel: the files on the adapter, the native form on the CPU.
fn on_all_devices(test: &str, kernel: &dyn Kernel) -> Vec<(&'static Device, Implementation)> {
    let devices = common::adapter(test).into_iter().chain([common::cpu()]);
    devices
        .flat_map(|device| common::runnable(device, kernel).into_iter().map(move |one| (device, one)))
        .collect()
}

/// Zeros of the padding are zeros, whatever the first pixel holds: 0 · ∞ would be NaN.
#[test]
fn padding_is_zero_beside_an_infinite_pixel() {
    let conv = Conv2d {
        batch: 2,
        height: 4,
        width: 4,
        channels_in: 4,
        channels_out: 4,
        kernel: (3, 3),
        stride: 1,
        padding: 1,
        has_bias: false,
        has_residual: false,
        activation: Activation::Identity,
    };
    let mut x = vec![1.0; 2 * 4 * 4 * 4];
    x[0] = f32::INFINITY;
    let weight = vec![0.5; 3 * 3 * 4 * 4];
    for (device, implementation) in on_all_devices("padding_is_zero_beside_an_infinite_pixel", &conv) {
        let elem = implementation.elem.unwrap_or(DType::F32);
        if !common::elems(device).contains(&elem) {
            continue;
        }
        let output = device.launch(&conv, &implementation, elem, &[&x, &weight, &[], &[]]).unwrap().output;
        let (first, second) = output.split_at(output.len() / 2);
        assert!(first[0].is_infinite(), "{}: {}", implementation.file, first[0]);
        assert!(second.iter().all(|value| value.is_finite()), "{}: {second:?}", implementation.file);
    }
}

/// Scores that rise by far more than a level of `attention_matrix` bears, step after step, and ranges that begin late.
#[test]
fn attention_follows_scores_that_rise() {
    let queries = 20;
    // 1030 keys are three blocks of the native form.
    for (head_dim, keys) in [(16, 130), (80, 130), (16, 1030)] {
        let layout = HeadLayout { stride: head_dim, offset: 0 };
        let attention = Attention {
            queries,
            keys,
            heads: 1,
            head_dim,
            q: layout,
            k: layout,
            v: layout,
            grid: None,
            pairs: queries * keys,
        };
        // The score of key j is about j / 2 for heads of 16, j for heads of 80.
        let q = vec![2.0; queries * head_dim];
        let k: Vec<f32> = (0..keys * head_dim).map(|at| (at / head_dim) as f32 / 16.0).collect();
        let v: Vec<f32> = (0..keys * head_dim).map(|at| (at * 37 % 101) as f32 / 32.0 - 1.5).collect();
        let ranges = (0..queries)
            .flat_map(|query| [(query * 6) as f32, if query % 5 == 4 { 0.0 } else { keys as f32 }])
            .collect();
        let inputs: [Vec<f32>; 6] = [q, k, v, ranges, vec![], vec![]];
        let borrowed: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        for (device, implementation) in on_all_devices("attention_follows_scores_that_rise", &attention) {
            for elem in common::elems(device).into_iter().filter(|&elem| implementation.serves(elem)) {
                let output = device.launch(&attention, &implementation, elem, &borrowed).unwrap().output;
                let (values, bounds) = expected(&attention, elem, implementation.factors(), &borrowed);
                assert_eq!(worst(&output, &values, &bounds), None, "{} in {elem}", implementation.file);
                let late: Vec<f32> = output.iter().rev().copied().collect();
                assert!(worst(&late, &values, &bounds).is_some(), "this check cannot fail");
            }
        }
    }
}
