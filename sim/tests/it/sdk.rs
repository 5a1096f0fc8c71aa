//! The official SDKs, unmodified, against the simulator. Their packages are installed once, into
//! the git-ignored folder `.servers`; npm and pip fetch them from their registries.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;
use tieline_sim::Sim;

use crate::harness::quiet;

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_cannot_tell_the_difference() {
    let program = program("javascript/main.js");
    let folder = install("javascript", "package-lock.json", |source, folder| {
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(source.join(file), folder.join(file)).unwrap();
        }
        run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder));
    });
    // Node looks for packages beside the program.
    let copy = folder.join("main.js");
    std::fs::copy(program, &copy).unwrap();
    against_the_simulator(Command::new("node").arg(copy)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_cannot_tell_the_difference() {
    let program = program("python/main.py");
    let folder = install("python", "requirements.txt", |source, folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        let requirements = source.join("requirements.txt");
        run(Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(requirements));
    });
    against_the_simulator(Command::new(folder.join("bin/python")).arg(program)).await;
}

async fn against_the_simulator(command: &mut Command) {
    let sim = Sim::start(quiet()).await.unwrap();
    let ready = json!({
        "api_url": sim.api_url(),
        "control_url": sim.control_url(),
        "client_id": sim.client_id(),
        "client_secret": sim.client_secret(),
        "queues": sim.queues(),
    });
    command.env("SIM", ready.to_string());
    tokio::task::block_in_place(|| run(command));
    sim.stop().await;
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(name)
}

/// Installs unless the folder holds what `pins` asks for already.
fn install(language: &str, pins: &str, install: impl FnOnce(&Path, &Path)) -> PathBuf {
    let source = program(language);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.servers/sdk").join(language);
    let wanted = std::fs::read_to_string(source.join(pins)).unwrap();
    let installed = folder.join("installed");
    if std::fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
        return folder;
    }
    std::fs::create_dir_all(&folder).unwrap();
    install(&source, &folder);
    std::fs::write(installed, wanted).unwrap();
    folder
}

fn run(command: &mut Command) {
    let Output { status, stdout, stderr } = command.output().expect("the program can be started");
    assert!(
        status.success(),
        "{command:?} ended with {status}\n{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
}
