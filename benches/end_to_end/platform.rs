//! The least platform that tieline settles on, and frames as fast or as slow as they are asked for.
//!
//! Not the simulator: that one is faithful, journals what it sends and fills its frames with one long string. This one says
//! yes to everything.

use crate::support::Frames;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const PONG: &str = r#"{"topicName":"channel.metadata","eventBody":{"message":"pong"}}"#;

/// A platform on loopback.
pub struct Platform {
    pub address: SocketAddr,
    sockets: Receiver<Arc<Mutex<TcpStream>>>,
}

/// The client's socket, and what is sent on it.
pub struct Line {
    socket: Arc<Mutex<TcpStream>>,
    frames: Frames,
    buffer: Vec<u8>,
}

impl Platform {
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (opened, sockets) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let opened = opened.clone();
                // A connection that breaks is the client's to mend.
                thread::spawn(move || serve(stream, address, &opened).ok());
            }
        });
        Ok(Self { address, sockets })
    }

    /// Waits until the client has opened its socket.
    pub fn line(&self) -> Line {
        let socket = self.sockets.recv_timeout(Duration::from_secs(30));
        let socket = socket.expect("tieline opens its socket");
        Line { socket, frames: Frames::new(), buffer: Vec::new() }
    }
}

impl Line {
    /// Sends so many frames with as few writes as it can.
    pub fn send(&mut self, count: usize) {
        self.buffer.clear();
        for _ in 0..count {
            push(self.frames.next(), &mut self.buffer);
        }
        let mut socket = self.socket.lock().expect("no writer panics");
        socket.write_all(&self.buffer).expect("tieline reads");
    }
}

/// Answers what comes on one connection until it ends or becomes a socket.
fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    opened: &Sender<Arc<Mutex<TcpStream>>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read_request(&mut reader)? {
        if let Some(key) = request.websocket_key {
            let accept = derive_accept_key(key.as_bytes());
            write!(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            )?;
            let socket = Arc::new(Mutex::new(stream));
            opened.send(Arc::clone(&socket)).ok();
            return answer_probes(&mut reader, &socket);
        }
        let body = if request.line.contains("/oauth/token") {
            r#"{"access_token":"token","token_type":"bearer","expires_in":86400}"#.to_owned()
        } else if request.line.contains("/subscriptions") {
            r#"{"entities":[]}"#.to_owned()
        } else {
            format!(r#"{{"id":"channel","connectUri":"ws://{address}/channel"}}"#)
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
    }
    Ok(())
}

struct Request {
    line: String,
    websocket_key: Option<String>,
}

/// Reads a request and throws its body away; none at the end of the connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut request = Request { line: String::new(), websocket_key: None };
    if reader.read_line(&mut request.line)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap_or(0);
        } else if name.eq_ignore_ascii_case("sec-websocket-key") {
            request.websocket_key = Some(value.to_owned());
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    Ok(Some(request))
}

/// Takes every short text frame for a probe.
fn answer_probes(reader: &mut BufReader<TcpStream>, socket: &Mutex<TcpStream>) -> io::Result<()> {
    let mut pong = Vec::new();
    push(PONG.as_bytes(), &mut pong);
    loop {
        let mut head = [0; 2];
        reader.read_exact(&mut head)?;
        let mut rest = vec![0; 4 + usize::from(head[1] & 0x7F)];
        reader.read_exact(&mut rest)?;
        match head[0] & 0x0F {
            1 => socket.lock().expect("no writer panics").write_all(&pong)?,
            8 => return Ok(()),
            _ => {}
        }
    }
}

/// An unmasked text frame.
fn push(text: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    match u8::try_from(text.len()) {
        Ok(short) if short < 126 => out.push(short),
        _ => {
            let length = u16::try_from(text.len()).expect("frames are shorter than 64 KiB");
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}
