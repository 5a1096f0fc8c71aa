//! Starts the real servers that tests talk to, by the scripts in `tests/servers`, kills them, and brings them back.
//!
//! It does not install anything itself (the scripts do), and it knows nothing of what a server is used for. Nothing leaks: a
//! script stops its server at the end of its stdin, which comes at the latest when the test process is gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};
use tempfile::TempDir;

/// What a first start may take; it covers the download where `make servers` has not run before.
const READY_DEADLINE: Duration = Duration::from_secs(300);

/// How often it is looked whether a server has stopped: half a minute at least.
const LOOKS: u32 = 1_000_000;

/// A real server on loopback; stopped when dropped.
#[derive(Debug)]
pub struct Server {
    script: String,
    args: Vec<String>,
    running: Running,
    /// Outlives the process, so that a server that was killed finds its data again; `None` where the script makes it.
    _data: Option<TempDir>,
}

/// The script, which is the server's parent, and what it said once the server was ready.
#[derive(Debug)]
struct Running {
    /// Its stdin is the lease: closing it stops the server.
    child: Child,
    fields: Map<String, Value>,
}

/// The one server of this kind that all tests share; they keep apart by the names of their streams, topics and mounts.
///
/// It is never dropped: the end of the test process closes its stdin, which stops it.
pub fn shared(script: &str) -> &'static Server {
    static SERVERS: Mutex<BTreeMap<String, &'static OnceLock<Server>>> =
        Mutex::new(BTreeMap::new());
    let server = *SERVERS
        .lock()
        .unwrap()
        .entry(script.to_owned())
        .or_insert_with(|| Box::leak(Box::default()));
    // The data folder is the script's own, because a static would never remove it.
    server
        .get_or_init(|| launch(script, Vec::new(), None).unwrap_or_else(|error| panic!("{error}")))
}

impl Server {
    /// Starts `tests/servers/SCRIPT.sh ARGS` and waits until it is ready; panics with the script's own words if it is not
    /// within 300 s.
    pub fn start(script: &str, args: &[&str]) -> Self {
        Self::try_start(script, args).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Server::start`], for a test that expects the refusal.
    pub fn try_start(script: &str, args: &[&str]) -> Result<Self, String> {
        let mut args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut data = None;
        if !args.iter().any(|arg| arg == "--data") {
            let folder = TempDir::with_prefix(format!("tieline-{script}-")).unwrap();
            args.extend(["--data".to_owned(), folder.path().display().to_string()]);
            data = Some(folder);
        }
        launch(script, args, data)
    }

    /// A field of the script's line of JSON, such as `url` or `brokers`; a number comes as its digits.
    pub fn field(&self, name: &str) -> String {
        match self.running.fields.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => panic!("{} has no field {name}: {:?}", self.script, self.running.fields),
        }
    }

    /// The process of the server itself, not of its script.
    pub fn pid(&self) -> u32 {
        self.field("pid").parse().unwrap()
    }

    /// Sends the server a signal by its name, such as `STOP` and later `CONT` for a server that hangs: then it does, every thread of it.
    pub fn signal(&self, signal: &str) {
        // The shell's own `kill`: a new Debian has no other.
        let status =
            Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", self.pid())).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot send {signal}");
        let stopped = signal != "STOP" || (0..LOOKS).any(|_| self.stands_still());
        assert!(stopped, "{} does not stop", self.script);
    }

    /// Whether each of its threads is stopped: on a busy machine one of them may still answer for a moment.
    fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let states = threads
            .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        // "pid (name) T …", where the name may hold anything.
        states
            .into_iter()
            .all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    }

    /// A crash: kills the server with signal 9 and waits until it is gone. Its data stays for [`Server::restart`].
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.running.child.wait().unwrap();
    }

    /// Stops the server in order, if it still runs, and waits until it is gone. Its data stays for [`Server::restart`].
    pub fn stop(&mut self) {
        self.running.stop();
    }

    /// Brings the server up again on the same data and port, after [`Server::kill`] or [`Server::stop`], or from running.
    pub fn restart(&mut self) {
        self.stop();
        let port = self.field("port");
        let mut args = self.args.clone();
        if !args.iter().any(|arg| arg == "--port") {
            args.extend(["--port".to_owned(), port]);
        }
        self.running = run(&self.script, &args).unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Running {
    fn stop(&mut self) {
        drop(self.child.stdin.take());
        // Only fails when there is nothing to wait for any more.
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn launch(script: &str, args: Vec<String>, data: Option<TempDir>) -> Result<Server, String> {
    let running = run(script, &args)?;
    Ok(Server { script: script.to_owned(), args, running, _data: data })
}

/// Runs the script until it has said that its server is ready.
fn run(script: &str, args: &[String]) -> Result<Running, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/servers/{script}.sh"));
    let mut stderr = tempfile::tempfile().unwrap();
    let mut child = Command::new(&path)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr.try_clone().unwrap())
        // A Ctrl-C at the terminal is for the tests; the servers go when these are gone.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot run {}: {error}", path.display()))?;

    let (line_sender, line) = mpsc::channel();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_line(&mut text);
        // Nobody listens any more once the deadline has passed.
        drop(line_sender.send(read.map(|_| text)));
    });
    let said = line.recv_timeout(READY_DEADLINE);
    let mut running = Running { child, fields: Map::new() };
    match said {
        Ok(Ok(text)) if !text.is_empty() => {
            running.fields = serde_json::from_str(&text)
                .map_err(|error| format!("{script}.sh said {text:?}: {error}"))?;
            Ok(running)
        }
        refused => {
            running.stop();
            let what = refused.map_or("is not ready within 300 s", |_| "gave up");
            Err(format!("{script}.sh {args:?} {what}:\n{}", all_of(&mut stderr)))
        }
    }
}

fn all_of(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_killed_server_comes_back_on_its_port_with_its_data() {
        let mut server = Server::start("nats", &[]);
        let (url, pid) = (server.field("url"), server.pid());
        let stream = r#"{"name":"kept","subjects":["kept.>"]}"#;
        assert!(ask_jetstream(&server, "STREAM.CREATE.kept", stream).contains("\"created\""));

        server.kill();
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        server.restart();

        assert_ne!(server.pid(), pid);
        assert_eq!(server.field("url"), url);
        assert!(ask_jetstream(&server, "STREAM.INFO.kept", "").contains("\"created\""));
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let server = Server::start("nats", &[]);
        let (pid, data) = (server.pid(), server.field("data"));
        drop(server);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(!Path::new(&data).exists());
    }

    #[test]
    fn a_server_that_cannot_start_says_why() {
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = stranger.local_addr().unwrap().port().to_string();
        let error = Server::try_start("nats", &["--port", &port]).unwrap_err();
        assert!(error.contains(&format!("port {port} is taken by another process")), "{error}");
    }

    #[test]
    fn a_shared_server_is_started_once() {
        assert_eq!(shared("nats").pid(), shared("nats").pid());
    }

    /// One request to JetStream in NATS's own text protocol, so that these tests need no client.
    fn ask_jetstream(server: &Server, what: &str, body: &str) -> String {
        let mut socket =
            TcpStream::connect(("127.0.0.1", server.field("port").parse().unwrap())).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let length = body.len();
        write!(
            socket,
            "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB $JS.API.{what} answer {length}\r\n{body}\r\n"
        )
        .unwrap();
        let mut lines = BufReader::new(socket).lines().map(Result::unwrap);
        lines.find(|line| line.starts_with("MSG answer")).unwrap();
        lines.next().unwrap()
    }
}
