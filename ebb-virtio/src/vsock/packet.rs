//! The headers of a socket device's packets (VIRTIO 1.2, 5.10.6).

use ebb_net::vsock::Address;

/// Bytes of a header.
pub const HEADER: usize = 44;
/// The type of streams, the only one that is spoken here.
pub const STREAM: u16 = 1;

/// What a packet is for.
pub mod op {
    pub const REQUEST: u16 = 1;
    pub const RESPONSE: u16 = 2;
    pub const RESET: u16 = 3;
    pub const SHUTDOWN: u16 = 4;
    pub const DATA: u16 = 5;
    pub const CREDIT_UPDATE: u16 = 6;
    pub const CREDIT_REQUEST: u16 = 7;
}

/// Of a packet that ends directions: the sender will receive no more, send no more.
pub mod end {
    pub const RECEIVE: u32 = 1;
    pub const SEND: u32 = 2;
    pub const BOTH: u32 = RECEIVE | SEND;
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub from: Address,
    pub to: Address,
    /// Bytes of data behind it.
    pub length: u32,
    pub kind: u16,
    pub op: u16,
    pub flags: u32,
    /// How many bytes the sender keeps until they are read, and how many were read so far (modulo 2^32).
    pub window: u32,
    pub consumed: u32,
}

impl Header {
    /// Nothing, for contexts whose identifiers have more than 32 bits: there are none.
    pub fn decode(bytes: &[u8; HEADER]) -> Option<Self> {
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(word)
        };
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        if word(4) != 0 || word(12) != 0 {
            return None;
        }
        let address = |cid, port| Address {
            cid: word(cid),
            port: word(port),
        };
        Some(Self {
            from: address(0, 16),
            to: address(8, 20),
            length: word(24),
            kind: half(28),
            op: half(30),
            flags: word(32),
            window: word(36),
            consumed: word(40),
        })
    }

    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &u64::from(self.from.cid).to_le_bytes());
        put(8, &u64::from(self.to.cid).to_le_bytes());
        put(16, &self.from.port.to_le_bytes());
        put(20, &self.to.port.to_le_bytes());
        put(24, &self.length.to_le_bytes());
        put(28, &self.kind.to_le_bytes());
        put(30, &self.op.to_le_bytes());
        put(32, &self.flags.to_le_bytes());
        put(36, &self.window.to_le_bytes());
        put(40, &self.consumed.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_laid_out_as_the_specification_says() {
        let header = Header {
            from: Address {
                cid: 3,
                port: 0x1112,
            },
            to: Address {
                cid: 2,
                port: 0x1314,
            },
            length: 5,
            kind: STREAM,
            op: op::DATA,
            flags: 7,
            window: 0x2122_2324,
            consumed: 0x3132_3334,
        };
        let bytes = header.encode();
        assert_eq!(bytes[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[8..16], [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..24], [0x12, 0x11, 0, 0, 0x14, 0x13, 0, 0]);
        assert_eq!(bytes[24..32], [5, 0, 0, 0, 1, 0, 5, 0]);
        assert_eq!(bytes[32..40], [7, 0, 0, 0, 0x24, 0x23, 0x22, 0x21]);
        assert_eq!(bytes[40..], [0x34, 0x33, 0x32, 0x31]);
        assert_eq!(Header::decode(&bytes), Some(header));
        let mut far = bytes;
        far[5] = 1;
        assert_eq!(Header::decode(&far), None);
    }
}
