//! What a connection tells of itself.

use core::time::Duration;

use ebb_net::TcpInfo;

use super::{Connection, congestion::NO_THRESHOLD};

impl Connection {
    /// See [`NetStack::tcp_info`](ebb_net::NetStack::tcp_info).
    pub fn info(&self, now_ns: u64) -> TcpInfo {
        let (send, receive, congestion) = (&self.send, &self.receive, &self.congestion);
        let timers = &self.timers;
        let (round_trip_ns, variation_ns) = timers.round_trip.smoothed_ns();
        let scaled = receive.scale > 0;
        let sent_to = send.max.min(send.data_end());
        let in_flight = if sent_to.gt(send.data_start()) {
            sent_to - send.data_start()
        } else {
            0
        };
        TcpInfo {
            round_trip: Duration::from_nanos(round_trip_ns),
            round_trip_variation: Duration::from_nanos(variation_ns),
            retransmission_timeout: Duration::from_nanos(timers.backed_off_ns(8)),
            timeouts: timers.retries,
            probes: timers.probes,
            backoff: timers.backoff,
            sack: congestion.sack,
            window_scales: scaled.then_some((send.peer_scale, receive.scale)),
            mss: congestion.mss,
            congestion_window: congestion.cwnd,
            slow_start_threshold: match congestion.ssthresh {
                NO_THRESHOLD => u32::MAX,
                bytes => bytes,
            },
            in_flight,
            unsent: (send.queue.len() as u32).saturating_sub(in_flight),
            send_window: send.window,
            receive_window: receive.room(),
            bytes_acknowledged: send.acknowledged,
            bytes_resent: send.resent.0,
            bytes_received: receive.received,
            segments_resent: send.resent.1,
            silence: Duration::from_nanos(now_ns.saturating_sub(timers.heard_ns)),
        }
    }
}
