//! Recovery of a lost device: which task is blamed, and when the device is given up.

mod common;

use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use zsas::inspect::{DeviceRequest, Recoverable};
use zsas::{Code, Device, Error, Result};

fn recoverable() -> Recoverable<Device> {
    Recoverable::open(DeviceRequest::default(), |device| Ok(device.clone())).unwrap()
}

fn lose(device: &Device) -> Result<()> {
    device.lose();
    Err(Error::new(Code::DeviceLost, "lost on purpose"))
}

fn use_of(device: &Device) -> Result<()> {
    device.fault().map_or(Ok(()), Err)
}

#[test]
fn a_task_that_loses_the_device_twice_takes_no_other_with_it() {
    let shared = recoverable();
    for _ in 0..6 {
        let is_over = AtomicBool::new(false);
        // Two tasks are under way when the third loses the device the first time.
        let together = Barrier::new(3);
        let (first, others) = std::thread::scope(|scope| {
            let innocent = || {
                let begun = Cell::new(false);
                shared.run(|device| {
                    if !begun.replace(true) {
                        together.wait();
                        while device.fault().is_none() {
                            std::thread::yield_now();
                        }
                    }
                    // A retry beside that of the guilty task would see the device lost again.
                    let since = Instant::now();
                    while !is_over.load(Ordering::SeqCst) && since.elapsed() < Duration::from_millis(200) {
                        std::thread::yield_now();
                    }
                    use_of(device)
                })
            };
            let others = [scope.spawn(innocent), scope.spawn(innocent)];
            let begun = Cell::new(false);
            let first = shared.run(|device| {
                if !begun.replace(true) {
                    together.wait();
                }
                lose(device)
            });
            is_over.store(true, Ordering::SeqCst);
            (first, others.map(|other| other.join().unwrap()))
        });
        assert!(first.is_err());
        assert!(others.iter().all(Result::is_ok), "{others:?}");
        assert!(shared.fault().is_none());
    }
}

#[test]
fn it_is_given_up_once_three_tasks_in_a_row_lose_the_device_twice() {
    let shared = recoverable();
    assert!(shared.run(lose).is_err() && shared.run(lose).is_err());
    shared.run(use_of).unwrap();
    assert!(shared.run(lose).is_err() && shared.run(lose).is_err());
    assert!(shared.fault().is_none());
    assert!(shared.run(lose).is_err());
    assert!(shared.fault().is_some());
    assert!(shared.run(use_of).is_err());
}
