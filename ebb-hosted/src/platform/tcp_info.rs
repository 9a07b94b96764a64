//! How the kernel says that a connection fares: `TCP_INFO`, read by the offsets of `linux/tcp.h`, because the structure of the C
//! library ends where Linux' of twenty years ago did. Linux counts the SYN of the side that opened a connection as a byte of it.

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    #[test]
    fn both_ends_tell_what_has_gone_between_them() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("bound")).expect("it is there");
        let (mut server, _) = listener.accept().expect("it has come");
        client.write_all(&[7; 5000]).expect("there is room");
        server.read_exact(&mut [0; 5000]).expect("it comes");
        server.write_all(&[7; 20]).expect("there is room");
        client.read_exact(&mut [0; 20]).expect("it comes");
        let [client, server] =
            [client, server].map(|end| of(&Socket::from(end)).expect("it is TCP"));
        // The kernel counts the SYN among the bytes of the side that opened it.
        assert_eq!((client.bytes_received, server.bytes_received), (20, 5001));
        assert_eq!(
            (client.bytes_acknowledged, server.bytes_acknowledged),
            (5001, 20)
        );
        assert_eq!(
            (client.in_flight, client.unsent, client.segments_resent),
            (0, 0, 0)
        );
        assert!(client.round_trip > Duration::ZERO && client.mss > 500);
        assert!(client.congestion_window >= client.mss && client.send_window > 0);
    }
}
