//! `tieline run --handover` as a command that a service manager runs beside the service (`ExecReload=`): its end is what is waited for, so
//! the process that takes over is another one, started from here.

use super::Exit;
use crate::journal;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often it is looked whether the new process has taken over.
const LOOK: Duration = Duration::from_millis(50);

/// How many looks there are: longer than a handover may take on either side.
const LOOKS: u32 = 20 * 600;

/// Starts the process that takes over, and waits until it has, or has failed.
pub(super) fn run(data_dir: &Path) -> Exit {
    let mut child = match start() {
        Ok(child) => child,
        Err(error) => {
            tracing::error!("cannot start the process that is to take over: {error}");
            return Exit::Bug;
        }
    };
    for _ in 0..LOOKS {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                // One that ran and was stopped is no failure of the handover.
                return code.and_then(Exit::of).unwrap_or(Exit::Bug);
            }
            Err(error) => {
                tracing::error!("the process that is to take over is lost: {error}");
                return Exit::Bug;
            }
        }
        if journal::holder(data_dir) == Some(child.id()) {
            return Exit::Success;
        }
        std::thread::sleep(LOOK);
    }
    tracing::error!("process {} has not taken over in time", child.id());
    Exit::Unreachable
}

/// The same command once more, as a service's process and not beside one.
fn start() -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env_remove("MAINPID").stdin(Stdio::null());
    command.spawn()
}
