//! Frames of another node, however malformed: what is decoded is what its encoding decodes to again, and no part of it is longer
//! than what came.
#![no_main]

use bytes::Bytes;
use ebb_distributed::frame::{Frame, Payload};

/// How many bytes a frame's payload has.
fn payload(frame: &Frame) -> Option<&Payload> {
    match frame {
        Frame::Call(call) => Some(&call.payload),
        Frame::Answer(_, _, payload) | Frame::Up(_, payload) | Frame::Down(_, payload) => {
            Some(payload)
        }
        _ => None,
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let decoded = Frame::decode(Bytes::copy_from_slice(data));
    assert_eq!(Frame::decode_copied(data), decoded);
    let Ok(frame) = decoded else {
        return;
    };
    assert!(payload(&frame).is_none_or(|p| p.len() <= data.len()));
    let (mut out, mut parts) = (Vec::new(), Vec::new());
    frame
        .clone()
        .encode(&mut out, &mut |part| parts.extend_from_slice(&part));
    parts.extend_from_slice(&out);
    let (length, rest) = parts.split_first_chunk::<4>().expect("a length");
    assert_eq!(u32::from_le_bytes(*length) as usize, rest.len());
    assert_eq!(Frame::decode(Bytes::copy_from_slice(rest)), Ok(frame));
});
