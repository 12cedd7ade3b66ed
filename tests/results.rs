//! The output folder through the library and the binary: names of files, the format of records, writes that fail.

mod common;

use common::binary::{BINARY, Place, finish, needs_adapter};

#[test]
#[cfg(unix)]
fn a_limit_of_file_sizes_is_an_error_of_writing() {
    needs_adapter!("a_limit_of_file_sizes_is_an_error_of_writing");
    let place = Place::with_photos(&["a.png"]);
    // Blocks of 512 or 1024 bytes: less than the 30 KiB of the float map, more than `run.json`.
    let script = r#"ulimit -f 16; exec "$0" infer a.png --output out"#;
    let command = place.command();
    let environment: Vec<_> = command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    let mut shell = std::process::Command::new("sh");
    shell.current_dir(command.get_current_dir().unwrap()).args(["-c", script, BINARY]);
    for (name, value) in environment {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    drop(command);
    finish(&mut shell).exits(1).says("out/a.png.tiff").says("`ulimit -f` shows the limit");
    assert_eq!(place.json("out/run.json")["status"], "failed");
    place.infer(&["a.png", "--resume"]).exits(0);
}
