//! Messages for people: standard output and input.

use std::{
    env,
    io::{self, Write},
    sync::LazyLock,
};

use ebb_runtime::{platform::Console, provides};

use super::Linux;

#[provides(Console, default, instance = &Linux)]
impl Console for Linux {
    fn write(&self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut ready = libc::pollfd {
            fd: 0,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        if unsafe { libc::poll(&mut ready, 1, 0) } <= 0 {
            return 0;
        }
        // Past the standard library's buffer, which poll does not see.
        // SAFETY: the buffer is valid for its length.
        let read = unsafe { libc::read(0, buffer.as_mut_ptr().cast(), buffer.len()) };
        usize::try_from(read).unwrap_or(0)
    }

    fn note(&self, line: &str) {
        eprintln!("{line}");
    }

    fn inform(&self, line: &str) {
        static QUIET: LazyLock<bool> =
            LazyLock::new(|| env::var("EBB_QUIET").is_ok_and(|value| !matches!(&*value, "" | "0")));
        if !*QUIET {
            self.note(line);
        }
    }
}
