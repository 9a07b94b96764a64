//! Instances in the image: each is a UC in which an unmodified Node runs the loader.
//!
//! The loader is spoken to over a channel that is the guest's descriptor 3 (`--fd 3`, frames as in
//! `ebb_openwhisk::instance`); descriptors 1 and 2 are channels as well, whose bytes become the activation's logs. All
//! three are emptied whenever this side looks, so a guest that writes much never waits for long.

use alloc::{boxed::Box, format, rc::Rc, string::String, vec::Vec};
use core::{future::poll_fn, pin::pin, task::Poll};

use ebb_linux::{
    Errno, Exit, Options, Program, Uc,
    object::{channel::ChannelId, flags::OpenFlags, poll::Registration, wait::Events},
};
use ebb_openwhisk::{
    instance::{Boxed, Deploy, Instance, Lost, Request, Wanted, frame, take_answer},
    logs::{Collector, Stream},
};
use ebb_runtime::{provides, time::unix_time};

// One core for each program, so V8's pool of helpers brings nothing.
ebb_archive::manifest!(
    "program node\nargs --v8-pool-size=0 --expose-gc\nworkdir /tmp\n\
     env NODE_ENV=production HOME=/tmp TMPDIR=/tmp\n\
     file /loader.js examples/invoker/loader.js\ntree /loader examples/invoker/loader\n"
);

/// Bytes of log that wait to be drained; what is more is dropped, so that an action cannot fill the memory.
const LOG_LIMIT: usize = 12 << 20;
/// What V8 says on standard error before it gives up.
const OUT_OF_MEMORY: &[u8] = b"JavaScript heap out of memory";
/// MB that Node itself takes besides an action's heap.
const NODE: u64 = 192;

struct Image;

#[provides(Deploy, instance = &Image)]
impl Deploy for Image {
    fn start(&self, wanted: Wanted) -> Boxed<'static, Result<Box<dyn Instance>, String>> {
        Box::pin(async move {
            let guest = Guest::start(wanted)
                .map_err(|errno| format!("an instance cannot be started: {}", errno.text()))?;
            Ok(Box::new(guest) as Box<dyn Instance>)
        })
    }

    fn description(&self) -> String {
        String::from("unikernel contexts, each an unmodified Node.js")
    }

    fn actions(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        Err(format!(
            "{folder}: the boot archive carries no actions yet; deploy them with a client"
        ))
    }
}

/// One instance.
struct Guest {
    uc: Rc<Uc>,
    link: ChannelId,
    streams: [ChannelId; 2],
    /// The request that is being given, from `given` on.
    output: Vec<u8>,
    given: usize,
    /// What has come of an answer.
    input: Vec<u8>,
    logs: Vec<(Stream, u64, Vec<u8>)>,
    logged: usize,
    out_of_memory: bool,
    next: u32,
}

impl Guest {
    fn start(wanted: Wanted) -> Result<Self, Errno> {
        let heap = format!("--max-old-space-size={}", wanted.memory);
        let program = Program::archived(&[&heap, "/loader.js", "--fd", "3", "--no-marker"])?;
        let options = Options {
            name: String::from("action"),
            memory: (u64::from(wanted.memory) + NODE) << 20,
            ..Options::default()
        };
        let uc = Uc::start(options, program)?;
        // Its first thread runs after this event, and then finds these descriptors.
        let opened = (|| {
            let mut objects = uc.objects.borrow_mut();
            let link = objects.new_channel(false);
            let fd = objects.open_channel(link, OpenFlags::RDWR)?;
            debug_assert_eq!(fd, 3);
            let mut streams = [link; 2];
            for (n, stream) in streams.iter_mut().enumerate() {
                *stream = objects.new_channel(false);
                let fd = objects.open_channel(*stream, OpenFlags::WRONLY)?;
                objects.dup2(fd, n as i32 + 1)?;
                objects.close(fd)?;
            }
            Ok((link, streams))
        })();
        let (link, streams) = opened.inspect_err(|_| uc.end(Exit::Signal(9)))?;
        Ok(Self {
            uc,
            link,
            streams,
            output: Vec::new(),
            given: 0,
            input: Vec::new(),
            logs: Vec::new(),
            logged: 0,
            out_of_memory: false,
            next: 0,
        })
    }

    /// Moves what can be moved between this side and the guest.
    fn exchange(&mut self) {
        let mut objects = self.uc.objects.borrow_mut();
        while self.given < self.output.len() {
            match objects.channel_give(self.link, &self.output[self.given..]) {
                Ok(n) => self.given += n,
                Err(_) => break,
            }
        }
        while let Ok(bytes) = objects.channel_take(self.link, usize::MAX)
            && !bytes.is_empty()
        {
            self.input.extend_from_slice(&bytes);
        }
        // After the link: what was logged before an answer is there when the answer is.
        let time = u64::try_from(unix_time().as_nanos()).unwrap_or(u64::MAX);
        for (stream, channel) in [Stream::Out, Stream::Err].into_iter().zip(self.streams) {
            while let Ok(bytes) = objects.channel_take(channel, usize::MAX)
                && !bytes.is_empty()
            {
                self.out_of_memory |= bytes
                    .windows(OUT_OF_MEMORY.len())
                    .any(|part| part == OUT_OF_MEMORY);
                if self.logged < LOG_LIMIT {
                    self.logged += bytes.len();
                    self.logs.push((stream, time, bytes));
                }
            }
        }
    }

    /// The answer to request `id`, if it has come; answers to earlier ones are dropped.
    fn answer(&mut self, id: u32) -> Option<Result<(u16, Vec<u8>), Lost>> {
        loop {
            match take_answer(&mut self.input) {
                Ok(Some((answered, status, body))) if answered == id => {
                    return Some(Ok((status, body)));
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(_) => {
                    // Nothing that follows can be trusted.
                    self.uc.end(Exit::Signal(9));
                    return Some(Err(Lost::Gone));
                }
            }
        }
    }

    async fn asked(&mut self, id: u32) -> Result<(u16, Vec<u8>), Lost> {
        let uc = Rc::clone(&self.uc);
        let mut ended = pin!(uc.wait());
        let mut registrations: [Registration; 3] =
            core::array::from_fn(|_| Registration::default());
        let answer = poll_fn(|task| {
            let over = ended.as_mut().poll(task).is_ready();
            self.exchange();
            if let Some(answer) = self.answer(id) {
                return Poll::Ready(answer);
            }
            if over {
                let lost = if self.out_of_memory {
                    Lost::Memory
                } else {
                    Lost::Gone
                };
                return Poll::Ready(Err(lost));
            }
            let mut objects = self.uc.objects.borrow_mut();
            let channels = [self.link, self.streams[0], self.streams[1]];
            for (channel, registration) in channels.into_iter().zip(&mut registrations) {
                if let Ok(queue) = objects.channel_queue(channel) {
                    objects.register_queue(queue, Events::all(), registration, task.waker());
                }
            }
            Poll::Pending
        })
        .await;
        let mut objects = uc.objects.borrow_mut();
        for registration in &mut registrations {
            objects.unregister(registration);
        }
        drop(objects);
        answer
    }
}

impl Instance for Guest {
    fn ask<'a>(
        &'a mut self,
        request: Request,
        payload: &'a str,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        self.next += 1;
        let id = self.next;
        self.output = frame(id, request, payload.as_bytes());
        self.given = 0;
        Box::pin(self.asked(id))
    }

    fn drain_logs(&mut self, into: &mut Collector) {
        self.exchange();
        self.logged = 0;
        for (stream, time, bytes) in core::mem::take(&mut self.logs) {
            into.push(stream, time, &bytes);
        }
    }

    fn is_alive(&self) -> bool {
        self.uc.exit_status().is_none()
    }

    fn memory(&self) -> u64 {
        self.uc.space.borrow().used()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.uc.end(Exit::Signal(9));
    }
}
