//! Several runs of a program under way at once, and values that stay on the device between programs.

mod common;

use std::sync::Barrier;

use common::{Seeded, open_adapter as open, open_cpu};
use rayon::prelude::*;
use zsas::graph::Epilogue;
use zsas::kernels::sample_numbers;
use zsas::run::{Input, SubmitLimits};
use zsas::weights::Weight;
use zsas::{Array, Code, Device, DeviceOptions, Graph, Precision, Program, Tensor};

const SIDE: usize = 96;

fn numbers(seed: u64) -> Array {
    Array::new([SIDE, SIDE], sample_numbers(SIDE * SIDE, zsas::DType::F32, &mut Seeded::new(seed)))
}

/// Products and softmaxes in turn: long enough that runs of two threads meet.
fn chain<'g>(x: Tensor<'g>, weight: Tensor<'g>) -> Tensor<'g> {
    (0..12).fold(x, |x, _| x.matmul(weight, Epilogue::default()).softmax() + x)
}

fn compile(device: &Device) -> Program {
    let graph = Graph::new(Precision::F32);
    let weight = Weight::from_array("w", numbers(1));
    let result = chain(graph.input("x", [SIDE, SIDE]), graph.weight(&weight));
    Program::compile(device, &graph, &[result]).unwrap()
}

fn bits(array: &Array) -> Vec<u32> {
    array.data().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn runs_of_several_threads_give_the_bits_of_one() {
    let Some(_) = common::adapter("runs_of_several_threads_give_the_bits_of_one") else { return };
    // Many submissions each, so that those of the threads lie between each other.
    let submit_limits = Some(SubmitLimits { dispatch: 200_000, submission: 1_000_000 });
    for runs_at_once in [1, 3] {
        let device = open(DeviceOptions { submit_limits, runs_at_once: Some(runs_at_once), ..DeviceOptions::default() });
        let program = compile(&device);
        let inputs: Vec<Array> = (0..4).map(numbers).collect();
        let alone: Vec<Vec<u32>> = inputs.iter().map(|input| bits(&program.run(&[input]).unwrap()[0])).collect();
        assert!(alone.windows(2).all(|pair| pair[0] != pair[1]), "each input has a result of its own");
        let held = device.allocated_bytes();
        let begin = Barrier::new(inputs.len());
        std::thread::scope(|scope| {
            for (input, alone) in inputs.iter().zip(&alone) {
                let (program, begin) = (&program, &begin);
                scope.spawn(move || {
                    begin.wait();
                    for _ in 0..15 {
                        assert_eq!(&bits(&program.run(&[input]).unwrap()[0]), alone);
                    }
                });
            }
        });
        assert_eq!(device.allocated_bytes() > held, runs_at_once > 1, "further runs have buffers of their own");
    }
}

#[test]
fn a_submitted_run_goes_on_beside_others_and_may_be_dropped() {
    let Some(_) = common::adapter("a_submitted_run_goes_on_beside_others_and_may_be_dropped") else { return };
    let device = open(DeviceOptions { runs_at_once: Some(2), ..DeviceOptions::default() });
    let program = compile(&device);
    let (a, b) = (numbers(2), numbers(3));
    let alone = [&a, &b].map(|input| bits(&program.run(&[input]).unwrap()[0]));
    let first = program.submit(&[Input::from(&a)]).unwrap();
    let second = program.submit(&[Input::from(&b)]).unwrap();
    assert_eq!(bits(&second.wait().unwrap()[0]), alone[1], "the later one first");
    assert_eq!(bits(&first.wait().unwrap()[0]), alone[0]);
    drop(program.submit(&[Input::from(&a)]).unwrap());
    for _ in 0..3 {
        assert_eq!(bits(&program.run(&[&b]).unwrap()[0]), alone[1], "nothing of a dropped run is left");
    }
}

#[test]
fn without_memory_for_further_buffers_runs_wait_for_each_other() {
    let Some(_) = common::adapter("without_memory_for_further_buffers_runs_wait_for_each_other") else { return };
    let free = open(DeviceOptions::default());
    let program = compile(&free);
    let limit = free.allocated_bytes();
    let input = numbers(2);
    let alone = bits(&program.run(&[&input]).unwrap()[0]);
    let device = open(DeviceOptions { memory: Some(limit), runs_at_once: Some(4), ..DeviceOptions::default() });
    let program = compile(&device);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(bits(&program.run(&[&input]).unwrap()[0]), alone);
                    assert!(device.allocated_bytes() <= limit);
                }
            });
        }
    });
    assert_eq!(device.allocated_bytes(), limit);
}

#[test]
fn buffers_of_further_runs_are_given_back_for_another_program() {
    let Some(_) = common::adapter("buffers_of_further_runs_are_given_back_for_another_program") else { return };
    let free = open(DeviceOptions::default());
    let _one = compile(&free);
    let device = open(DeviceOptions { memory: Some(2 * free.allocated_bytes()), runs_at_once: Some(4), ..DeviceOptions::default() });
    let program = compile(&device);
    let single = device.allocated_bytes();
    let input = numbers(2);
    let pending: Vec<_> = (0..2).map(|_| program.submit(&[Input::from(&input)]).unwrap()).collect();
    for run in pending {
        run.wait().unwrap();
    }
    assert!(device.allocated_bytes() > single);
    let other = compile(&device);
    let expected = bits(&program.run(&[&input]).unwrap()[0]);
    assert_eq!(bits(&other.run(&[&input]).unwrap()[0]), expected);
}

#[test]
fn a_lost_device_ends_all_runs_under_way_and_those_that_wait() {
    let Some(_) = common::adapter("a_lost_device_ends_all_runs_under_way_and_those_that_wait") else { return };
    let device = open(DeviceOptions { runs_at_once: Some(2), ..DeviceOptions::default() });
    let program = compile(&device);
    let input = numbers(2);
    let begin = Barrier::new(5);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    begin.wait();
                    loop {
                        if let Err(error) = program.run(&[&input]) {
                            return error.code();
                        }
                    }
                })
            })
            .collect();
        begin.wait();
        program.run(&[&input]).unwrap();
        device.lose();
        for run in runs {
            assert_eq!(run.join().unwrap(), Code::DeviceLost);
        }
    });
    assert_eq!(device.fault().map(|fault| fault.code()), Some(Code::DeviceLost));
}

/// The CPU computes one run at a time; the others wait for its buffers.
#[test]
fn the_cpu_gives_threads_that_share_a_program_the_bits_of_one() {
    let device = open_cpu(DeviceOptions::default());
    let program = compile(&device);
    let inputs: Vec<Array> = (0..4).map(numbers).collect();
    let alone: Vec<Vec<u32>> = inputs.iter().map(|input| bits(&program.run(&[input]).unwrap()[0])).collect();
    let held = device.allocated_bytes();
    std::thread::scope(|scope| {
        for (input, alone) in inputs.iter().zip(&alone) {
            let program = &program;
            scope.spawn(move || (0..15).for_each(|_| assert_eq!(&bits(&program.run(&[input]).unwrap()[0]), alone)));
        }
    });
    assert_eq!(device.allocated_bytes(), held);
    device.lose();
    assert_eq!(program.run(&[&inputs[0]]).unwrap_err().code(), Code::DeviceLost);
}

#[test]
fn what_the_cpu_may_hold_is_counted_before_anything_is_read() {
    let on = |memory| open_cpu(DeviceOptions { memory, ..DeviceOptions::default() });
    let free = on(None);
    let program = compile(&free);
    let held = free.allocated_bytes();
    assert_eq!(held, 4 * (SIDE * SIDE) as u64 + program.plan().slot_bytes() as u64, "the weight and the buffers");
    drop(program);
    assert_eq!(free.allocated_bytes(), 0);
    let tight = on(Some(held - 1));
    let graph = Graph::new(Precision::F32);
    let weight = Weight::from_array("w", numbers(1));
    let result = chain(graph.input("x", [SIDE, SIDE]), graph.weight(&weight));
    let refused = Program::compile(&tight, &graph, &[result]).err().unwrap();
    assert_eq!((refused.code(), tight.allocated_bytes()), (Code::GpuMemory, 0), "{refused}");
    let half = Graph::new(Precision::Mixed);
    let result = half.weight(&weight).softmax();
    let refused = Program::compile(&free, &half, &[result]).err().unwrap();
    assert_eq!(refused.code(), Code::NoAdapter, "{refused}");
}

/// A worker that waits for the CPU takes up nothing else of its own pool, which might wait for the same buffers.
#[test]
fn a_program_on_the_cpu_runs_from_the_workers_of_another_pool() {
    let program = compile(common::cpu());
    let input = numbers(3);
    let alone = bits(&program.run(&[&input]).unwrap()[0]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    pool.install(|| {
        (0..60)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|_| assert_eq!(bits(&program.run(&[&input]).unwrap()[0]), alone))
    });
}

/// Two programs, the first of which leaves its results where the second reads them.
fn halves(device: &Device) -> (Program, Program) {
    let graph = Graph::new(Precision::F32);
    let weight = Weight::from_array("w", numbers(1));
    let x = graph.input("x", [SIDE, SIDE]);
    let first = Program::compile(device, &graph, &[chain(x, graph.weight(&weight)), x.scale(3.0)]).unwrap();
    let graph = Graph::new(Precision::F32);
    let (a, b) = (graph.input("a", [SIDE, SIDE]), graph.input("b", [SIDE, SIDE]));
    let second = Program::compile(device, &graph, &[a + b]).unwrap();
    (first, second)
}

#[test]
fn a_value_that_stays_on_the_device_has_the_bits_of_one_that_went_through_the_host() {
    let adapter = common::adapter("a_value_that_stays_on_the_device_has_the_bits_of_one_that_went_through_the_host");
    let adapter = adapter.map(|_| open(DeviceOptions::default()));
    let cpu = open_cpu(DeviceOptions::default());
    for device in adapter.into_iter().chain([cpu, Device::reference()]) {
        let (first, second) = halves(&device);
        let x = numbers(5);
        let host = first.run(&[&x]).unwrap();
        let before = device.allocated_bytes();
        let values = first.run_resident(&[Input::from(&x)]).unwrap();
        if device.adapter().is_some() || device.is_cpu() {
            assert_eq!(device.allocated_bytes() - before, 2 * 4 * (SIDE * SIDE) as u64, "values count as memory");
        }
        for (value, host) in values.iter().zip(&host) {
            assert_eq!(bits(&value.to_host().unwrap()), bits(host), "{}", device.name());
        }
        let through_host = second.run(&[&host[0], &host[1]]).unwrap();
        // The program that computed them may go and run again meanwhile.
        first.run(&[&numbers(6)]).unwrap();
        drop(first);
        let resident = second.submit(&[Input::from(&values[0]), Input::from(&values[1])]).unwrap().wait().unwrap();
        let mixed = second.submit(&[Input::from(&values[0]), Input::from(&host[1])]).unwrap().wait().unwrap();
        assert_eq!([bits(&resident[0]), bits(&mixed[0])], [bits(&through_host[0]), bits(&through_host[0])], "{}", device.name());
    }
}

#[test]
fn a_value_of_a_lost_device_is_an_error_and_too_large_a_one_too() {
    let Some(_) = common::adapter("a_value_of_a_lost_device_is_an_error_and_too_large_a_one_too") else { return };
    let (lost, well) = (open(DeviceOptions::default()), open(DeviceOptions::default()));
    let value = halves(&lost).0.run_resident(&[Input::from(&numbers(5))]).unwrap().remove(0);
    let (_, second) = halves(&well);
    lost.lose();
    let run = second.submit(&[Input::from(&value), Input::from(&value)]);
    assert_eq!(run.err().map(|error| error.code()), Some(Code::DeviceLost));
    assert_eq!(value.to_host().unwrap_err().code(), Code::DeviceLost);
    assert!(well.fault().is_none());

    let (first, _second) = halves(&well);
    drop(first);
    let limit = {
        let device = open(DeviceOptions::default());
        let _programs = halves(&device);
        device.allocated_bytes()
    };
    let tight = open(DeviceOptions { memory: Some(limit), ..DeviceOptions::default() });
    let (first, _second) = halves(&tight);
    let refused = first.run_resident(&[Input::from(&numbers(5))]);
    assert_eq!(refused.err().map(|error| error.code()), Some(Code::GpuMemory));
    assert!(first.run(&[&numbers(5)]).is_ok(), "the program itself runs on");
}
