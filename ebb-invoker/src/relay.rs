//! How parts get from an instance to whoever takes them ([`Parts`]), whatever the instance is made of.

use alloc::{string::String, vec::Vec};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use ebb::time::{Elapsed, Instant, timeout};
use ebb_openwhisk::json::{Json, Kind};

use crate::executable::LineInstance;
use crate::instance::{InstanceRequest, Lost};
use crate::parts::Parts;

/// Kinds of frames that go before an answer in parts: the status and headers, a piece of the body.
pub const HEAD: u16 = 103;
/// See [`HEAD`].
pub const PART: u16 = 100;

/// How long a function may go on when it was told that nobody listens.
const GRACE: Duration = Duration::from_secs(2);

/// An instance that is spoken to in frames.
pub trait Framed {
    /// Gives it a frame.
    fn give(&mut self, id: u32, request: InstanceRequest, payload: &[u8]);
    /// Waits for the next frame that answers that request.
    ///
    /// # Errors
    /// [`Lost`].
    fn next(&mut self, id: u32) -> impl Future<Output = Result<(u16, Vec<u8>), Lost>>;
    /// Ends it.
    fn end(&mut self);
}

/// What comes first: what a function says next, or that its client has gone.
async fn next_or_gone<T>(next: impl Future<Output = T>, parts: &Parts) -> Option<T> {
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
pub async fn relay(
    instance: &mut impl Framed,
    id: u32,
    parts: &Parts,
) -> Result<(u16, Vec<u8>), Lost> {
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

/// What a line of a program is that answers in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Status and headers.
    Head(Json),
    /// A piece of the body.
    Part(Vec<u8>),
    /// The answer, or what is none.
    Answer,
}

/// Reads a line. Those of parts begin with a `+`, which no JSON does: `+{"statusCode":200,"headers":{}}`, then `+"text"` or
/// `+{"base64":".."}` each.
pub fn read_line(line: &[u8], has_begun: bool) -> Line {
    let Some(json) = line
        .strip_prefix(b"+")
        .and_then(|json| Json::parse_bytes(json).ok())
    else {
        return Line::Answer;
    };
    match (json.kind(), has_begun) {
        (Kind::Object, false) => Line::Head(json),
        (Kind::Text, true) => {
            let text = json.to_text().unwrap_or_default();
            Line::Part(String::into_bytes(text))
        }
        (Kind::Object, true) => {
            let text = json
                .to_object()
                .and_then(|part| part.get("base64")?.to_text());
            let bytes = text.and_then(|text| STANDARD.decode(text).ok());
            bytes.map_or(Line::Answer, Line::Part)
        }
        _ => Line::Answer,
    }
}

/// Hands on the parts that a program's lines are; its answer is the first other line. `None` if the client has gone: a program that
/// answers lines hears of nothing between calls, so it is ended.
///
/// # Errors
/// [`Lost`].
pub async fn relay_lines<P: LineInstance + ?Sized>(
    program: &mut P,
    parts: &Parts,
) -> Result<Option<Vec<u8>>, Lost> {
    let mut has_begun = false;
    loop {
        let Some(line) = next_or_gone(program.next_line(), parts).await else {
            program.end();
            return Ok(None);
        };
        let line = line?;
        match read_line(&line, has_begun) {
            Line::Head(head) => {
                has_begun = true;
                parts.begin(head);
            }
            Line::Part(bytes) if bytes.is_empty() => {}
            Line::Part(bytes) => {
                if parts.send(bytes).await.is_err() {
                    program.end();
                    return Ok(None);
                }
            }
            Line::Answer => return Ok(Some(line)),
        }
    }
}

/// Lets a run go on as long as it gives something within `limit`, waiting for its client not counted, and for `total` at most.
///
/// # Errors
/// [`Elapsed`].
pub async fn limited<T>(
    limit: Duration,
    total: Duration,
    parts: &Parts,
    run: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let began = Instant::now();
    let mut run = pin!(run);
    loop {
        let left = parts.left(limit, total, began);
        if left.is_zero() {
            return Err(Elapsed);
        }
        if let Ok(done) = timeout(left, run.as_mut()).await {
            return Ok(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_parts_begin_with_a_plus() {
        let head = Json::parse(r#"{"statusCode":201}"#).unwrap();
        assert_eq!(
            read_line(br#"+{"statusCode":201}"#, false),
            Line::Head(head)
        );
        assert_eq!(read_line(br#"+"a\nb""#, true), Line::Part(b"a\nb".to_vec()));
        assert_eq!(
            read_line(br#"+{"base64":"AAH/"}"#, true),
            Line::Part(alloc::vec![0, 1, 255])
        );
        for (line, has_begun) in [
            (&br#"{"statusCode":201}"#[..], false),
            (br#""text""#, true),
            (br#"+"too early""#, false),
            (b"+", true),
            (b"+nonsense", true),
            (br#"+{"statusCode":201}"#, true),
            (br#"+{"base64":"?"}"#, true),
            (b"+[1]", true),
            (b"", true),
        ] {
            assert_eq!(read_line(line, has_begun), Line::Answer, "{line:?}");
        }
    }
}
