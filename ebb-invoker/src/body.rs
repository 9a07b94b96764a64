//! The bodies of requests: from whom how much is taken.
//!
//! What must hold: nothing of a body is kept that has not arrived whole with its head, unless its sender may send it; and what is
//! kept counts when it arrives, against a share of the sender's own. So callers cannot take memory from one another, and
//! what is only announced takes none.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use ebb::net::http::{Error, Request, Response, append};
use ebb::{EbbRef, ebb, time};
use ebb_openwhisk::budget::{Budget, Share};
use spin::mutex::SpinMutex;

use crate::books::Books;
use crate::convert::{convert, refusal, unreadable, with_head};
use crate::state::bring;

/// How long a body may take.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(60);
/// Bytes of bodies of one namespace that are received at the same time: the largest document, and a bit.
const SHARE: usize = 128 << 20;
/// Bytes of bodies of all callers without a key: those of web actions.
const SHARE_WITHOUT_KEY: usize = 32 << 20;

/// What has been taken, for each namespace; `None` is who has no key.
#[ebb(shared)]
#[derive(Default)]
struct Receiving {
    shares: SpinMutex<BTreeMap<Option<Arc<str>>, Arc<Budget>>>,
}

impl Receiving {
    fn share(&self, namespace: Option<Arc<str>>) -> Share<Arc<Budget>> {
        let most = match namespace {
            Some(_) => SHARE,
            None => SHARE_WITHOUT_KEY,
        };
        let mut shares = self.shares.lock();
        let budget = shares
            .entry(namespace)
            .or_insert_with(|| Arc::new(Budget::new(most)));
        Share::of(Arc::clone(budget))
    }
}

/// A body that has been received.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// Given back when the request has been dealt with.
    _share: Option<Share<Arc<Budget>>>,
}

/// Receives the body of a request, if its sender may send it, and at most so many bytes.
pub(crate) async fn receive(request: &mut Request<'_>, most: usize) -> Result<Received, Response> {
    if request.body_is_here() {
        let bytes = request
            .bytes_up_to(most)
            .await
            .map_err(|error| unreadable(error, most))?;
        return Ok(Received {
            bytes,
            _share: None,
        });
    }
    let admitted = loop {
        let (admitted, missed) = with_head(request, &[], None, |head| {
            EbbRef::<Books>::get().admit(head)
        });
        if missed.is_empty() {
            break admitted;
        }
        bring(missed).await;
    };
    let namespace = admitted.map_err(convert)?;
    let mut share = EbbRef::<Receiving>::get().share(namespace);
    let announced = request.header("content-length");
    let announced = announced.and_then(|n| n.parse::<u64>().ok());
    if let Some(length) = announced.filter(|&n| n > most as u64) {
        let text = format!("Request larger than allowed: {length} > {most} bytes.");
        return Err(refusal(413, &text));
    }
    if announced.is_some_and(|n| n > share.budget().left() as u64) {
        return Err(too_much());
    }
    let mut bytes = Vec::new();
    let most_room = announced.map_or(most, |n| usize::try_from(n).unwrap_or(most));
    let mut refused = None;
    let receiving = async {
        while refused.is_none() {
            let more = request.piece(|piece| {
                if bytes.len() + piece.len() > most {
                    refused = Some(Refused::Large);
                } else if !share.grow(piece.len()) {
                    refused = Some(Refused::Much);
                } else if !append(&mut bytes, piece, most_room) {
                    refused = Some(Refused::Memory);
                }
            });
            if !more.await? {
                break;
            }
        }
        Ok(())
    };
    let received = time::timeout(BODY_TIME, receiving).await;
    received
        .unwrap_or(Err(Error::Slow))
        .map_err(|error| unreadable(error, most))?;
    match refused {
        Some(Refused::Large) => return Err(unreadable(Error::BodyTooLarge, most)),
        Some(Refused::Much) => return Err(too_much()),
        Some(Refused::Memory) => return Err(unreadable(Error::NoMemory, most)),
        None => {}
    }
    Ok(Received {
        bytes,
        _share: Some(share),
    })
}

enum Refused {
    Large,
    Much,
    Memory,
}

fn too_much() -> Response {
    let text = "Too much is being received at once of this namespace's requests; try again.";
    refusal(503, text)
}
