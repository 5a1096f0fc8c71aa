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
        see_to(Command::new("npm").arg("--version"), &["nodejs", "npm"]);
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--fetch-retry-mintimeout=1000"]);
        run(npm.current_dir(folder), "needs Node, npm (Debian: nodejs, npm) and npm's registry");
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
        let python = ["python3", "python3-venv"];
        see_to(Command::new("python3").args(["-c", "import venv, ensurepip"]), &python);
        let needs = "needs Python with venv (Debian: python3-venv) and the registry PyPI";
        run(Command::new("python3").args(["-m", "venv"]).arg(folder), needs);
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--retries", "2"]);
        run(pip.arg("--requirement").arg(source.join("requirements.txt")), needs);
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
    tokio::task::block_in_place(|| run(command, "must end well"));
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

/// Installs Debian packages, unless this program runs already. On other systems it says what is
/// missing and leaves it to the failure that follows.
fn see_to(program: &mut Command, packages: &[&str]) {
    if program.output().is_ok_and(|output| output.status.success()) {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/servers/packages.sh");
    run(Command::new(script).args(packages), "needs these packages");
}

/// Runs a program that must end well, or panics with what it said and what was asked of it.
fn run(command: &mut Command, rule: &str) {
    let program = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("cannot start {program}: {error}; {rule}"));
    assert!(
        status.success(),
        "this test {rule}: {program} ended with {status}\n{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
}
