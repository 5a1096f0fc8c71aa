//! What systemd is told, where it asks: `READY=1`, `STOPPING=1` and `MAINPID=`, each one datagram to the socket that `NOTIFY_SOCKET` names.
//!
//! Nobody is waited for, and nothing fails for want of it: the process runs as well without a service manager.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The process runs; it is the service's main one, whoever was before.
pub(super) fn ready() {
    tell(&format!("MAINPID={}\nREADY=1", std::process::id()));
}

/// The process ends because somebody asked it to.
pub(super) fn stopping() {
    tell("STOPPING=1");
}

/// Another process goes on. Said before this one ends: the end of the main process would be the end of the service.
pub(super) fn main_is(pid: u32) {
    tell(&format!("MAINPID={pid}"));
}

/// Whether a service manager runs this as a command beside the service's own process, whose end it waits for.
pub(super) fn is_beside_main() -> bool {
    let own = std::process::id().to_string();
    std::env::var_os("NOTIFY_SOCKET").is_some()
        && std::env::var_os("MAINPID").is_some_and(|main| main != *own)
}

fn tell(state: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&socket, state)
    {
        tracing::warn!("the service manager could not be told {state:?}: {error}");
    }
}

fn send(socket: &OsString, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let datagram = UnixDatagram::unbound()?;
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("tieline-test-{}", std::process::id());
        let named = SocketAddr::from_abstract_name(&name).unwrap();
        let abstract_name = OsString::from(format!("@{name}"));
        for (listener, socket) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&named).unwrap(), abstract_name),
        ] {
            send(&socket, "READY=1").unwrap();
            let mut heard = [0; 16];
            let length = listener.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1");
        }
        assert!(send(&folder.path().join("none").into_os_string(), "READY=1").is_err());
    }
}
