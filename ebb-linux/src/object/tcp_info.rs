//! `TCP_INFO`: how a connection fares, in the layout of `linux/tcp.h`.

use alloc::vec::Vec;

/// What a stack knows of a connection; what it does not know is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Microseconds of a round trip, smoothed, and how much they vary.
    pub round_trip_us: u32,
    /// See [`round_trip_us`](Self::round_trip_us).
    pub variation_us: u32,
    /// Microseconds for which an acknowledgement is waited for.
    pub timeout_us: u32,
    /// Timeouts in a row, probes without an answer, doublings of the timeout.
    pub timeouts: u8,
    /// See [`timeouts`](Self::timeouts).
    pub probes: u8,
    /// See [`timeouts`](Self::timeouts).
    pub backoff: u8,
    /// Both sides know selective acknowledgements.
    pub sack: bool,
    /// The shifts of the peer's window and of this side's, if windows are scaled.
    pub window_scales: Option<(u8, u8)>,
    /// Bytes of a full segment.
    pub mss: u32,
    /// Bytes of the longest packet on the way.
    pub path_mtu: u32,
    /// Bytes that the network is believed to hold, and below which that grows fast; `u32::MAX` for no such bound.
    pub congestion_window: u32,
    /// See [`congestion_window`](Self::congestion_window).
    pub slow_start_threshold: u32,
    /// Bytes sent and not acknowledged, and bytes that wait to be sent.
    pub in_flight: u32,
    /// See [`in_flight`](Self::in_flight).
    pub unsent: u32,
    /// What the peer takes, and what this side takes.
    pub send_window: u32,
    /// See [`send_window`](Self::send_window).
    pub receive_window: u32,
    /// Bytes that the peer has acknowledged, that were sent again, and that have come.
    pub bytes_acknowledged: u64,
    /// See [`bytes_acknowledged`](Self::bytes_acknowledged).
    pub bytes_resent: u64,
    /// See [`bytes_acknowledged`](Self::bytes_acknowledged).
    pub bytes_received: u64,
    /// Segments that were sent again.
    pub segments_resent: u32,
    /// Milliseconds since the peer was heard.
    pub silence_ms: u32,
}

/// The structure's length in Linux 6.1.
const BYTES: usize = 232;
/// `TCPI_OPT_SACK`, `TCPI_OPT_WSCALE`.
const SACK: u8 = 2;
const WSCALE: u8 = 4;
/// The state of a socket that takes connections.
const LISTEN: u8 = 10;
/// What Linux says of a threshold that no loss has set, and how far it believes that segments overtake one another.
const NO_THRESHOLD: u32 = 0x7fff_ffff;
const REORDERING: u32 = 3;

impl TcpInfo {
    /// What a connection within the machine is: nothing is lost on its way.
    pub(crate) fn of_loopback(mss: u32) -> Self {
        Self {
            timeout_us: 200_000,
            sack: true,
            window_scales: Some((7, 7)),
            mss,
            path_mtu: 65_536,
            congestion_window: 10 * mss,
            slow_start_threshold: u32::MAX,
            send_window: 65_536,
            receive_window: 65_536,
            ..Self::default()
        }
    }

    /// The structure; `state` is the connection's number there.
    pub(crate) fn to_bytes(self, state: u8) -> Vec<u8> {
        let mut info = alloc::vec![0; BYTES];
        let mss = self.mss.max(1);
        let scale = self.window_scales;
        let mut options = 0;
        if self.sack {
            options |= SACK;
        }
        if scale.is_some() {
            options |= WSCALE;
        }
        let (peer, own) = scale.unwrap_or_default();
        let resending = u8::from(self.timeouts > 0) * 4;
        info[..7].copy_from_slice(&[
            state,
            // TCP_CA_Open, TCP_CA_Loss
            resending,
            self.timeouts,
            self.probes,
            self.backoff,
            options,
            peer & 15 | own << 4,
        ]);
        // The rate of delivery is what the program gives it, not what the network takes (delivery_rate_app_limited).
        info[7] = u8::from(self.unsent == 0 && !matches!(state, LISTEN));
        let threshold = match self.slow_start_threshold {
            u32::MAX => NO_THRESHOLD,
            bytes => bytes / mss,
        };
        for (at, word) in [
            (8, self.timeout_us),
            (12, 40_000),
            (16, self.mss),
            (20, self.mss),
            (24, self.in_flight.div_ceil(mss)),
            (52, self.silence_ms),
            (56, self.silence_ms),
            (60, self.path_mtu),
            (64, self.receive_window),
            (68, self.round_trip_us),
            (72, self.variation_us),
            (76, threshold),
            (80, self.congestion_window / mss),
            (84, self.mss),
            (88, REORDERING),
            (96, self.receive_window),
            (100, self.segments_resent),
            (144, self.unsent),
            (148, self.round_trip_us),
            (228, self.send_window),
        ] {
            info[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let sent = self.bytes_acknowledged + u64::from(self.in_flight) + self.bytes_resent;
        for (at, long) in [
            (112, u64::MAX),
            (120, self.bytes_acknowledged),
            (128, self.bytes_received),
            (200, sent),
            (208, self.bytes_resent),
        ] {
            info[at..at + 8].copy_from_slice(&long.to_le_bytes());
        }
        info
    }
}
