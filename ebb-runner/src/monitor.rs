//! QEMU's monitor (QMP, one JSON object a line): why the machine stopped, where its cores are,
//! and a non-maskable interrupt for a hanging image.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use serde_json::{Value, json};

/// QEMU's answers are some kilobytes per core.
const LONGEST: usize = 4 << 20;

/// What QEMU said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is up.
    Greeting,
    /// Its main loop runs, so its devices and ports are there.
    Running,
    /// The machine stopped; the reason in QMP's words (`guest-reset`, `guest-shutdown` ...).
    Stopped(String),
    /// Where the cores are.
    Cores(Vec<Core>),
    /// The memory has been written, or why not.
    Dumped(Result<(), String>),
}

/// One core as the monitor shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// Its number.
    pub index: u32,
    /// Its instruction pointer.
    pub instruction: u64,
    /// Its stack pointer.
    pub stack: u64,
    /// The last page-fault address.
    pub fault: u64,
    /// Whether it waits in `hlt`.
    pub halted: bool,
}

/// The runner's end.
pub struct Monitor {
    socket: UnixStream,
    line: Vec<u8>,
    open: bool,
    /// Whether QEMU has greeted.
    pub greeted: bool,
}

impl Monitor {
    /// Over this socket, which must be nonblocking.
    pub fn new(socket: UnixStream) -> Self {
        let mut monitor = Self {
            socket,
            line: Vec::new(),
            open: true,
            greeted: false,
        };
        // No events come before this; the status afterwards covers a machine that stopped earlier.
        monitor.send(&json!({ "execute": "qmp_capabilities" }));
        monitor.send(&json!({ "execute": "query-status" }));
        monitor
    }

    /// The socket to poll, while QEMU has its end open.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.open.then(|| self.socket.as_fd())
    }

    /// Asks where the cores are.
    pub fn ask_cores(&mut self) {
        let command = json!({ "command-line": "info registers -a" });
        self.send(
            &json!({ "execute": "human-monitor-command", "id": "cores", "arguments": command }),
        );
    }

    /// Writes the machine's memory and registers to a file, in the form of a core file. By virtual addresses: that is what a
    /// debugger asks for.
    pub fn dump(&mut self, file: &str) {
        let arguments = json!({ "paging": true, "protocol": format!("file:{file}") });
        self.send(&json!({ "execute": "dump-guest-memory", "id": "dump", "arguments": arguments }));
    }

    /// Presses the power button.
    pub fn power_button(&mut self) {
        self.send(&json!({ "execute": "system_powerdown" }));
    }

    /// Interrupts every core with an NMI.
    pub fn interrupt(&mut self) {
        self.send(&json!({ "execute": "inject-nmi" }));
    }

    /// Reads what has arrived.
    pub fn read(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.open = false,
                Ok(n) => {
                    for &byte in &buffer[..n] {
                        if byte == b'\n' {
                            events.extend(self.end_line());
                        } else if self.line.len() < LONGEST {
                            self.line.push(byte);
                        }
                    }
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.open = false,
            }
            return events;
        }
    }

    fn end_line(&mut self) -> Option<Event> {
        let message = serde_json::from_slice(&std::mem::take(&mut self.line)).ok()?;
        // The event does not say why: a debugger may have stopped it, or it cannot go on.
        if is_halt(&message) {
            self.send(&json!({ "execute": "query-status" }));
        }
        let event = interpret(&message)?;
        self.greeted |= event == Event::Greeting;
        Some(event)
    }

    fn send(&mut self, command: &Value) {
        // A few short lines never fill the socket; a QEMU that is gone is noticed elsewhere.
        let _ = self.socket.write_all(format!("{command}\n").as_bytes());
    }
}

/// Whether the cores stand still from now on.
fn is_halt(message: &Value) -> bool {
    message["event"] == "STOP"
}

/// States out of which a machine does not come by itself (QEMU, `qapi/run-state.json`).
const STUCK: [&str; 3] = ["internal-error", "io-error", "guest-panicked"];

fn interpret(message: &Value) -> Option<Event> {
    if message.get("QMP").is_some() {
        return Some(Event::Greeting);
    }
    if message["event"] == "SHUTDOWN" {
        return Some(Event::Stopped(
            message["data"]["reason"]
                .as_str()
                .unwrap_or("unknown")
                .into(),
        ));
    }
    if message["return"]["status"] == "running" {
        return Some(Event::Running);
    }
    if message["return"]["status"] == "shutdown" {
        return Some(Event::Stopped("unknown".into()));
    }
    if let Some(status) = message["return"]["status"].as_str()
        && STUCK.contains(&status)
    {
        return Some(Event::Stopped(status.into()));
    }
    if message["id"] == "dump" {
        return Some(Event::Dumped(match message["error"]["desc"].as_str() {
            Some(why) => Err(why.into()),
            None => Ok(()),
        }));
    }
    if message["id"] == "cores" {
        return Some(Event::Cores(parse_cores(
            message["return"].as_str().unwrap_or_default(),
        )));
    }
    None
}

/// Reads the text of `info registers -a`.
fn parse_cores(text: &str) -> Vec<Core> {
    let core = |block: &str| -> Option<Core> {
        let hex = |keys: [&str; 2]| {
            keys.iter().find_map(|key| {
                let (_, rest) = block.split_once(key)?;
                u64::from_str_radix(rest.split(|c: char| !c.is_ascii_hexdigit()).next()?, 16).ok()
            })
        };
        Some(Core {
            index: block
                .split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()?,
            instruction: hex(["RIP=", "EIP="])?,
            stack: hex(["RSP=", "ESP="])?,
            fault: hex(["CR2=", "CR2 ="]).unwrap_or(0),
            halted: block.contains("HLT=1"),
        })
    };
    text.split("CPU#").skip(1).filter_map(core).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_read_in_both_widths() {
        let text = "\r\nCPU#0\r\nRAX=1 RBX=2\r\nRSI=0 RSP=ffffffff80001000\r\nR8 =0\r\nRIP=ffffffff80002abc RFL=2 [-] HLT=1\r\nCR0=1 CR2=0000000000000bad CR3=0\r\n\r\nCPU#11\r\nEAX=0 ESP=00006edc\r\nEIP=00100007 EFL=6 HLT=0\r\nCR0=1 CR2=00000000\r\n";
        assert_eq!(
            parse_cores(text),
            [
                Core {
                    index: 0,
                    instruction: 0xffff_ffff_8000_2abc,
                    stack: 0xffff_ffff_8000_1000,
                    fault: 0xbad,
                    halted: true
                },
                Core {
                    index: 11,
                    instruction: 0x10_0007,
                    stack: 0x6edc,
                    fault: 0,
                    halted: false
                },
            ]
        );
        for text in [
            "",
            "CPU#",
            "CPU#x\r\nRIP=1",
            "CPU#0\r\nRIP=zz RSP=1",
            "CPU#99999999999\r\nRIP=1 RSP=1",
        ] {
            assert_eq!(parse_cores(text), [], "{text}");
        }
    }

    #[test]
    fn messages_are_understood_or_ignored() {
        let event = |text: &str| interpret(&serde_json::from_str(text).unwrap());
        assert_eq!(event(r#"{"QMP": {"version": {}}}"#), Some(Event::Greeting));
        let stopped = r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        assert_eq!(event(stopped), Some(Event::Stopped("guest-reset".into())));
        assert_eq!(
            event(r#"{"return": {"status": "running", "running": true}}"#),
            Some(Event::Running)
        );
        assert_eq!(
            event(r#"{"return": {"status": "shutdown", "running": false}}"#),
            Some(Event::Stopped("unknown".into()))
        );
        assert_eq!(
            event(r#"{"return": "", "id": "cores"}"#),
            Some(Event::Cores(vec![]))
        );
        assert_eq!(
            event(r#"{"return": {"status": "internal-error", "running": false}}"#),
            Some(Event::Stopped("internal-error".into()))
        );
        for text in [
            r#"{"return": {"status": "paused", "running": false}}"#,
            r#"{"event": "STOP"}"#,
            r#"{"return": {}}"#,
            r#"{"event": "RESUME"}"#,
            "7",
            "[]",
            "null",
        ] {
            assert_eq!(event(text), None, "{text}");
        }
    }

    #[test]
    fn a_message_may_arrive_in_pieces_and_the_end_is_noticed() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut monitor = Monitor::new(ours);
        theirs.write_all(b"{\"QM").unwrap();
        assert_eq!(monitor.read(), []);
        theirs
            .write_all(b"P\": {}}\r\nrubbish\n{\"event\": \"SHUTDOWN\"}\n")
            .unwrap();
        assert_eq!(
            monitor.read(),
            [Event::Greeting, Event::Stopped("unknown".into())]
        );
        assert!(monitor.greeted && monitor.poll_fd().is_some());
        let mut asked = [0; 4096];
        let _ = theirs.read(&mut asked).unwrap();
        theirs.write_all(b"{\"event\": \"STOP\"}\n").unwrap();
        assert_eq!(monitor.read(), []);
        let n = theirs.read(&mut asked).unwrap();
        assert!(String::from_utf8_lossy(&asked[..n]).contains("query-status"));
        drop(theirs);
        assert_eq!(monitor.read(), []);
        assert!(monitor.poll_fd().is_none());
    }
}
