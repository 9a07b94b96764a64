//! `SO_PEEK_OFF`: looks at what waits in a Unix socket go on where the last one ended.

use crate::object::kind::socket::Socket;

impl Socket {
    /// How many bytes of a stream may be read or seen now, and how many before them are left out.
    pub(super) fn next_bytes(&mut self, peek: bool) -> (usize, usize) {
        let seen = self.seen(peek);
        if let Some(urgent) = self.urgent.filter(|u| u.ahead > 0 && u.ahead <= seen) {
            // A look that begins behind the first bytes does not stop at a mark before it, as Linux has it.
            return (usize::MAX, seen + usize::from(urgent.taken));
        }
        let (most, skipped) = self.up_to_mark(peek);
        (most.saturating_sub(seen), skipped + seen)
    }

    /// The message that is read or seen next, and how many of its bytes are left out.
    pub(super) fn next_message(&self, peek: bool) -> (usize, usize) {
        let Some(mut seen) = self.options.peek_offset.filter(|_| peek) else {
            return (0, 0);
        };
        for (at, message) in self.inbox.iter().enumerate() {
            let len = message.bytes.len();
            // One without bytes is seen once.
            if seen < len || seen == 0 && !message.was_seen {
                return (at, seen);
            }
            seen -= len;
        }
        (self.inbox.len(), 0)
    }

    fn seen(&self, peek: bool) -> usize {
        self.options.peek_offset.filter(|_| peek).unwrap_or(0)
    }

    /// Bytes were seen, or taken.
    pub(super) fn looked(&mut self, count: usize, peek: bool) {
        if let Some(offset) = &mut self.options.peek_offset {
            *offset = match peek {
                true => *offset + count,
                false => offset.saturating_sub(count),
            };
        }
    }
}
