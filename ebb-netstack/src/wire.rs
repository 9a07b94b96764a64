//! Ethernet, IP, TCP and UDP headers: the fields that the fast path needs, read with every bound checked, and written.
//!
//! What must hold: [`Parsed::of`] gives ranges that lie inside the frame, whatever the frame says. Everything rarer
//! (ARP, NDP, ICMP, DHCP, fragments) goes through smoltcp.

use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

/// An address of either family; IPv4 as the mapped IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ip(pub u128);

impl Ip {
    pub const UNSPECIFIED: Self = Self(0);

    #[inline]
    pub const fn v4(bits: u32) -> Self {
        Self(0xffff_0000_0000 | bits as u128)
    }

    #[inline]
    pub const fn is_v4(self) -> bool {
        self.0 >> 32 == 0xffff
    }

    pub fn is_unspecified(self) -> bool {
        self.0 == 0 || self == Self::v4(0)
    }

    /// A group, or everybody.
    pub fn is_multicast(self) -> bool {
        IpAddr::from(self).is_multicast() || self == Self::v4(u32::MAX)
    }

    /// The hardware address that a group or everybody has (RFC 1112, 2464).
    pub fn group_mac(self) -> Option<Mac> {
        let [.., a, b, c, d] = self.0.to_be_bytes();
        match IpAddr::from(self) {
            IpAddr::V4(ip) if ip.is_broadcast() => Some([0xff; 6]),
            IpAddr::V4(ip) if ip.is_multicast() => Some([1, 0, 0x5e, b & 0x7f, c, d]),
            IpAddr::V6(ip) if ip.is_multicast() => Some([0x33, 0x33, a, b, c, d]),
            _ => None,
        }
    }

    /// An IPv6 address that means something on its link only.
    pub fn is_link_local(self) -> bool {
        matches!(IpAddr::from(self), IpAddr::V6(ip) if ip.is_unicast_link_local())
    }

    pub fn is_loopback(self) -> bool {
        IpAddr::from(self).is_loopback()
    }
}

impl From<IpAddr> for Ip {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::v4(v4.to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits()),
        }
    }
}

impl From<Ip> for IpAddr {
    fn from(ip: Ip) -> Self {
        if ip.is_v4() {
            Ipv4Addr::from_bits(ip.0 as u32).into()
        } else {
            Ipv6Addr::from_bits(ip.0).into()
        }
    }
}

impl core::fmt::Debug for Ip {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

pub type Mac = [u8; 6];

/// What identifies a connection: addresses and ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowKey {
    pub local: Ip,
    pub remote: Ip,
    pub local_port: u16,
    pub remote_port: u16,
}

pub const ETHERNET: usize = 14;
pub const IPV4: usize = 20;
pub const IPV6: usize = 40;
pub const TCP: usize = 20;
pub const UDP: usize = 8;
/// The longest headers written here: Ethernet, IPv6, TCP with all its options.
pub const MAX_HEADERS: usize = ETHERNET + IPV6 + 60;

pub const PROTOCOL_ICMP: u8 = 1;
pub const PROTOCOL_TCP: u8 = 6;
pub const PROTOCOL_ICMPV6: u8 = 58;
pub const PROTOCOL_UDP: u8 = 17;

/// TCP flags.
pub mod flags {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const PSH: u8 = 8;
    pub const ACK: u8 = 16;
}

// Always: of an array their bounds are known then.
#[inline(always)]
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn be128(bytes: &[u8], at: usize) -> u128 {
    let mut word = [0; 16];
    word.copy_from_slice(&bytes[at..at + 16]);
    u128::from_be_bytes(word)
}

// --- Checksums -----------------------------------------------------------------------------------------

/// Adds bytes to a ones' complement sum (RFC 1071), not folded. `bytes` starts at an even offset of what is summed.
#[inline]
pub fn sum(bytes: &[u8], start: u64) -> u64 {
    let mut total = start;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let (words, rest) = rest.as_chunks::<2>();
    for word in words {
        total += u64::from(u16::from_ne_bytes(*word));
    }
    if let [last] = rest {
        total += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    total
}

/// Folds a sum to 16 bits, in memory order.
#[inline]
pub fn fold(mut total: u64) -> u16 {
    total = (total & 0xffff_ffff) + (total >> 32);
    total = (total & 0xffff_ffff) + (total >> 32);
    let mut total = total as u32;
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    total as u16
}

/// A sum over pieces that may have odd lengths.
#[derive(Clone, Copy)]
pub struct Sum {
    total: u64,
    odd: bool,
}

impl Sum {
    pub fn new(start: u64) -> Self {
        Self {
            total: start,
            odd: false,
        }
    }

    pub fn add(&mut self, bytes: &[u8]) {
        let part = fold(sum(bytes, 0));
        let part = if self.odd { part.swap_bytes() } else { part };
        self.total += u64::from(part);
        self.odd ^= bytes.len() % 2 == 1;
    }

    pub fn finish(self) -> u16 {
        !fold(self.total)
    }
}

/// The sum of TCP's and UDP's pseudo-header.
#[inline]
pub fn pseudo_header(source: Ip, target: Ip, protocol: u8, length: usize) -> u64 {
    let mut total = if source.is_v4() {
        sum(&(source.0 as u32).to_be_bytes(), 0) + sum(&(target.0 as u32).to_be_bytes(), 0)
    } else {
        sum(&source.0.to_be_bytes(), 0) + sum(&target.0.to_be_bytes(), 0)
    };
    total += u64::from(u16::from_ne_bytes([0, protocol]));
    total + sum(&(length as u32).to_be_bytes(), 0)
}

// --- Receiving -----------------------------------------------------------------------------------------

/// The options of a segment that are understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub mss: Option<u16>,
    pub window_scale: Option<u8>,
    pub sack_permitted: bool,
    pub sack: [(u32, u32); 4],
    pub sack_count: u8,
}

/// A TCP header, but for the ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub options: Options,
}

/// A received packet of a transport, taken apart.
#[derive(Clone, Debug)]
pub struct Packet {
    pub target_mac: Mac,
    pub source_mac: Mac,
    /// `local` is where it goes to, `remote` where it comes from.
    pub key: FlowKey,
    /// Where the transport's payload lies in the frame; it ends in a later buffer if that has several.
    pub payload: Range<usize>,
    /// The number of the card that it came by, for whoever has the frame to say.
    pub card: u8,
}

impl Packet {
    /// Back to where it came from.
    pub fn answer_path(&self) -> Path {
        Path {
            source_mac: self.target_mac,
            target_mac: self.source_mac,
            source: self.key.local,
            target: self.key.remote,
            loopback: self.source_mac == [0; 6],
            card: self.card,
        }
    }
}

/// A received TCP segment.
#[derive(Clone, Debug)]
pub struct Segment {
    pub packet: Packet,
    pub tcp: Tcp,
}

/// What a frame holds.
#[derive(Clone, Debug)]
pub enum Parsed {
    Segment(Segment),
    Datagram(Packet),
    /// For the slow path: no IP, fragments, extension headers, other transports.
    Other,
}

impl Parsed {
    /// Takes a frame apart whose headers lie in `head`, and which is `length` bytes long in all. `Err` for what is
    /// broken.
    ///
    /// Does not look at checksums of the transport; see [`checksum_holds`].
    // In its one caller, so that what it finds is not copied.
    #[inline(always)]
    pub fn of(head: &[u8], length: usize) -> Result<Self, ()> {
        let (ethernet, ip) = head.split_first_chunk::<ETHERNET>().ok_or(())?;
        let (mut target_mac, mut source_mac) = ([0; 6], [0; 6]);
        target_mac.copy_from_slice(&ethernet[..6]);
        source_mac.copy_from_slice(&ethernet[6..12]);
        let (source, target, protocol, start, end) = match be16(ethernet, 12) {
            0x0800 => {
                let fixed = ip.first_chunk::<IPV4>().ok_or(())?;
                if fixed[0] >> 4 != 4 {
                    return Err(());
                }
                let header = usize::from(fixed[0] & 15) * 4;
                let total = usize::from(be16(fixed, 2));
                if header < IPV4
                    || ip.len() < header
                    || total < header
                    || ETHERNET + total > length
                    || fold(sum(&ip[..header], 0)) != 0xffff
                {
                    return Err(());
                }
                // More fragments, or not the first.
                if be16(fixed, 6) & 0x3fff != 0 {
                    return Ok(Self::Other);
                }
                let (source, target) = (Ip::v4(be32(fixed, 12)), Ip::v4(be32(fixed, 16)));
                (source, target, fixed[9], header, total)
            }
            0x86dd => {
                if ip.len() < IPV6 || ip[0] >> 4 != 6 {
                    return Err(());
                }
                let total = IPV6 + usize::from(be16(ip, 4));
                if ETHERNET + total > length {
                    return Err(());
                }
                let (source, target) = (Ip(be128(ip, 8)), Ip(be128(ip, 24)));
                // A mapped address must not come in over the wire.
                if source.is_v4() || target.is_v4() {
                    return Err(());
                }
                (source, target, ip[6], IPV6, total)
            }
            _ => return Ok(Self::Other),
        };
        let body = &ip[start..];
        let packet = |remote_port, local_port, payload| Packet {
            target_mac,
            source_mac,
            key: FlowKey {
                local: target,
                remote: source,
                local_port,
                remote_port,
            },
            payload,
            card: 0,
        };
        match protocol {
            PROTOCOL_TCP => {
                let (tcp, header) = Tcp::parse(body)?;
                if start + header > end {
                    return Err(());
                }
                let payload = ETHERNET + start + header..ETHERNET + end;
                Ok(Self::Segment(Segment {
                    packet: packet(be16(body, 0), be16(body, 2), payload),
                    tcp,
                }))
            }
            PROTOCOL_UDP => {
                if body.len() < UDP {
                    return Err(());
                }
                let said = usize::from(be16(body, 4));
                if said < UDP || start + said > end {
                    return Err(());
                }
                let payload = ETHERNET + start + UDP..ETHERNET + start + said;
                Ok(Self::Datagram(packet(
                    be16(body, 0),
                    be16(body, 2),
                    payload,
                )))
            }
            _ => Ok(Self::Other),
        }
    }
}

impl Tcp {
    /// Whether a flag is set.
    #[inline]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it opens a connection: SYN, neither ACK nor RST.
    #[inline]
    pub fn opens(&self) -> bool {
        self.flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN
    }

    /// A header and its length.
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Result<(Self, usize), ()> {
        let fixed = bytes.first_chunk::<TCP>().ok_or(())?;
        let header = usize::from(fixed[12] >> 4) * 4;
        if header < TCP || header > bytes.len() {
            return Err(());
        }
        let mut tcp = Self {
            seq: be32(fixed, 4),
            ack: be32(fixed, 8),
            flags: fixed[13] & 0x1f,
            window: be16(fixed, 14),
            options: Options::default(),
        };
        if header > TCP {
            tcp.options.read(&bytes[TCP..header]);
        }
        Ok((tcp, header))
    }
}

impl Options {
    fn read(&mut self, mut bytes: &[u8]) {
        while let [kind, rest @ ..] = bytes {
            match kind {
                0 => return,
                1 => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            let Some(&length) = rest.first() else { return };
            let length = usize::from(length);
            if length < 2 || length > bytes.len() {
                return;
            }
            let value = &bytes[2..length];
            match (kind, value.len()) {
                (2, 2) => self.mss = Some(be16(value, 0)),
                (3, 1) => self.window_scale = Some(value[0].min(14)),
                (4, 0) => self.sack_permitted = true,
                (5, n) if n % 8 == 0 => {
                    for block in value.chunks_exact(8).take(4) {
                        self.sack[usize::from(self.sack_count)] = (be32(block, 0), be32(block, 4));
                        self.sack_count += 1;
                    }
                }
                _ => {}
            }
            bytes = &bytes[length..];
        }
    }
}

/// Whether the transport's checksum holds, over all pieces of the packet; `head` is the first.
pub fn checksum_holds(packet: &Packet, head: &[u8], more: &[&[u8]], is_tcp: bool) -> bool {
    let header = if is_tcp { None } else { Some(UDP) };
    let start = match header {
        Some(header) => packet.payload.start - header,
        // The header ends where the payload starts; its start follows from the IP header.
        None if packet.key.remote.is_v4() => ETHERNET + usize::from(head[ETHERNET] & 15) * 4,
        None => ETHERNET + IPV6,
    };
    // UDP over IPv4 may go without.
    if !is_tcp && packet.key.remote.is_v4() && be16(head, start + 6) == 0 {
        return true;
    }
    let length = packet.payload.end - start;
    let protocol = if is_tcp { PROTOCOL_TCP } else { PROTOCOL_UDP };
    let mut sum = Sum::new(pseudo_header(
        packet.key.remote,
        packet.key.local,
        protocol,
        length,
    ));
    let mut left = length;
    let mut from = start;
    for piece in core::iter::once(head).chain(more.iter().copied()) {
        let part = &piece[from.min(piece.len())..];
        let part = &part[..part.len().min(left)];
        sum.add(part);
        left -= part.len();
        from = 0;
    }
    left == 0 && sum.finish() == 0
}

// --- Sending -------------------------------------------------------------------------------------------

/// Where a packet goes: what the headers below TCP and UDP say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    pub source_mac: Mac,
    pub target_mac: Mac,
    pub source: Ip,
    pub target: Ip,
    /// To this machine itself: no device sees it.
    pub loopback: bool,
    /// The number of the card that sends it.
    pub card: u8,
}

impl Path {
    /// Length of the Ethernet and IP headers.
    #[inline]
    pub fn headers(&self) -> usize {
        ETHERNET + if self.source.is_v4() { IPV4 } else { IPV6 }
    }

    /// Writes Ethernet and IP headers in front of `length` bytes of a transport. Returns their length.
    #[inline]
    pub fn write(&self, out: &mut [u8], protocol: u8, length: usize) -> usize {
        out[..6].copy_from_slice(&self.target_mac);
        out[6..12].copy_from_slice(&self.source_mac);
        if self.source.is_v4() {
            out[12..14].copy_from_slice(&[0x08, 0x00]);
            let ip = &mut out[ETHERNET..ETHERNET + IPV4];
            ip[..2].copy_from_slice(&[0x45, 0]);
            // A segment that the device is to cut may be longer than the field can say; the device writes it anew.
            ip[2..4].copy_from_slice(&((IPV4 + length).min(0xffff) as u16).to_be_bytes());
            // No identification: do not fragment (RFC 6864).
            ip[4..10].copy_from_slice(&[0, 0, 0x40, 0, 64, protocol]);
            ip[10..12].copy_from_slice(&[0, 0]);
            ip[12..16].copy_from_slice(&(self.source.0 as u32).to_be_bytes());
            ip[16..20].copy_from_slice(&(self.target.0 as u32).to_be_bytes());
            let check = !fold(sum(ip, 0));
            ip[10..12].copy_from_slice(&check.to_ne_bytes());
            ETHERNET + IPV4
        } else {
            out[12..14].copy_from_slice(&[0x86, 0xdd]);
            let ip = &mut out[ETHERNET..ETHERNET + IPV6];
            ip[..4].copy_from_slice(&[0x60, 0, 0, 0]);
            ip[4..6].copy_from_slice(&(length.min(0xffff) as u16).to_be_bytes());
            ip[6..8].copy_from_slice(&[protocol, 64]);
            ip[8..24].copy_from_slice(&self.source.0.to_be_bytes());
            ip[24..40].copy_from_slice(&self.target.0.to_be_bytes());
            ETHERNET + IPV6
        }
    }
}

/// What a packet's IP header says beside its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpOptions {
    pub hop_limit: u8,
    pub traffic_class: u8,
}

impl IpOptions {
    /// Of a received packet that begins with its Ethernet header.
    pub fn of(head: &[u8]) -> Self {
        let ip = &head[ETHERNET..];
        if ip[0] >> 4 == 4 {
            Self {
                hop_limit: ip[8],
                traffic_class: ip[1],
            }
        } else {
            Self {
                hop_limit: ip[7],
                traffic_class: ip[0] << 4 | ip[1] >> 4,
            }
        }
    }

    /// Puts them into headers that [`Path::write`] has written.
    pub fn write(self, head: &mut [u8]) {
        let ip = &mut head[ETHERNET..];
        if ip[0] >> 4 == 4 {
            ip[1] = self.traffic_class;
            ip[8] = self.hop_limit;
            ip[10..12].copy_from_slice(&[0, 0]);
            let check = !fold(sum(&ip[..IPV4], 0));
            ip[10..12].copy_from_slice(&check.to_ne_bytes());
        } else {
            ip[0] = 0x60 | self.traffic_class >> 4;
            ip[1] = self.traffic_class << 4;
            ip[7] = self.hop_limit;
        }
    }
}

/// A TCP header to be written. The options are those of a SYN if `mss` is there, else the SACK blocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpOut {
    pub source: u16,
    pub target: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub mss: Option<u16>,
    pub window_scale: Option<u8>,
    pub sack_permitted: bool,
    pub sack: [(u32, u32); 3],
    pub sack_count: u8,
}

impl TcpOut {
    /// A segment of a connection: `key`'s ports, and no window.
    pub fn of(key: &FlowKey, flags: u8, seq: u32, ack: u32) -> Self {
        Self {
            source: key.local_port,
            target: key.remote_port,
            seq,
            ack,
            flags,
            ..Self::default()
        }
    }

    /// A reset from this side of a connection.
    pub fn reset(key: &FlowKey, seq: u32) -> Self {
        Self::of(key, flags::RST, seq, 0)
    }

    #[inline]
    pub fn length(&self) -> usize {
        let mut options = 0;
        if self.mss.is_some() {
            options += 4;
            options += if self.window_scale.is_some() { 4 } else { 0 };
            options += if self.sack_permitted { 4 } else { 0 };
        } else if self.sack_count > 0 {
            options += 4 + 8 * usize::from(self.sack_count);
        }
        TCP + options
    }

    /// Writes the header, with a checksum field of zero, and returns its length.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> usize {
        let length = self.length();
        let out = &mut out[..length];
        out[..2].copy_from_slice(&self.source.to_be_bytes());
        out[2..4].copy_from_slice(&self.target.to_be_bytes());
        out[4..8].copy_from_slice(&self.seq.to_be_bytes());
        out[8..12].copy_from_slice(&self.ack.to_be_bytes());
        out[12] = ((length / 4) << 4) as u8;
        out[13] = self.flags;
        out[14..16].copy_from_slice(&self.window.to_be_bytes());
        out[16..20].copy_from_slice(&[0; 4]);
        if length == TCP {
            return length;
        }
        let mut at = TCP;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            put(&[2, 4, high, low]);
            if let Some(scale) = self.window_scale {
                put(&[1, 3, 3, scale]);
            }
            if self.sack_permitted {
                put(&[1, 1, 4, 2]);
            }
        } else {
            put(&[1, 1, 5, 2 + 8 * self.sack_count]);
            for (from, to) in &self.sack[..usize::from(self.sack_count)] {
                put(&from.to_be_bytes());
                put(&to.to_be_bytes());
            }
        }
        length
    }
}
