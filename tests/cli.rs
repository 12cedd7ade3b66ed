//! The binary as a user meets it: what it prints, what it writes, how it ends. One test per line of the fault table, and more.
//!
//! Golden texts lie in `tests/golden/cli/`; `UPDATE_GOLDEN=1 cargo test --release --locked --test cli` rewrites them.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use common::assert_golden;
use common::binary::{BINARY, Place, finish, needs_adapter, png};

/// A PNG of this size by its header, whose pixels are missing.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut push = |kind: &[u8; 4], data: &[u8]| {
        let chunk = [&kind[..], data].concat();
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(&chunk);
        file.extend(crc32fast::hash(&chunk).to_be_bytes());
    };
    push(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat());
    push(b"IDAT", b"\x78\x9c");
    push(b"IEND", b"");
    file
}

// ---- talk and usage ---------------------------------------------------------------------------------------------------------------

#[test]
fn help_is_as_written_down() {
    let place = Place::new();
    assert_golden("cli/help.txt", &place.run(&["--help"]).exits(0).stdout);
    for verb in [
        "infer",
        "calibrate",
        "detect",
        "segment",
        "eval",
        "prompts",
        "doctor",
        "forward",
        "diff",
        "profile",
        "bench",
        "shader",
        "env",
        "completions",
    ] {
        let help = place.run(&[verb, "--help"]).exits(0).prints("Example");
        assert_golden(&format!("cli/help_{verb}.txt"), &help.stdout);
    }
}

/// The Vulkan loader is made to talk: it says something as soon as anybody asks for an adapter.
#[test]
fn help_touches_no_device_and_no_weights() {
    let place = Place::new();
    let said = |argument: &str| finish(place.command().arg(argument).env("VK_LOADER_DEBUG", "all").env("ZSAS_WEIGHTS", "nowhere")).stderr;
    assert_eq!(said("--help"), "");
    needs_adapter!("help_touches_no_device_and_no_weights");
    if cfg!(target_os = "linux") {
        assert!(said("doctor").contains("vulkan"), "the loader does not talk, so that silence says nothing");
    }
}

#[test]
fn contradictions_end_with_2_before_anything_is_touched() {
    let place = Place::with_photos(&["a.png"]);
    let wrong =
        |arguments: &[&str], text: &str| drop(place.infer(&[&["a.png", "--weights", "nowhere"], arguments].concat()).exits(2).says(text));
    wrong(&["--fail-on", "anomaly"], "hint: `zsas-gpu calibrate GOOD_PHOTOS --output FILE` finds one");
    wrong(&["--threshold", "2", "--calibration", "c.toml"], "cannot be used with");
    wrong(&["--save", "none,map"], "`--save none` stands alone");
    wrong(&["--range", "1,0"], "the smaller first");
    wrong(&["--shard", "3/2"], "I from 1 to N");
    wrong(&["--threshold", "nan"], "a finite number");
    wrong(&["--resume", "--overwrite"], "cannot be used with");
    wrong(&["--method", "windclip"], "invalid value 'windclip'");
    wrong(&["--frobnicate"], "unexpected argument '--frobnicate'");
    wrong(&["--device", "reference", "--tier", "matrix"], "`--device reference` runs none");
    assert!(!place.path("out").exists());
    place.run(&["infer", "a.png", "--output", "-"]).exits(2).says("results go into a folder");
    assert!(!place.path("-").exists());
    place.run(&["infer"]).exits(2).says("Usage:");
    place.run(&["shader", "matmull"]).exits(2).says("did you mean `matmul`?");
    place.run(&["shader", "matmul", "--set", "TALLS=3"]).exits(2).says("did you mean `TALL`?");
    place
        .run(&["bench", "kernels", "--kernel", "convolution"])
        .exits(2)
        .says("no benchmark of a kernel");
}

// ---- the fault table --------------------------------------------------------------------------------------------------------------

#[test]
fn r1_missing_inputs_and_folders_without_images_end_before_weights_load() {
    let place = Place::with_photos(&["a.png"]);
    place.write("notes/readme.txt", b"no photo");
    let infer = |input: &str| place.infer(&[input, "--weights", "nowhere"]).exits(2);
    assert_golden("cli/r1_missing.txt", &infer("no.png").stderr);
    assert_golden("cli/r1_no_images.txt", &infer("notes").stderr);
    assert_golden("cli/r1_no_match.txt", &infer("notes/*.png").stderr);
    infer("-").says("the list on standard input is empty");
    assert!(!place.path("out").exists(), "an output folder was made for nothing");
}

#[test]
fn r2_a_damaged_photo_is_a_record_and_the_others_are_scored() {
    let place = Place::with_photos(&["good.png"]);
    let whole = png(64, 64, |x, y| (x * y) as u8);
    place.write("truncated.png", &whole[..whole.len() / 2]);
    place.write("fake.jpg", b"\xff\xd8\xff\xe0 this is no JPEG");
    place.write("empty.png", b"");
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8, y as u8, 0]))
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .unwrap();
    let jpeg = jpeg.into_inner();
    place.write("truncated.jpg", &jpeg[..jpeg.len() / 3]);
    let run = place.infer(&["good.png", "truncated.png", "fake.jpg", "truncated.jpg", "empty.png"]).exits(3);
    assert!(run.says("failed: fake.jpg: cannot decode").stdout.is_empty());
    let records = place.records();
    assert_eq!(records[0]["status"], "ok");
    for record in &records[1..] {
        assert_eq!((record["status"].as_str(), record["error"]["code"].as_str()), (Some("error"), Some("decode")), "{record}");
    }
    assert_eq!(place.json("out/run.json")["counts"]["failed"], 4);
}

#[test]
fn r3_a_huge_header_is_refused_without_taking_memory() {
    let place = Place::new();
    place.write("huge.png", &png_header(60_000, 60_000));
    place.infer(&["huge.png"]).exits(3).says("60000×60000");
    assert_eq!(place.records()[0]["error"]["code"], "too_large");
}

#[test]
fn r4_tiny_and_thin_photos_are_refused_or_scored_never_worse() {
    let place = Place::new();
    for (name, width, height) in [("1x1.png", 1, 1), ("1x7.png", 1, 7), ("3x5000.png", 3, 5000)] {
        place.write(name, &png(width, height, |x, y| (40 + x + y) as u8));
    }
    let photos = ["1x1.png", "1x7.png", "3x5000.png"];
    place.infer(&photos).exits(3).says("each side needs at least 8 pixels");
    assert!(place.records().iter().all(|record| record["error"]["code"] == "too_small"));
    place.infer(&[&photos[..], &["--overwrite", "--min-size", "1", "--report"]].concat()).exits(0);
    for (record, size) in place.records().iter().zip([[1, 1], [1, 7], [3, 5000]]) {
        assert_eq!((record["status"].as_str(), &record["size"]), (Some("ok"), &serde_json::json!(size)), "{record}");
    }
}

#[test]
#[cfg(unix)]
fn r5_any_path_works() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let long = format!("{}.png", "l".repeat(251));
    let bytes = std::ffi::OsStr::from_bytes(b"lot/not \xff text.png");
    place.photo("lot/ünïcødé 漢字.png", false);
    place.photo("lot/a b'\"&<i>.png", false);
    place.photo(&format!("lot/{long}"), false);
    fs::copy(place.path("lot/a b'\"&<i>.png"), place.path("").join(bytes)).unwrap();
    place.infer(&["lot", "--report"]).exits(0);
    let records = place.records();
    let paths: Vec<&str> = records.iter().map(|record| record["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["lot/a b'\"&<i>.png", &format!("lot/{long}"), r"lot/not \xff text.png", "lot/ünïcødé 漢字.png"]);
    for record in &records {
        assert!(place.path("out").join(record["map"]["file"].as_str().unwrap()).is_file(), "{record}");
    }
    let report = fs::read_to_string(place.path("out/report.html")).unwrap();
    assert!(report.contains("a b&#39;&quot;&amp;&lt;i&gt;.png") && !report.contains("<i>.png"));
}

#[test]
fn r6_two_inputs_never_share_an_output() {
    let place = Place::with_photos(&["one/a.png", "two/a.png", "one/a.bmp"]);
    let absolute = ["one/a.png", "two/a.png"].map(|name| place.path(name).to_string_lossy().into_owned());
    let inputs = ["one", "two/a.png", "two", "./one/../one/a.png", &absolute[0], &absolute[1]];
    place.infer(&[&inputs[..], &["--save", "map"]].concat()).exits(0);
    let files: Vec<String> = place.records().iter().map(|record| record["map"]["file"].as_str().unwrap().to_owned()).collect();
    assert_eq!(files, ["one/a.bmp.tiff", "one/a.png.tiff", "two/a.png.tiff", "one/a.png~2.tiff", "one/a.png~3.tiff", "two/a.png~2.tiff"]);
    assert_eq!(place.outputs().iter().filter(|name| name.ends_with(".tiff")).count(), 6);
}

#[test]
fn r6_the_output_folder_is_checked_before_weights_load() {
    let place = Place::with_photos(&["a.png"]);
    let infer = |output: &str| place.run(&["infer", "a.png", "--weights", "nowhere", "--output", output]);
    infer("a.png").exits(2).says("`a.png` is not a folder");
    infer("a.png/below").exits(2).says("the output folder `a.png/below` cannot be written to");
    place.write("full/results.jsonl", b"");
    assert_golden("cli/r6_results_exist.txt", &infer("full").exits(2).stderr);
}

#[test]
#[cfg(unix)]
fn r6_a_full_disk_ends_with_1_and_leaves_no_half_file() {
    let place = Place::with_photos(&["a.png"]);
    // A file may grow to 8 KiB only: the shell's units are 512 bytes or 1 KiB. Writing beyond is an error, not a signal.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" infer a.png --output out";
    let run = finish(Command::new("sh").args(["-c", script, BINARY]).current_dir(place.path("")));
    run.exits(1).says("error: writing `out/a.png");
    assert!(place.outputs().iter().all(|name| !name.ends_with(".tmp")));
    assert!(
        fs::read_dir(place.path("out"))
            .unwrap()
            .all(|entry| !entry.unwrap().file_name().to_string_lossy().ends_with(".tmp"))
    );
    assert_eq!(place.records().len(), 0);
    assert_eq!(place.json("out/run.json")["status"], "failed");
    place.infer(&["a.png", "--resume"]).exits(0);
}

#[test]
fn r6_results_are_kept_resumed_or_overwritten_as_asked() {
    let place = Place::with_photos(&["p/a.png", "p/b.png"]);
    place.infer(&["p"]).exits(0);
    let first = place.records();
    place.infer(&["p"]).exits(2).says("`out` already holds results");
    // A torn line, a failure and a new photo: only what is missing is scored.
    let text = fs::read_to_string(place.path("out/results.jsonl")).unwrap();
    let line = text.lines().next().unwrap();
    let failed = r#"{"v":1,"path":"p/b.png","status":"error","error":{"code":"decode","message":""}}"#;
    fs::write(place.path("out/results.jsonl"), format!("{line}\n{failed}\n{}", &line[..line.len() / 2])).unwrap();
    place.photo("p/c.png", false);
    place.infer(&["p", "--resume"]).exits(0).says("2 scored").says("1 done before");
    let second = place.records();
    let paths: Vec<&str> = second.iter().map(|record| record["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["p/a.png", "p/b.png", "p/c.png"]);
    assert_eq!((&second[0], &second[1]["score"]), (&first[0], &first[1]["score"]));
    // Other parameters do not mix.
    place.infer(&["p", "--resume", "--threshold", "3"]).exits(2).says("`threshold` was null, now 3.0");
    place.infer(&["p/c.png", "--overwrite"]).exits(0);
    assert_eq!(place.records().len(), 1);
    assert!(place.outputs().iter().all(|name| !name.contains("a.png")), "{:?}", place.outputs());
}

#[test]
#[cfg(unix)]
fn r6_a_second_run_is_locked_out_and_a_killed_one_leaves_no_lock() {
    let place = many_photos(24);
    let mut first = start(&place, &[]);
    place.infer(&["p", "--resume"]).exits(2).says("another run is writing to `out`");
    first.kill().unwrap();
    first.wait().unwrap();
    place.infer(&["p", "--resume", "--save", "map"]).exits(0).says("done before");
    assert_eq!(place.records().len(), 24);
    assert_eq!(place.outputs().iter().filter(|name| name.ends_with(".tiff")).count(), 24);
    assert!(
        fs::read_dir(place.path("out/p"))
            .unwrap()
            .all(|entry| !entry.unwrap().file_name().to_string_lossy().ends_with(".tmp"))
    );
}

#[test]
#[cfg(unix)]
fn r7_links_pipes_and_devices_in_a_folder_are_not_followed() {
    let place = Place::with_photos(&["p/a.png", "elsewhere.png"]);
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, place.path(name)).unwrap();
    link(".", "p/loop");
    link("../p", "p/again");
    link("../elsewhere.png", "p/link.png");
    link("/dev/zero", "p/zero.png");
    assert!(Command::new("mkfifo").arg(place.path("p/pipe.png")).status().unwrap().success());
    place.infer(&["p"]).exits(0);
    let paths: Vec<Value> = place.records().iter().map(|record| record["path"].clone()).collect();
    assert_eq!(paths, ["p/a.png"]);
    // Named by the user, a link to a photo is a photo, and a pipe is a failure that does not wait for its writer.
    place.infer(&["p/link.png", "p/pipe.png", "--overwrite"]).exits(3);
    assert_eq!(place.records()[0]["status"], "ok");
    assert_eq!(place.records()[1]["error"]["code"], "decode");
}

#[test]
fn r8_missing_weights_name_the_places_tried() {
    let place = Place::with_photos(&["a.png"]);
    assert_golden("cli/r8_weights_missing.txt", &place.infer(&["a.png", "--weights", "nowhere", "--quiet"]).exits(1).stderr);
    let run = finish(place.command().args(["infer", "a.png", "-o", "out", "--overwrite"]).env("ZSAS_WEIGHTS", "gone"));
    let run = run.exits(1).says("no weights at `gone`").says("named by $ZSAS_WEIGHTS");
    assert!(!run.stderr.contains("given by"), "{}", run.stderr);
    for verb in [&["forward", "sam", "--inputs", "a", "--outputs", "b"][..], &["segment", "a.png", "--box", "1,1,9,9", "-o", "cut"]] {
        place.run(&[verb, &["--weights", "a.png"]].concat()).exits(1).says("given by `--weights a.png`");
    }
}

#[test]
fn r11_without_an_adapter_it_ends_with_5_and_says_what_to_do() {
    let place = Place::with_photos(&["a.png"]);
    let without = |arguments: &[&str]| {
        let mut command = place.command();
        for variable in ["VK_ICD_FILENAMES", "VK_DRIVER_FILES"] {
            command.env(variable, "/nonexistent");
        }
        finish(command.args(arguments).env("WGPU_BACKEND", "vulkan"))
    };
    let asked = ["infer", "a.png", "--output", "out", "--quiet", "--device", "0"];
    assert_golden("cli/r11_no_adapter.txt", &without(&asked).exits(5).stderr);
    let hidden = finish(place.command().args(["doctor", "--device", "0"]).env("WGPU_BACKEND", "gl"));
    hidden.exits(5).says("`$WGPU_BACKEND` is `gl`");
    without(&["doctor", "--device", "0"]).exits(5).prints("device: none");
    without(&["bench", "kernels", "--device", "0"]).exits(5);
    without(&["infer", "a.png", "--output", "out", "--tier", "software"])
        .exits(2)
        .says("a tier of kernels for adapters");
    // Nobody has to ask for the CPU.
    without(&["doctor", "--json"]).exits(0).prints(r#""adapters":[]"#).prints("the CPU computes");
    without(&["infer", "a.png", "--output", "out"])
        .exits(0)
        .says("note: no GPU was found, so the CPU computes");
    without(&["infer", "a.png", "--output", "out", "--overwrite", "--device", "cpu", "--quiet"]).exits(0);
    assert!(place.json("out/run.json")["adapter"].is_null());
}

#[test]
fn the_cpu_gives_the_same_bytes_on_any_number_of_threads() {
    let place = Place::with_photos(&["a.png", "b.png"]);
    let maps = [1, 2, 5].map(|threads| {
        let threads = threads.to_string();
        let arguments = ["infer", "a.png", "b.png", "-o", "out", "--overwrite", "--device", "cpu", "--save", "map", "--threads", &threads];
        place.run(&arguments).exits(0);
        assert!(place.json("out/run.json")["device"].as_str().unwrap().contains(&format!("{threads} thread")));
        fs::read(place.path("out/b.png.tiff")).unwrap()
    });
    assert!(maps[0] == maps[1] && maps[1] == maps[2]);
}

#[test]
fn what_has_no_effect_on_the_device_is_refused_or_said() {
    let place = Place::with_photos(&["a.png"]);
    let infer = |arguments: &[&str]| place.run(&[&["infer", "a.png", "-o", "out", "--overwrite"], arguments].concat());
    infer(&["--device", "reference", "--threads", "2"]).exits(2).says("`--threads`");
    for wrong in ["0", "20000"] {
        infer(&["--device", "cpu", "--threads", wrong]).exits(2).says("is not in 1..=1024");
    }
    for wrong in ["x", "-1", "20000"] {
        let doctor = place
            .command()
            .args(["doctor", "--device", "cpu"])
            .env("RAYON_NUM_THREADS", wrong)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&doctor.stderr).into_owned();
        assert!(doctor.status.code() == Some(2) && said.contains("`$RAYON_NUM_THREADS` is"), "{wrong}: {said}");
    }
    infer(&["--device", "cpu", "--tier", "software"]).exits(2).says("a tier of kernels for adapters");
    infer(&["--device", "cpu", "--precision", "f16"]).exits(5).says("stores no f16");
    place
        .run(&["diff", "wide-resnet", "--size", "32x32", "--device", "cpu", "--precision", "f16"])
        .exits(5)
        .says("stores no f16");
    let shaders = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    finish(
        place
            .command()
            .args(["infer", "a.png", "-o", "out", "--overwrite", "--device", "cpu"])
            .env("ZSAS_SHADERS", shaders),
    )
    .exits(0)
    .says("$ZSAS_SHADERS has no effect");
}

#[test]
fn the_cpu_passes_its_selftest() {
    Place::new()
        .run(&["doctor", "--selftest", "--device", "cpu"])
        .exits(0)
        .prints("launches right, 0 wrong");
}

#[test]
fn r11_the_reference_scores_without_an_adapter() {
    let place = Place::with_photos(&["a.png", "b.png"]);
    let arguments = ["infer", "a.png", "b.png", "--output", "out", "--device", "reference", "--save", "map"];
    finish(
        place
            .command()
            .args(arguments)
            .env("VK_ICD_FILENAMES", "/nonexistent")
            .env("VK_DRIVER_FILES", "/nonexistent"),
    )
    .exits(0);
    let scores: Vec<f64> = place.records().iter().map(|record| record["score"].as_f64().unwrap()).collect();
    assert!(scores[0] < scores[1], "{scores:?}");
    assert!(place.json("out/run.json")["adapter"].is_null());
}

#[test]
fn r11_a_lost_device_is_opened_again_and_patience_ends() {
    let place = Place::with_photos(&["a.png", "b.png", "c.png", "d.png"]);
    let lose = |attempts: &str| {
        let arguments = ["infer", "a.png", "b.png", "c.png", "d.png", "--output", "out", "--overwrite"];
        finish(place.command().args(arguments).env("ZSAS_LOSE_DEVICE_AT", attempts))
    };
    lose("").exits(0);
    let undisturbed: Vec<Value> = place.records().iter().map(|record| record["score"].clone()).collect();
    lose("2").exits(0).says("the device is opened again");
    let recovered: Vec<Value> = place.records().iter().map(|record| record["score"].clone()).collect();
    assert_eq!(recovered, undisturbed);
    lose("2,3").exits(3);
    assert_eq!(place.records()[1]["error"]["code"], "device_lost");
    assert_eq!(place.records()[2]["score"], undisturbed[2]);
    lose("1,2,3,4,5,6").exits(1).says("for 3 images in a row");
    assert_eq!(place.records().len(), 3);
    assert_eq!(place.json("out/run.json")["status"], "failed");
    lose("x").exits(2).says("ZSAS_LOSE_DEVICE_AT");
}

#[test]
fn r19_a_closed_stdout_is_no_error() {
    let place = Place::new();
    let constants = "constants of a small case, a network has its own: SPLIT=1 TALL=64 PAIRING=0 ACTIVATION=0 HAS_BIAS=0 HAS_RESIDUAL=0\n";
    let runs = [(&["shader", "--list"][..], ""), (&["shader", "matmul"], constants), (&["completions", "zsh"], ""), (&["env"], "")];
    for (arguments, said) in runs {
        let mut child = place.command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), said), "{arguments:?}");
    }
}

#[test]
#[cfg(unix)]
fn r19_a_signal_ends_the_run_after_the_photo_in_hand() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let place = many_photos(24);
        let mut child = start(&place, &[]);
        assert!(
            Command::new("kill")
                .arg(format!("-{signal}"))
                .arg(child.id().to_string())
                .status()
                .unwrap()
                .success()
        );
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{stderr}");
        assert!(stderr.contains("interrupted") && stderr.contains("left for `--resume`"), "{stderr}");
        let run = place.json("out/run.json");
        let scored = run["counts"]["scored"].as_u64().unwrap() as usize;
        assert_eq!((run["status"].as_str(), scored), (Some("interrupted"), place.records().len()));
        assert!((1..24).contains(&scored), "{scored}");
    }
}

/// A folder `p` with photos enough to be interrupted.
fn many_photos(count: usize) -> Place {
    let place = Place::new();
    place.photo("p/000.png", false);
    for at in 1..count {
        fs::copy(place.path("p/000.png"), place.path(&format!("p/{at:03}.png"))).unwrap();
    }
    place
}

/// Starts `infer p` and waits for its first record.
fn start(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.command();
    command.args(["infer", "p", "--output", "out", "--save", "map"]).args(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let has_record = || fs::metadata(place.path("out/results.jsonl")).is_ok_and(|file| file.len() > 0);
    let deadline = Instant::now() + Duration::from_secs(120);
    while !has_record() {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "no record came");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

// ---- what infer writes ------------------------------------------------------------------------------------------------------------

#[test]
fn a_folder_gives_records_maps_pictures_and_a_report() {
    let place = Place::with_photos(&["lot/a.png", "lot/b.png"]);
    let run = place.infer(&["lot", "--threshold", "0.5", "--range", "0,2", "--report"]).exits(0);
    assert!(run.stdout.is_empty());
    let run = run
        .says("method: utad on the weights `textures (embedded)`")
        .says("2 scored")
        .says("most anomalous:");
    // The stained photo leads.
    let worst = run.stderr.lines().skip_while(|line| *line != "most anomalous:").nth(1).unwrap();
    assert!(worst.ends_with("lot/b.png"), "{}", run.stderr);
    #[rustfmt::skip]
    let expected = [
        "lot/a.png.heatmap.png", "lot/a.png.mask.png", "lot/a.png.overlay.png", "lot/a.png.tiff",
        "lot/b.png.heatmap.png", "lot/b.png.mask.png", "lot/b.png.overlay.png", "lot/b.png.tiff",
        "report.html", "report/lot/a.png.heat.jpg", "report/lot/a.png.photo.jpg", "report/lot/b.png.heat.jpg", "report/lot/b.png.photo.jpg",
        "results.jsonl", "run.json",
    ];
    assert_eq!(place.outputs(), expected);
    let size = |name: &str| image::image_dimensions(place.path("out").join(name)).unwrap();
    for name in expected[..8].iter().filter(|name| name.ends_with(".png")) {
        assert_eq!(size(name), (96, 80), "{name}");
    }
    let record = &place.records()[1];
    assert_eq!(record["path"], "lot/b.png");
    assert_eq!(record["threshold"], serde_json::json!({"value": 0.5, "source": "flag"}));
    assert_eq!(record["level"], 0.5);
    assert_eq!(record["map"]["file"], "lot/b.png.tiff");
    let run = place.json("out/run.json");
    assert_eq!((run["status"].as_str(), &run["counts"]["scored"]), (Some("done"), &2.into()));
    assert_eq!(run["weights"]["files"][0]["sha256"].as_str().unwrap().len(), 64);
    let report = fs::read_to_string(place.path("out/report.html")).unwrap();
    assert!(!report.contains("{{") && !report.contains("http"), "the page is complete and asks no network");
    assert_eq!(report.matches("data:image/jpeg;base64,").count(), 4);
}

#[test]
fn a_map_read_back_agrees_with_its_record_and_runs_are_bit_identical() {
    let place = Place::with_photos(&["a.png", "b.png"]);
    place.infer(&["b.png"]).exits(0);
    let first = fs::read(place.path("out/b.png.tiff")).unwrap();
    let mut decoder = tiff::decoder::Decoder::new(std::io::Cursor::new(&first)).unwrap();
    let tiff::decoder::DecodingResult::F32(map) = decoder.read_image().unwrap() else { panic!("not f32") };
    let most = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    assert_eq!(place.records()[0]["map"]["max"].as_f64().unwrap() as f32, most);
    place.infer(&["a.png", "b.png", "--overwrite"]).exits(0);
    assert_eq!(fs::read(place.path("out/b.png.tiff")).unwrap(), first, "the photo before it changed the map");
}

#[test]
fn an_anomaly_ends_with_4_when_asked_to() {
    let place = Place::with_photos(&["a.png", "b.png"]);
    let infer = |threshold: &str| place.infer(&["a.png", "b.png", "--overwrite", "--fail-on", "anomaly", "--threshold", threshold]);
    infer("-1e9").exits(4).says("2 anomalous at -1000000000");
    assert_eq!(place.records()[0]["decision"], "anomalous");
    infer("1e9").exits(0);
    // UTAD scores the central square without its margin.
    assert_eq!(place.records()[0]["decision"], "normal_in_part");
    place.infer(&["a.png", "--overwrite", "--threshold", "1e9", "--tiles", "1"]).exits(0);
    assert_eq!(place.records()[0]["decision"], "normal");
    assert_eq!(place.records()[0]["regions"], serde_json::json!([]));
}

#[test]
fn without_a_threshold_there_is_no_decision_and_saliency_has_no_mask() {
    let place = Place::with_photos(&["a.png"]);
    place
        .infer(&["a.png", "--method", "saliency", "--save", "mask"])
        .exits(2)
        .says("a mask needs a value to cut the map at");
    for reading in ["released", "paper"] {
        place.infer(&["a.png", "--method", "saliency", "--reading", reading, "--overwrite"]).exits(0);
        let record = &place.records()[0];
        assert!(["decision", "threshold", "level", "regions"].iter().all(|key| record[key].is_null()), "{record}");
        assert!(!place.outputs().iter().any(|name| name.contains("mask")));
    }
    assert_eq!(place.json("out/run.json")["parameters"]["reading"], "paper");
}

#[test]
fn a_list_a_shard_and_a_glob_choose_inputs() {
    let place = Place::with_photos(&["p/a.png", "p/b.png", "p/q/c.png"]);
    let paths = |place: &Place| place.records().iter().map(|record| record["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let mut command = place.command();
    let mut child = command
        .args(["infer", "-", "--output", "out", "--quiet", "--json", "--save", "none"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"p/q/c.png\r\n./p/a.png\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), fs::read_to_string(place.path("out/results.jsonl")).unwrap());
    assert_eq!(paths(&place), ["p/q/c.png", "p/a.png"]);
    assert_eq!(place.outputs(), ["results.jsonl", "run.json"]);
    place.infer(&["p", "--shard", "2/2", "--overwrite"]).exits(0);
    assert_eq!(paths(&place), ["p/b.png"]);
    place.infer(&["p/**/[bc].png", "--overwrite"]).exits(0);
    assert_eq!(paths(&place), ["p/b.png", "p/q/c.png"]);
    // The output folder is no input of the next run.
    place.infer(&[".", "--overwrite"]).exits(0);
    assert_eq!(paths(&place), ["p/a.png", "p/b.png", "p/q/c.png"]);
}

// ---- other verbs ------------------------------------------------------------------------------------------------------------------

#[test]
fn every_shader_is_listed_and_printed() {
    let place = Place::new();
    let list = place.run(&["shader", "--list"]).exits(0).stdout;
    let files: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(files.contains(&"matmul") && files.contains(&"conv2d_software"), "{list}");
    for file in files {
        let text = place.run(&["shader", file, "--elem", "f16"]).exits(0).prints("@compute").stdout;
        let head = text.replacen("enable wgpu_cooperative_matrix;\n", "", 1);
        assert!(head.starts_with("enable f16;\nalias Elem = f16;\n"), "{text}");
    }
    let run = place.run(&["shader", "matmul", "--set", "TALL=32"]).exits(0).prints("const TALL: u32 = 32u;");
    run.says("constants of a small case, a network has its own: SPLIT=1 TALL=32 ");
    place.run(&["shader", "matmul", "--set", "TALL=0"]).exits(2).says("with TALL=0");
}

#[test]
fn completions_exist_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        place.run(&["completions", shell]).exits(0).prints("zsas-gpu");
    }
}

#[test]
fn env_lists_what_is_heeded() {
    let place = Place::new();
    let run = finish(place.command().arg("env").env("ZSAS_WEIGHTS", "/w"));
    run.exits(0).prints("ZSAS_WEIGHTS = /w").prints("ZSAS_SHADERS (not set)");
}

#[test]
fn doctor_describes_the_adapters() {
    needs_adapter!("doctor_describes_the_adapters");
    let place = Place::new();
    place.run(&["doctor", "--device", "0"]).exits(0).prints("* 0").prints("tier ");
    let found: Value = serde_json::from_str(&place.run(&["doctor", "--json", "--device", "0"]).exits(0).stdout).unwrap();
    assert!(found["chosen"].is_u64() && found["adapters"][0]["max_binding_bytes"].is_u64(), "{found}");
    place
        .run(&["doctor", "--device", "no such adapter"])
        .exits(5)
        .says("has `no such adapter` in its name");
    if !found["adapters"][0]["no_matrix_units"].is_null() {
        let refused = place
            .run(&["doctor", "--device", "0", "--tier", "matrix"])
            .exits(5)
            .says("hint: leave `--tier` out");
        let refused = refused.prints("problem: the device cannot be opened with these options");
        assert!(!refused.stdout.contains("no adapter") && !refused.stdout.contains("hint:"), "{}", refused.stdout);
    }
}

/// Writes `pixel_values` of ones.
fn write_pixels(place: &Place, name: &str, tensor: &str, shape: [usize; 4]) {
    let bytes: Vec<u8> = (0..shape.iter().product()).flat_map(|at: usize| ((at % 7) as f32 - 3.0).to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), &bytes).unwrap();
    place.write(name, &safetensors::serialize([(tensor, view)], None).unwrap());
}

#[test]
fn forward_goes_from_named_arrays_to_named_arrays_on_either_device() {
    let place = Place::new();
    write_pixels(&place, "in.safetensors", "pixel_values", [1, 3, 40, 33]);
    let forward = |device: &str, output: &str| {
        place.run(&[
            "forward",
            "wide-resnet",
            "--weights",
            "embedded",
            "--inputs",
            "in.safetensors",
            "--outputs",
            output,
            "--device",
            device,
        ])
    };
    let printed = forward("auto", "gpu.safetensors").exits(0).stdout;
    assert!(printed.starts_with("layer1 [1, ") && printed.lines().next().unwrap().ends_with(", 10, 9]"), "{printed}");
    forward("reference", "twin.safetensors").exits(0).prints(&printed);
    let [gpu, twin] = ["gpu", "twin"].map(|name| zsas::Checkpoint::open(place.path(&format!("{name}.safetensors"))).unwrap());
    for name in gpu.names() {
        let array = |file: &zsas::Checkpoint| file.root().weight(name, file.shape(name).unwrap()).unwrap().to_array().unwrap();
        let distance = array(&gpu).relative_l2(&array(&twin));
        assert!(distance < 2e-5, "{name}: {distance}");
    }
}

#[test]
fn forward_refuses_other_arrays_than_it_takes() {
    let place = Place::new();
    let forward = || place.run(&["forward", "wide-resnet", "--inputs", "in.safetensors", "--outputs", "out.safetensors"]);
    forward().exits(2).says("no input arrays at `in.safetensors`");
    write_pixels(&place, "in.safetensors", "pixels", [1, 3, 8, 8]);
    forward().exits(2).says("holds no `pixel_values` but `pixels`");
    write_pixels(&place, "in.safetensors", "pixel_values", [1, 4, 8, 8]);
    forward().exits(2).says("is [1, 4, 8, 8], it must be [batch, 3, height, width]");
    write_pixels(&place, "in.safetensors", "pixel_values", [0, 3, 8, 8]);
    forward().exits(2);
    place.write("in.safetensors", b"\x80\x04 a pickle");
    forward().exits(2).says("a Python pickle");
    fs::remove_file(place.path("in.safetensors")).unwrap();
    fs::create_dir(place.path("in.safetensors")).unwrap();
    forward().exits(2).says("is not a regular file");
}

#[test]
fn forward_says_when_an_output_is_not_finite() {
    let place = Place::new();
    let pixels = zsas::Array::new([1, 3, 8, 8], vec![3e38; 192]);
    place.write("in.safetensors", &zsas::weights::to_safetensors([("pixel_values", &pixels)], &[]).unwrap());
    let arguments = ["forward", "wide-resnet", "--inputs", "in.safetensors", "--outputs", "out.safetensors", "--device", "reference"];
    let run = place.run(&arguments).exits(0);
    assert!(run.stderr.contains("are NaN or infinite"), "{}", run.stderr);
}

#[test]
#[cfg(unix)]
fn forward_waits_for_no_pipe_and_writes_over_nothing_but_a_regular_file_that_it_does_not_read() {
    let place = Place::new();
    write_pixels(&place, "in.safetensors", "pixel_values", [1, 3, 8, 8]);
    let forward = |inputs: &str, outputs: &str| place.run(&["forward", "wide-resnet", "--inputs", inputs, "--outputs", outputs]);
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    forward("pipe", "out.safetensors").exits(2).says("is not a regular file");
    forward("in.safetensors", "pipe").exits(2).says("is no regular file");
    forward("in.safetensors", "/dev/null").exits(2).says("is no regular file");
    forward("in.safetensors", ".").exits(2).says("is no regular file");
    std::os::unix::fs::symlink("in.safetensors", place.path("link")).unwrap();
    forward("in.safetensors", "link").exits(2).says("is no regular file");
    forward("in.safetensors", "./in.safetensors")
        .exits(2)
        .says("would overwrite `in.safetensors`, which is read");
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wide_resnet/tiny.safetensors");
    fs::copy(weights, place.path("w.safetensors")).unwrap();
    let arguments = ["forward", "wide-resnet", "--weights", "w.safetensors", "--inputs", "in.safetensors", "--outputs", "w.safetensors"];
    place.run(&arguments).exits(2).says("would overwrite `w.safetensors`, which is read");
}

#[test]
fn diff_and_profile_speak_of_every_launch() {
    let place = Place::new();
    place
        .run(&["diff", "wide-resnet", "--size", "32x40"])
        .exits(0)
        .prints("launches are within their bounds");
    let profile = place.run(&["profile", "wide-resnet", "--size", "64x64", "--json"]).exits(0).stdout;
    let profile: Value = serde_json::from_str(&profile).unwrap();
    assert!(profile["rows"].as_array().unwrap().iter().all(|row| row["microseconds"].as_f64().unwrap() > 0.0), "{profile}");
    let what = |value: &Value| ["network", "precision", "inputs"].map(|key| value[key].clone());
    let expected = ["wide-resnet".into(), "f32".into(), serde_json::json!([[1, 3, 64, 64]])];
    assert_eq!(what(&profile), expected);
    assert_eq!(profile["tier"].is_null(), profile["rows"][0]["file"] == "native", "{profile}");
    place.run(&["profile", "wide-resnet", "--size", "64x64"]).exits(0).prints("GFLOP/s");
    place.run(&["profile", "wide-resnet", "--device", "reference"]).exits(2).says("no device time");
    let bench = ["bench", "models", "wide-resnet", "--size", "64x64", "--runs", "3"];
    place.run(&bench).exits(0).prints("of 3 runs");
    let runs = place.run(&[&bench[..], &["--json"]].concat()).exits(0).stdout;
    let runs: Value = serde_json::from_str(&runs).unwrap();
    let quantiles = ["p50_ms", "p95_ms", "p99_ms"].map(|key| runs[key].as_f64().unwrap());
    assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{runs}");
    assert_eq!((what(&runs), &runs["tier"]), (expected, &profile["tier"]));
    place.run(&[&bench[..6], &["0"]].concat()).exits(2);
}

#[test]
fn a_bench_knows_when_it_became_slower() {
    let place = Place::new();
    let before = place.run(&["bench", "kernels", "--json", "--kernel", "concat"]).exits(0).stdout;
    let mut row: Value = serde_json::from_str(before.trim()).unwrap();
    assert!(row["gigabytes_per_second"].as_f64().unwrap() > 0.0 && row["device"].is_string());
    let compare = |place: &Place| place.run(&["bench", "kernels", "--kernel", "concat", "--baseline", "before.jsonl"]);
    row["median_us"] = 1e9.into();
    place.write("before.jsonl", row.to_string().as_bytes());
    compare(&place).exits(0).says("0 of 1 cases");
    row["median_us"] = 1e-3.into();
    place.write("before.jsonl", row.to_string().as_bytes());
    compare(&place).exits(1).says("slower: concat");
    row["device"] = "another".into();
    place.write("before.jsonl", row.to_string().as_bytes());
    compare(&place).exits(2).says("was measured on another");
    place.write("before.jsonl", b"{}");
    compare(&place).exits(2).says("line 1 of `before.jsonl`");
}

#[test]
fn a_run_that_cannot_start_leaves_the_output_folder_as_it_was() {
    let place = Place::with_photos(&["in/a.png"]);
    place.write("out/results.jsonl", b"{\"v\":1,\"path\":\"a.png\",\"status\":\"ok\"}\n");
    place.write("out/a.png.tiff", b"old");
    for existing in ["--overwrite", "--resume"] {
        place
            .run(&["infer", "in", "--output", "out", existing, "--weights", "nowhere"])
            .exits(1)
            .says("nowhere");
        assert_eq!(fs::read(place.path("out/a.png.tiff")).unwrap(), b"old");
        assert!(fs::read_to_string(place.path("out/results.jsonl")).unwrap().contains("a.png"));
    }
    place.run(&["infer", "in", "--output", "fresh", "--weights", "nowhere"]).exits(1);
    assert!(!place.path("fresh/results.jsonl").exists(), "a second try must not meet results of the first");
}
