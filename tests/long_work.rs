//! Work that takes long: cut into parts, told while it runs, refused where memory does not suffice.

mod common;

use std::sync::{Arc, Mutex};

use common::binary::{Place, finish};
use common::{Seeded, golden_array, golden_file, open_adapter};
use zsas::kernels::{Tier, every_kernel, sample};
use zsas::models::Sam;
use zsas::run::{Progress, SubmitLimits};
use zsas::{Array, Code, DType, Device, DeviceOptions, Error, Graph, Precision, Program};

fn sam() -> Sam {
    Sam::load(&golden_file("sam/tiny")).unwrap()
}

fn pixels() -> Array {
    golden_array("sam/forward.safetensors", "pixel_values")
}

fn encoder(device: &Device, sam: &Sam) -> Result<Program, Error> {
    let graph = Graph::new(Precision::F32);
    let embedding = sam.image_encoder.forward(graph.input("pixels", pixels().shape()));
    Program::compile(device, &graph, &[embedding])
}

fn encode(device: &Device) -> Array {
    encoder(device, &sam()).unwrap().run(&[&pixels()]).unwrap().remove(0)
}

fn open(submit_limits: Option<SubmitLimits>, tier: Tier) -> Device {
    open_adapter(DeviceOptions { submit_limits, tier: Some(tier), ..DeviceOptions::default() })
}

/// The shares and weights a device tells while it encodes.
fn told(device: &Device) -> Vec<(f64, String)> {
    let told: Arc<Mutex<Vec<(f64, String)>>> = Arc::default();
    let keep = Arc::clone(&told);
    device.observe(Some(Arc::new(move |progress: Progress<'_>| keep.lock().unwrap().push((progress.share, progress.at.to_owned())))));
    encode(device);
    device.observe(None);
    let found = told.lock().unwrap().clone();
    encode(device);
    assert_eq!(*told.lock().unwrap(), found, "nobody is told any more");
    found
}

/// A dispatch for each workgroup or two, one or few of them in a submission: to the bit what a few long ones give.
#[test]
fn parts_give_what_the_whole_gives() {
    let Some(device) = common::adapter("parts_give_what_the_whole_gives") else { return };
    let own = device.adapter().map(|adapter| adapter.tier).filter(|&tier| tier == Tier::Subgroup);
    for tier in [Tier::Plain, Tier::Software].into_iter().chain(own) {
        let whole = open(None, tier);
        let parts = open(Some(SubmitLimits { dispatch: 2_000, submission: 20_000 }), tier);
        assert_eq!(encode(&whole), encode(&parts), "{tier:?}");
        let (of_whole, of_parts) = (told(&whole).len(), told(&parts).len());
        assert!(of_whole == 1 && of_parts > 100, "{tier:?}: {of_whole} and {of_parts} submissions");
    }
}

/// A kernel for which the parts of a launch were not told apart would write its first elements only, or twice.
#[test]
fn every_kernel_can_go_out_in_parts() {
    let Some(whole) = common::adapter("every_kernel_can_go_out_in_parts") else { return };
    let submit_limits = Some(SubmitLimits { dispatch: 30_000, submission: u64::MAX });
    let parts = open_adapter(DeviceOptions { submit_limits, ..DeviceOptions::default() });
    let mut seeded = Seeded::new(7);
    for kernel in every_kernel() {
        let inputs = sample(&*kernel, DType::F32, &mut seeded);
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        for implementation in common::runnable(whole, &*kernel).iter().filter(|one| one.serves(DType::F32)) {
            let [whole, parts] = [whole, &parts].map(|device| device.launch(&*kernel, implementation, DType::F32, &inputs).unwrap());
            let bits = |output: &[f32]| output.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(
                parts.guards_intact && bits(&whole.output) == bits(&parts.output),
                "{kernel:?} by shaders/{}.wgsl",
                implementation.file
            );
        }
    }
}

#[test]
fn whoever_waits_is_told_which_block_was_reached() {
    let Some(_) = common::adapter("whoever_waits_is_told_which_block_was_reached") else { return };
    let few = open(Some(SubmitLimits { dispatch: u64::MAX, submission: 200_000 }), Tier::Software);
    for (what, device) in [("an adapter", few), ("the CPU", common::cpu().clone()), ("the reference", Device::reference())] {
        let told = told(&device);
        assert!(told.is_sorted_by(|a, b| a.0 <= b.0) && told.last().unwrap().0 == 1.0, "{what}: {told:?}");
        assert!(told.iter().all(|(_, at)| at.is_empty() || at.starts_with("vision_encoder.")), "{what}: {told:?}");
        for block in 0..4 {
            let name = format!("vision_encoder.layers.{block}.");
            assert!(told.iter().any(|(_, at)| at.starts_with(&name)), "{what}: {name} in {told:?}");
        }
    }
}

#[test]
fn memory_is_counted_before_anything_is_allocated() {
    let Some(_) = common::adapter("memory_is_counted_before_anything_is_allocated") else { return };
    let sam = sam();
    let free = open_adapter(DeviceOptions::default());
    let program = encoder(&free, &sam).unwrap();
    let held = free.allocated_bytes();
    // Beside the tensors, buffers are rounded up to 16 bytes, and there are 256 bytes of parameters for each launch and each dispatch.
    let plan = program.plan();
    let buffers = plan.uploads.len() + plan.slots.len() + plan.inputs.len() + plan.outputs.len();
    let beside = (2 * 256 * plan.nodes.len() + 16 * buffers) as u64;

    let allowing = |memory| open_adapter(DeviceOptions { memory: Some(memory), ..DeviceOptions::default() });
    assert!(encoder(&allowing(held), &sam).is_ok());
    let tight = allowing(held - beside - 16);
    let error = encoder(&tight, &sam).err().expect("refused");
    assert_eq!((error.code(), tight.allocated_bytes()), (Code::GpuMemory, 0), "{error}");
    assert!(error.message().contains("the largest of its tensors is that of") && error.message().contains("image_encoder.rs"), "{error}");
    // Weights that are already there count once.
    let twice = allowing(held);
    let first = encoder(&twice, &sam).unwrap();
    assert_eq!(encoder(&twice, &sam).err().map(|error| error.code()), Some(Code::GpuMemory));
    drop(first);
    assert!(encoder(&twice, &sam).is_ok());
}

#[test]
fn the_environment_says_how_much_memory_there_may_be() {
    let place = Place::with_photos(&["a.png"]);
    let run = |memory: &str| {
        finish(
            place
                .command()
                .args(["infer", "a.png", "--output", "out", "--overwrite"])
                .env("ZSAS_GPU_MEMORY", memory),
        )
    };
    run("4000").exits(0);
    run("1").exits(1).says("more than the 1000000 allowed").says("hint: raise $ZSAS_GPU_MEMORY");
    for wrong in ["abc", "-1", "1.5", "99999999999999999999"] {
        run(wrong).exits(2).says("whole number of megabytes");
    }
}
