//! How parts get from an instance to whoever takes them ([`Parts`]), whatever the instance is made of.

use alloc::{boxed::Box, vec::Vec};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use ebb::time::{Elapsed, timeout};
use ebb_openwhisk::json::Json;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::instance::{Boxed, InstanceRequest, Lost};
use crate::key;
use crate::parts::Parts;

/// Kinds of frames that go before an answer in parts: the status and headers, a piece of the body.
pub const HEAD: u16 = 103;
/// See [`HEAD`].
pub const PART: u16 = 100;

/// How long a function may go on when it was told that nobody listens.
const GRACE: Duration = Duration::from_secs(2);

/// The numbers of an instance's requests. A function that writes frames of its own finds its answers by the number that it was asked
/// with, and cannot tell the next one by counting: what it left on the way answers no later request.
#[derive(Debug)]
pub struct Numbers(SplitMix64);

impl Numbers {
    /// They begin anywhere.
    #[must_use]
    pub fn new() -> Self {
        Self(SplitMix64::from_seed(key::random()))
    }

    /// The next one. Nobody else has a part in it; randomness of the platform may be a line of memory that all cores write.
    pub fn draw(&mut self) -> u32 {
        self.0.next_u32()
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self::new()
    }
}

/// An instance that is spoken to in frames.
pub trait Framed: Sized {
    /// The number of a new request, of its [`Numbers`]. Answers that came before it answer nothing: the function may have written them
    /// itself.
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
