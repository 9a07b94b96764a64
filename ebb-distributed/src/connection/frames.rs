//! What the peer's frames do to a connection.
//!
//! What must hold: a frame that breaks a rule of the protocol changes nothing that its owner sees but the end of the connection.

use super::Connection;
use crate::{
    events::{Closed, Event, Running},
    failure::failure,
    frame::{
        Call, Frame, Hello, OLDEST_VERSION, ONEWAY, Payload, STREAM_DOWN, STREAM_UP, Status,
        VERSION,
    },
};

impl Connection {
    /// # Errors
    /// The peer broke a rule.
    pub(super) fn take(&mut self, frame: Frame) -> Result<(), Closed> {
        match (frame, self.peer) {
            (Frame::Hello(hello), None) => self.greeted(hello),
            (Frame::Hello(_), Some(_)) | (_, None) => Err(Closed::Protocol),
            (Frame::Call(call), _) => self.called(call),
            (Frame::Answer(id, status, payload), _) => self.answered(id, status, payload),
            (Frame::Cancel(id), _) => {
                self.known(id)?;
                self.stop(id, Status::Cancelled);
                Ok(())
            }
            (Frame::Up(id, payload), _) => {
                self.known(id)?;
                let Some(running) = self.running.get_mut(id) else {
                    return Ok(());
                };
                if !running.up {
                    return Err(Closed::Protocol);
                }
                running.up_credit = running.up_credit.checked_sub(1).ok_or(Closed::Protocol)?;
                self.events.push_back(Event::Up(id, payload));
                Ok(())
            }
            (Frame::UpEnd(id), _) => {
                self.known(id)?;
                let Some(running) = self.running.get_mut(id) else {
                    return Ok(());
                };
                if !core::mem::replace(&mut running.up, false) {
                    return Err(Closed::Protocol);
                }
                self.events.push_back(Event::UpEnd(id));
                Ok(())
            }
            (Frame::UpCredit(id, items), _) => {
                let flight = self.flights.get_mut(id).ok_or(Closed::Protocol)?;
                flight.up_credit = flight
                    .up_credit
                    .checked_add(items)
                    .ok_or(Closed::Protocol)?;
                if !flight.forgotten {
                    self.events.push_back(Event::UpWritable(id));
                }
                Ok(())
            }
            (Frame::Down(id, payload), _) => {
                let flight = self.flights.get_mut(id).ok_or(Closed::Protocol)?;
                flight.down = flight.down.checked_sub(1).ok_or(Closed::Protocol)?;
                if !flight.forgotten {
                    self.events.push_back(Event::Down(id, payload));
                }
                Ok(())
            }
            (Frame::DownCredit(id, items), _) => {
                self.known(id)?;
                let Some(running) = self.running.get_mut(id) else {
                    return Ok(());
                };
                running.down_credit = running
                    .down_credit
                    .checked_add(items)
                    .ok_or(Closed::Protocol)?;
                self.events.push_back(Event::DownWritable(id));
                Ok(())
            }
            (Frame::Ping(number), _) => {
                // Only the newest is answered, so that pings which nobody reads the answers of cost nothing.
                self.pong = Some(number);
                Ok(())
            }
            (Frame::Pong(_), _) => Ok(()),
        }
    }

    /// An id that the peer has used: its call may be over, since what it sends and what it has been sent cross.
    fn known(&self, id: u64) -> Result<(), Closed> {
        if id <= self.last_call {
            Ok(())
        } else {
            Err(Closed::Protocol)
        }
    }

    fn greeted(&mut self, hello: Hello) -> Result<(), Closed> {
        if hello.oldest > VERSION || hello.newest < OLDEST_VERSION {
            return Err(Closed::Version);
        }
        self.peer = Some(hello);
        let Hello {
            node, incarnation, ..
        } = hello;
        self.events.push_back(Event::Ready { node, incarnation });
        Ok(())
    }

    fn called(&mut self, call: Call) -> Result<(), Closed> {
        let bytes = call.payload.len();
        let within = self.running.len() < self.limits.calls as usize
            && self.running_bytes + bytes <= self.limits.call_bytes as usize;
        if call.id <= self.last_call || !within {
            return Err(Closed::Protocol);
        }
        self.last_call = call.id;
        let deadline_ns = (call.remaining_us != u64::MAX).then(|| {
            self.now_ns
                .saturating_add(call.remaining_us.saturating_mul(1000))
        });
        if let Some(deadline) = deadline_ns {
            self.deadlines.insert((deadline, true, call.id));
        }
        let up = call.flags & STREAM_UP != 0;
        self.running_bytes += bytes;
        let running = Running {
            bytes,
            deadline_ns,
            up,
            up_credit: 0,
            down: call.flags & STREAM_DOWN != 0,
            down_credit: call.credit,
        };
        self.running.insert(call.id, running);
        self.events.push_back(Event::Called {
            id: call.id,
            ebb: call.ebb,
            method: call.method,
            flags: call.flags & (ONEWAY | STREAM_UP | STREAM_DOWN),
            deadline_ns,
            payload: call.payload,
        });
        if up {
            self.grant_up(call.id, self.limits.stream_items);
        }
        Ok(())
    }

    fn answered(&mut self, id: u64, status: Status, payload: Payload) -> Result<(), Closed> {
        let flight = self.flights.remove(id).ok_or(Closed::Protocol)?;
        self.flight_bytes -= flight.bytes;
        if let Some(deadline) = flight.deadline_ns {
            self.deadlines.remove(&(deadline, false, id));
        }
        if !flight.forgotten {
            let result = match status {
                Status::Ok => Ok(payload),
                status => Err(failure(status)),
            };
            self.events.push_back(Event::Answered { id, result });
        }
        Ok(())
    }
}
