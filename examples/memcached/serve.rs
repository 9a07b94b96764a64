//! One connection: bytes from the stream to the session, answers from the session to the stream.

use ebb::{current_core, yield_now};
use ebb_memcached::{Output, Progress, Session};
use ebb_net::{Error, tcp::TcpStream};

use crate::server::Server;

/// Serves a client until it goes or misbehaves. An error is the client's end, and nobody else's business.
pub async fn connection(server: Server, stream: TcpStream) {
    let _ = serve(server, &stream).await;
}

async fn serve(server: Server, stream: &TcpStream) -> ebb_net::Result<()> {
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
