//! How parts get from an instance to whoever takes them ([`Parts`]), whatever the instance is made of.

use alloc::{boxed::Box, vec::Vec};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use ebb::time::{Elapsed, timeout};
use ebb_openwhisk::json::Json;

use crate::instance::{Boxed, InstanceRequest, Lost};
use crate::parts::Parts;

/// Kinds of frames that go before an answer in parts: the status and headers, a piece of the body.
pub const HEAD: u16 = 103;
/// See [`HEAD`].
pub const PART: u16 = 100;

/// How long a function may go on when it was told that nobody listens.
const GRACE: Duration = Duration::from_secs(2);

/// An instance that is spoken to in frames.
pub trait Framed: Sized {
    /// A number for a request that no other has had. Answers that came before it answer nothing: the function may have written them itself.
    fn new_id(&mut self) -> u32;
    /// Gives it a frame.
    fn give(&mut self, id: u32, request: InstanceRequest, payload: &[u8]);
    /// Waits for the next frame that answers that request.
    ///
    /// # Errors
    /// [`Lost`].
    fn next(&mut self, id: u32) -> impl Future<Output = Result<(u16, Vec<u8>), Lost>>;
    /// Ends it.
    fn end(&mut self);

    /// [`Instance::ask`](crate::instance::Instance::ask) by frames.
    fn ask_by_frame<'a>(
        &'a mut self,
        request: InstanceRequest,
        payload: &str,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        let id = self.new_id();
        self.give(id, request, payload.as_bytes());
        Box::pin(self.next(id))
    }

    /// [`Instance::run_in_parts`](crate::instance::Instance::run_in_parts) by frames.
    fn run_by_frames<'a>(
        &'a mut self,
        payload: &str,
        parts: &'a Parts,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        let id = self.new_id();
        self.give(id, InstanceRequest::RunInParts, payload.as_bytes());
        Box::pin(relay(self, id, parts))
    }
}

/// What comes first: what a function says next, or that its client has gone.
pub(crate) async fn next_or_gone<T>(next: impl Future<Output = T>, parts: &Parts) -> Option<T> {
    let mut next = pin!(next);
    poll_fn(|cx| {
        if let Poll::Ready(said) = next.as_mut().poll(cx) {
            return Poll::Ready(Some(said));
        }
        parts.poll_gone(cx).map(|()| None)
    })
    .await
}

/// Waits for the answer to a request, and hands on the parts that come before it.
///
/// # Errors
/// [`Lost`]; so is a function that goes on for too long after its client has gone.
async fn relay(instance: &mut impl Framed, id: u32, parts: &Parts) -> Result<(u16, Vec<u8>), Lost> {
    loop {
        let Some(said) = next_or_gone(instance.next(id), parts).await else {
            break;
        };
        match said? {
            (HEAD, head) => parts.begin(json(&head)),
            (PART, bytes) => {
                if parts.send(bytes).await.is_err() {
                    break;
                }
                instance.give(id, InstanceRequest::Taken, &[]);
            }
            answer => return Ok(answer),
        }
    }
    instance.give(id, InstanceRequest::Leave, &[]);
    let ended = timeout(GRACE, async {
        loop {
            match instance.next(id).await {
                Ok((HEAD | PART, _)) => {}
                answer => return answer,
            }
        }
    });
    match ended.await {
        Ok(answer) => answer,
        Err(Elapsed) => {
            instance.end();
            Err(Lost::Gone)
        }
    }
}

fn json(bytes: &[u8]) -> Json {
    Json::parse_bytes(bytes).unwrap_or_else(|_| Json::null())
}
