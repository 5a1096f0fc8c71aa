//! The byte stream under HTTP and WebSocket: plain or TLS, and able to misbehave.
//!
//! Faults that are older than any protocol live here: a peer that swallows what it is told to send,
//! that stops reading, or that goes without a goodbye.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Wire {
    transport: Transport,
    /// Writes succeed and go nowhere. Set only between frames, so that none is torn.
    pub(crate) muted: bool,
    /// Nothing is read, so that the peer's writes fill its buffers.
    pub(crate) deaf: bool,
    /// The coming drop sends RST, so nothing else may be sent before it.
    pub(crate) doomed: bool,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self { transport: Transport::Plain(stream), muted: false, deaf: false, doomed: false }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self {
            transport: Transport::Tls(Box::new(stream)),
            muted: false,
            deaf: false,
            doomed: false,
        }
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
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
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
