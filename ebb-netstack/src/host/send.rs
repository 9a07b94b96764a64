//! Segments to the device: headers, checksums, what it can cut or check by itself; and those to this machine itself.

use super::{Cx, Host, Inner, MAX_LOOPBACK};
use crate::{
    connection::SegmentSink,
    link::{Frame, INLINE, Link, Offload},
    queues::SendQueue,
    wire::{self, Path, Sum, TcpOut},
};
use alloc::{collections::VecDeque, vec::Vec};
use bytes::Bytes;

/// What leaves a core.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// Of the frame that is being sent.
    pub(super) fragments: Vec<Bytes>,
    /// From this machine to itself.
    pub(super) loopback: VecDeque<Frame>,
    /// Frames handed to the device; one that it cuts counts once.
    pub(super) frames: u64,
}

impl Outgoing {
    #[inline]
    pub(crate) fn through<'a, L: Link>(&'a mut self, link: &'a L) -> Sender<'a, L> {
        Sender { link, out: self }
    }
}

/// Sends for connections: writes headers, asks the device for what it can do.
pub(crate) struct Sender<'a, L> {
    link: &'a L,
    out: &'a mut Outgoing,
}

impl<L: Link> SegmentSink for Sender<'_, L> {
    #[inline]
    fn longest(&self, path: &Path, mss: usize) -> usize {
        if self.link.capabilities(path.card).segmentation {
            (60_000 / mss.max(1)).max(1) * mss
        } else {
            mss
        }
    }

    #[inline]
    fn send(
        &mut self,
        path: &Path,
        header: TcpOut,
        payload: Option<(&mut SendQueue, usize, usize)>,
        mss: usize,
    ) -> bool {
        let headers = path.headers() + header.length();
        let (mut queue, offset, length) = match payload {
            Some((queue, offset, length)) => (Some(queue), offset, length),
            None => (None, 0, 0),
        };
        if path.loopback {
            return self.send_loopback(path, header, queue, offset, length);
        }
        let capabilities = self.link.capabilities(path.card);
        let transport = header.length() + length;
        let inline = length <= INLINE;
        if !inline && let Some(queue) = &mut queue {
            let fragments = &mut self.out.fragments;
            fragments.clear();
            queue.read(offset, length, |chunk, from, to| {
                fragments.push(chunk.slice(from..to))
            });
            if fragments.len() > capabilities.fragments {
                // Too many pieces for the device: one copy instead.
                let mut whole = Vec::with_capacity(length);
                fragments
                    .drain(..)
                    .for_each(|f| whole.extend_from_slice(&f));
                fragments.push(whole.into());
            }
        }
        let head = headers + if inline { length } else { 0 };
        let mut offload = Offload::default();
        if capabilities.checksum {
            offload.checksum = Some((path.headers() as u16, 16));
        }
        if length > mss {
            offload.segment = Some((mss as u16, headers as u16, !path.source.is_v4()));
        }
        // The device takes the fragments away before the checksum could look at them.
        let body = match offload.checksum {
            None => {
                let mut sum = Sum::new(0);
                self.out.fragments.iter().for_each(|f| sum.add(f));
                u64::from(!sum.finish())
            }
            Some(_) => 0,
        };
        let body = if inline { 0 } else { body };
        let mut none = Vec::new();
        let fragments = if inline {
            &mut none
        } else {
            &mut self.out.fragments
        };
        let sent = self
            .link
            .transmit(path.card, head, offload, fragments, &mut |out| {
                let at = path.write(out, wire::PROTOCOL_TCP, transport);
                let end = at + header.write(&mut out[at..]);
                if inline && let Some(queue) = &mut queue {
                    copy_payload(queue, offset, length, &mut out[end..]);
                }
                let pseudo =
                    wire::pseudo_header(path.source, path.target, wire::PROTOCOL_TCP, transport);
                let check = if offload.checksum.is_some() {
                    wire::fold(pseudo)
                } else {
                    !wire::fold(wire::sum(&out[at..], pseudo + body))
                };
                out[at + 16..at + 18].copy_from_slice(&check.to_ne_bytes());
            });
        self.out.fragments.clear();
        self.out.frames += u64::from(sent);
        sent
    }
}

fn copy_payload(queue: &mut SendQueue, offset: usize, length: usize, out: &mut [u8]) {
    let mut at = 0;
    queue.read(offset, length, |chunk, from, to| {
        let part = &chunk[from..to];
        if let Some(room) = out.get_mut(at..at + part.len()) {
            room.copy_from_slice(part);
        }
        at += part.len();
    });
}

impl<L: Link> Sender<'_, L> {
    /// To this machine itself: a frame that needs no checksum.
    fn send_loopback(
        &mut self,
        path: &Path,
        header: TcpOut,
        queue: Option<&mut SendQueue>,
        offset: usize,
        length: usize,
    ) -> bool {
        if self.out.loopback.len() >= MAX_LOOPBACK {
            return false;
        }
        let headers = path.headers() + header.length();
        let mut frame = alloc::vec![0; headers + length].into_boxed_slice();
        let at = path.write(&mut frame, wire::PROTOCOL_TCP, header.length() + length);
        header.write(&mut frame[at..]);
        if let Some(queue) = queue {
            copy_payload(queue, offset, length, &mut frame[headers..]);
        }
        self.out.loopback.push_back(Frame::to_self(frame));
        true
    }
}

impl Inner {
    /// Sends a complete frame by a card. False when the device has no room.
    pub(super) fn transmit<L: Link>(&mut self, cx: &Cx<'_, L>, card: u8, frame: Vec<u8>) -> bool {
        let head = frame.len().min(wire::MAX_HEADERS);
        let frame = Bytes::from(frame);
        let fragments = &mut self.outgoing.fragments;
        fragments.clear();
        if frame.len() > head {
            fragments.push(frame.slice(head..));
        }
        let sent = cx
            .link
            .transmit(card, head, Offload::default(), fragments, &mut |out| {
                out.copy_from_slice(&frame[..head]);
            });
        fragments.clear();
        self.outgoing.frames += u64::from(sent);
        sent
    }
}

impl<L: Link> Host<L> {
    /// Sends a complete frame of the slow path by a card.
    pub fn transmit_raw(&self, card: u8, frame: Vec<u8>) {
        // The time does not matter to it.
        self.enter(0, |inner, cx| inner.transmit(cx, card, frame));
    }

    /// Tells the device of what was queued.
    pub fn kick(&self) {
        self.link.kick();
    }
}
