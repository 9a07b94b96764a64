//! One connection: bytes from the stream to the session, answers from the session to the stream.

use ebb_net::{Error, Result, tcp::TcpStream};
use ebb_runtime::{current_core, quiesce::grace_period, yield_now};

use crate::server::Server;
use crate::{Output, Progress, Session};

/// Memory that a connection may take without another look at what is free: its session, the beginning of a command, a short
/// value, and answers.
const CONNECTION: usize = 16 << 10;

/// Grace periods in which a connection may wait for that.
const WAITS: usize = 32;

/// Serves a client until it goes.
///
/// # Errors
/// The connection broke. That ends the client and concerns nothing else.
pub async fn serve(server: Server, stream: &TcpStream) -> Result<()> {
    let mut session = Session::new(server.store, current_core().number());
    if !has_room(server).await {
        return stream.send(TOO_MANY).await;
    }
    let mut out = Output::sharing_from(server.store.limits().share);
    let mut progress = Progress::More;
    loop {
        // The session reads requests where they lie in the received packets.
        let mut receive = |bytes: &[u8]| session.receive(bytes, server.time(), &mut out);
        progress = match progress {
            Progress::More => match stream.recv_with(&mut receive).await? {
                Some(progress) => progress,
                None => return Ok(()),
            },
            _ => receive(&[]).1,
        };
        // Whatever has arrived by now is answered in one batch.
        while progress == Progress::More {
            match stream.try_recv_with(&mut receive) {
                Ok(Some(next)) => progress = next,
                Ok(None) | Err(Error::WouldBlock) => break,
                Err(error) => return Err(error),
            }
        }
        if !out.is_empty() {
            send(server, stream, &mut out).await?;
        }
        match progress {
            Progress::More => {}
            // Others' turn, and the time to free what this event's writes have replaced.
            Progress::Pause => yield_now().await,
            Progress::Wait => grace_period().await,
            Progress::Close => return Ok(()),
        }
    }
}

/// What a client hears that there is no memory for.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// Whether there is memory for all connections that are open.
async fn has_room(server: Server) -> bool {
    let totals = server.store.totals();
    let open = totals
        .connections_opened
        .saturating_sub(totals.connections_closed);
    let bytes = usize::try_from(open).unwrap_or(usize::MAX);
    let bytes = bytes.saturating_mul(CONNECTION);
    for _ in 0..WAITS {
        let core = current_core().number();
        if server.store.has_room(bytes, server.time(), core) {
            return true;
        }
        grace_period().await;
    }
    false
}

/// Sends all answers. Waits while the client does not read: it gets no more of them than fit the send queue.
async fn send(server: Server, stream: &TcpStream, out: &mut Output) -> Result<()> {
    let mut pieces = out.take();
    while !pieces.is_empty() {
        match stream.try_send(&mut pieces) {
            Ok(_) => {}
            Err(Error::WouldBlock) => {
                // Answers that wait take memory that is counted nowhere else.
                let core = current_core().number();
                if !server.store.has_room(0, server.time(), core) {
                    return Err(Error::OutOfMemory);
                }
                return stream.send_all(pieces).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
