//! How the kernel says that a connection fares: `TCP_INFO`, read by the offsets of `linux/tcp.h`, because the structure of the C
//! library ends where Linux' of twenty years ago did.

use std::{io, os::fd::AsRawFd, time::Duration};

use ebb_net::TcpInfo;
use socket2::Socket;

/// The structure of Linux 6.1; an older kernel fills less.
const BYTES: usize = 232;
/// `TCPI_OPT_SACK`, `TCPI_OPT_WSCALE`.
const SACK: u8 = 2;
const WSCALE: u8 = 4;

pub(super) fn of(socket: &Socket) -> io::Result<TcpInfo> {
    let mut info = [0; BYTES];
    let mut length = BYTES as libc::socklen_t;
    // SAFETY: `length` is that of `info`, which the kernel writes at most that far.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(told(&info))
}

fn told(info: &[u8; BYTES]) -> TcpInfo {
    let word = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_ne_bytes(info[at..at + 8].try_into().expect("eight bytes"));
    let micros = |at: usize| Duration::from_micros(word(at).into());
    let mss = word(16);
    TcpInfo {
        round_trip: micros(68),
        round_trip_variation: micros(72),
        retransmission_timeout: micros(8),
        timeouts: info[2],
        probes: info[3],
        backoff: info[4],
        sack: info[5] & SACK != 0,
        window_scales: (info[5] & WSCALE != 0).then_some((info[6] & 15, info[6] >> 4)),
        mss,
        // The kernel counts them in segments, and says of a threshold that there is none by its largest number.
        congestion_window: word(80).saturating_mul(mss),
        slow_start_threshold: match word(76) {
            0x7fff_ffff => u32::MAX,
            segments => segments.saturating_mul(mss),
        },
        in_flight: word(24).saturating_mul(mss),
        unsent: word(144),
        send_window: word(228),
        receive_window: word(96),
        bytes_acknowledged: long(120),
        bytes_resent: long(208),
        bytes_received: long(128),
        segments_resent: word(100),
        silence: Duration::from_millis(word(56).into()),
    }
}
