//! One connection: bytes from the stream to the session, answers from the session to the stream.

use ebb_net::{Error, Result, tcp::TcpStream};
use ebb_runtime::{current_core, yield_now};

use crate::server::Server;
use crate::{Output, Progress, Session};

/// Serves a client until it goes.
///
/// # Errors
/// The connection broke. That ends the client and concerns nothing else.
pub async fn serve(server: Server, stream: &TcpStream) -> Result<()> {
    let mut session = Session::new(server.store, current_core().number());
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
            // Waits while the client does not read: it gets no more answers than fit the send queue.
            stream.send_all(out.take()).await?;
        }
        match progress {
            Progress::More => {}
            // Others' turn, and the time to free what this event's writes have replaced.
            Progress::Pause => yield_now().await,
            Progress::Close => return Ok(()),
        }
    }
}
