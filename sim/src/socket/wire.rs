//! The byte stream under HTTP and WebSocket: plain or TLS, and able to misbehave.
//!
//! Faults that are older than any protocol live here: a peer that swallows what it is told to send,
//! that stops reading, or that goes without a goodbye.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Wire {
    transport: Transport,
    /// Writes succeed and go nowhere. Set only between frames, so that none is torn.
    pub(crate) muted: bool,
    /// Nothing is read, so that the peer's writes fill its buffers.
    pub(crate) deaf: bool,
    /// How many bytes go out at a time, and when the next may.
    pace: Option<Pace>,
    /// It does not even say goodbye: the peer was swallowed by the network.
    pub(crate) vanished: bool,
    /// The coming drop sends RST, so nothing else may be sent before it.
    pub(crate) doomed: bool,
}

#[derive(Debug)]
struct Pace {
    piece: usize,
    pause: Duration,
    wait: Pin<Box<Sleep>>,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self::over(Transport::Plain(stream))
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::over(Transport::Tls(Box::new(stream)))
    }

    fn over(transport: Transport) -> Self {
        Self { transport, muted: false, deaf: false, pace: None, vanished: false, doomed: false }
    }

    /// Sends this many bytes at a time from now on, with a pause between.
    pub(crate) fn pace(&mut self, pace: Option<(usize, Duration)>) {
        self.pace = pace.map(|(piece, pause)| Pace {
            piece: piece.max(1),
            pause,
            wait: Box::pin(tokio::time::sleep(Duration::ZERO)),
        });
    }

    /// Whether it sends piece by piece.
    pub(crate) fn is_paced(&self) -> bool {
        self.pace.is_some()
    }

    /// Makes the coming drop send RST instead of FIN: what a crash or a firewall looks like.
    pub(crate) fn arm_reset(&mut self) -> io::Result<()> {
        self.doomed = true;
        self.tcp().set_zero_linger()
    }

    fn tcp(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(stream) => stream,
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.deaf {
            // Whoever makes it hear again polls again.
            return Poll::Pending;
        }
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.muted {
            return Poll::Ready(Ok(bytes.len()));
        }
        let wire = &mut *self;
        let mut piece = bytes;
        if let Some(pace) = &mut wire.pace {
            ready!(pace.wait.as_mut().poll(context));
            piece = &bytes[..bytes.len().min(pace.piece)];
        }
        let written = ready!(match &mut wire.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, piece),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, piece),
        })?;
        if let Some(pace) = &mut wire.pace {
            pace.wait.as_mut().reset(Instant::now() + pace.pause);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            // TLS would say goodbye first (close_notify); the peer must see a bare FIN either way.
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => {
                ready!(Pin::new(&mut *stream).poll_flush(context))?;
                Pin::new(stream.get_mut().0).poll_shutdown(context)
            }
        }
    }
}
