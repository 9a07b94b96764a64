//! One instance: a process, the socket to its loader, or to itself if it answers lines, and the pipes of its two streams.
//!
//! The watching thread takes whatever the process writes, in order: what is on the pipes when an answer comes in was
//! written before it, so both pipes are emptied before the answer is shown. A thread that writes keeps a large request from
//! holding up the core.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, mpsc},
    task::{Poll, Waker},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use ebb_invoker::instance::{
    Boxed, Instance, InstanceAnswer, InstanceRequest, LONGEST_ANSWER, Lost, Notes, TooLong, frame,
    take_answer,
};
use ebb_invoker::parts::Parts;
use ebb_invoker::relay::{Framed, Numbers};
use ebb_openwhisk::logs::{Collector, Stream};

/// The loader's end of the socket.
const CHANNEL: RawFd = 3;
/// Bytes of log that wait to be drained; what is more is dropped, so that an action cannot fill the memory.
const LOG_LIMIT: usize = 12 << 20;
/// Bytes of answers that wait to be taken before the channel is left alone.
const UNTAKEN: usize = 256 << 10;
/// What V8 says on standard error before it gives up.
const OUT_OF_MEMORY: &[u8] = b"JavaScript heap out of memory";

/// How an instance is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Frames of a loader.
    Frames,
    /// Lines of the function's own program: requests on its standard input, answers on descriptor 3.
    Lines,
}

/// Takes what a program has answered with a line as the answer to no request in particular. Up to `looked_at` there is no end of a line.
fn take_line(
    input: &mut Vec<u8>,
    looked_at: &mut usize,
) -> Result<Option<InstanceAnswer>, TooLong> {
    let from = std::mem::replace(looked_at, input.len());
    let found = input[from..].iter().position(|byte| *byte == b'\n');
    let Some(end) = found.map(|at| from + at) else {
        return match input.len() > LONGEST_ANSWER {
            true => Err(TooLong),
            false => Ok(None),
        };
    };
    *looked_at = 0;
    let rest = input.split_off(end + 1);
    let mut body = std::mem::replace(input, rest);
    body.pop();
    Ok(Some(InstanceAnswer {
        id: 0,
        status: 200,
        body,
        notes: Notes::default(),
    }))
}

#[derive(Default)]
struct Shared {
    answers: VecDeque<InstanceAnswer>,
    /// Bytes of them.
    waiting: usize,
    logs: Vec<(Stream, u64, Vec<u8>)>,
    logged: usize,
    gone: bool,
    out_of_memory: bool,
    waker: Option<Waker>,
}

/// See the module.
pub struct Process {
    /// There until it is dropped.
    child: Option<Child>,
    id: u32,
    shared: Arc<Mutex<Shared>>,
    requests: mpsc::Sender<Vec<u8>>,
    numbers: Numbers,
    /// Where it works; removed with it.
    folder: PathBuf,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Nothing panics while it is locked, and if it did the data would be whole.
    shared
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Process {
    /// Starts one in a folder, which goes with it.
    pub fn start(mut command: Command, folder: PathBuf, protocol: Protocol) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = OwnedFd::from(theirs);
        command
            .current_dir(&folder)
            .stdin(match protocol {
                Protocol::Frames => Stdio::null(),
                Protocol::Lines => Stdio::from(theirs.try_clone()?),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let channel = theirs.as_raw_fd();
        // SAFETY: between fork and exec only async-signal-safe calls are made: dup2, fcntl, prctl.
        unsafe {
            command.pre_exec(move || {
                let done = if channel == CHANNEL {
                    libc::fcntl(CHANNEL, libc::F_SETFD, 0)
                } else {
                    libc::dup2(channel, CHANNEL)
                };
                if done < 0 {
                    return Err(io::Error::last_os_error());
                }
                // Whatever becomes of the platform, its instances do not stay.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        // The command holds the other descriptors of the child's ends.
        drop((theirs, command));
        let shared = Arc::new(Mutex::new(Shared::default()));
        let streams = (child.stdout.take(), child.stderr.take());
        if let (Some(out), Some(err)) = streams {
            let watcher = Watcher {
                channel: ours.try_clone()?,
                out,
                err,
                shared: shared.clone(),
                protocol,
                input: Vec::new(),
                looked_at: 0,
                closed: [false; 2],
            };
            thread::Builder::new()
                .name("watch".into())
                .spawn(move || watcher.watch())?;
        }
        let (requests, queue) = mpsc::channel::<Vec<u8>>();
        thread::Builder::new().name("write".into()).spawn(move || {
            let mut ours = ours;
            // A process that does not take it is gone, which the watcher sees.
            while queue
                .recv()
                .is_ok_and(|bytes| ours.write_all(&bytes).is_ok())
            {}
        })?;
        Ok(Self {
            id: child.id(),
            child: Some(child),
            shared,
            requests,
            numbers: Numbers::new(),
            folder,
        })
    }
}

impl Process {
    /// Waits for the answer of that id.
    async fn answer(&mut self, id: u32) -> Result<InstanceAnswer, Lost> {
        std::future::poll_fn(|cx| {
            let mut shared = lock(&self.shared);
            while let Some(answer) = shared.answers.pop_front() {
                shared.waiting -= answer.body.len().min(shared.waiting);
                if answer.id == id {
                    return Poll::Ready(Ok(answer));
                }
            }
            if shared.gone {
                let lost = if shared.out_of_memory {
                    Lost::Memory
                } else {
                    Lost::Gone
                };
                return Poll::Ready(Err(lost));
            }
            shared.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn forget_answers(&self) {
        let mut shared = lock(&self.shared);
        shared.answers.clear();
        shared.waiting = 0;
    }

    /// Gives a program that answers lines one. Lines that came before answer nothing.
    pub fn give_line(&mut self, line: Vec<u8>) {
        self.forget_answers();
        let _ = self.requests.send(line);
    }

    /// Waits for the program's next line.
    pub async fn next_line(&mut self) -> Result<Vec<u8>, Lost> {
        Ok(self.answer(0).await?.body)
    }

    /// Ends it.
    pub fn kill(&mut self) {
        lock(&self.shared).gone = true;
        if let Some(child) = &mut self.child {
            let _ = child.kill();
        }
    }
}

impl Framed for Process {
    fn new_id(&mut self) -> u32 {
        self.forget_answers();
        self.numbers.draw()
    }

    fn give(&mut self, id: u32, request: InstanceRequest, payload: &[u8]) {
        let _ = self.requests.send(frame(id, request, payload));
    }

    async fn next(&mut self, id: u32) -> Result<(u16, Vec<u8>), Lost> {
        let answer = self.answer(id).await?;
        Ok((answer.status, answer.body))
    }

    fn end(&mut self) {
        self.kill();
    }
}

impl Instance for Process {
    fn ask<'a>(
        &'a mut self,
        request: InstanceRequest,
        payload: &'a str,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        self.ask_by_frame(request, payload)
    }

    fn run_in_parts<'a>(
        &'a mut self,
        payload: &'a str,
        parts: &'a Parts,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        self.run_by_frames(payload, parts)
    }

    fn drain_logs(&mut self, into: &mut Collector) {
        let mut shared = lock(&self.shared);
        shared.logged = 0;
        for (stream, time, bytes) in std::mem::take(&mut shared.logs) {
            into.push(stream, time, &bytes);
        }
    }

    fn is_alive(&self) -> bool {
        !lock(&self.shared).gone
    }

    fn memory_bytes(&mut self) -> u64 {
        // Private and dirty pages would be truer, and cost far more to ask for.
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.id)).unwrap_or_default();
        let mut pages = statm
            .split(' ')
            .skip(1)
            .map(|n| n.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
        resident.saturating_sub(shared) * 4096
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _ = child.kill();
        let folder = std::mem::take(&mut self.folder);
        // The kernel takes a while to give back what a process held; the core does not wait for that.
        let clean = move || {
            let _ = child.wait();
            let _ = std::fs::remove_dir_all(&folder);
        };
        let _ = thread::Builder::new().name("clean".into()).spawn(clean);
    }
}

struct Watcher {
    protocol: Protocol,
    channel: UnixStream,
    out: ChildStdout,
    err: ChildStderr,
    shared: Arc<Mutex<Shared>>,
    input: Vec<u8>,
    /// Bytes of it that are no end of a line.
    looked_at: usize,
    /// Pipes that have ended.
    closed: [bool; 2],
}

impl Watcher {
    fn watch(mut self) {
        for fd in [self.out.as_raw_fd(), self.err.as_raw_fd()] {
            // SAFETY: a descriptor of this thread's own. (The socket's flags are shared with the thread that writes.)
            if unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
                return self.end();
            }
        }
        let mut open = true;
        while open {
            // A pipe that the action has closed is not asked again: it would always be ready.
            // A program that gives more than is taken waits for room in the channel, as for any slow reader.
            let is_full = lock(&self.shared).waiting > UNTAKEN;
            let watched = [
                Some(self.channel.as_raw_fd()).filter(|_| !is_full),
                self.open_pipe(Stream::Out),
                self.open_pipe(Stream::Err),
            ];
            let mut fds = watched.map(|fd| libc::pollfd {
                fd: fd.unwrap_or(-1),
                events: libc::POLLIN,
                revents: 0,
            });
            // SAFETY: three valid pollfds.
            if unsafe { libc::poll(fds.as_mut_ptr(), 3, if is_full { 5 } else { -1 }) } < 0
                && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted
            {
                break;
            }
            open = self.take(fds[0].revents != 0);
        }
        self.end();
    }

    fn open_pipe(&self, stream: Stream) -> Option<RawFd> {
        let fd = match stream {
            Stream::Out => self.out.as_raw_fd(),
            Stream::Err => self.err.as_raw_fd(),
        };
        (!self.closed[stream as usize]).then_some(fd)
    }

    fn end(&self) {
        let waker = {
            let mut shared = lock(&self.shared);
            shared.gone = true;
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes all there is; false at the end of the channel.
    fn take(&mut self, channel: bool) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let mut open = true;
        if channel {
            // SAFETY: the buffer is valid for its length.
            let got = unsafe {
                libc::recv(
                    self.channel.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(got) {
                Ok(0) => open = false,
                Ok(got) => self.input.extend_from_slice(&buffer[..got]),
                Err(_) => open = io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock,
            }
        }
        // After the channel: what was logged before an answer is on the pipes when the answer is here.
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        for stream in [Stream::Out, Stream::Err] {
            loop {
                let got = match stream {
                    Stream::Out => self.out.read(&mut buffer),
                    Stream::Err => self.err.read(&mut buffer),
                };
                let Ok(got @ 1..) = got else {
                    self.closed[stream as usize] |= got.is_ok();
                    break;
                };
                let bytes = &buffer[..got];
                let mut shared = lock(&self.shared);
                shared.out_of_memory |= bytes
                    .windows(OUT_OF_MEMORY.len())
                    .any(|part| part == OUT_OF_MEMORY);
                if shared.logged < LOG_LIMIT {
                    shared.logged += got;
                    shared.logs.push((stream, time, bytes.to_vec()));
                }
            }
        }
        loop {
            let taken = match self.protocol {
                Protocol::Frames => take_answer(&mut self.input),
                Protocol::Lines => take_line(&mut self.input, &mut self.looked_at),
            };
            match taken {
                Ok(Some(answer)) => {
                    let waker = {
                        let mut shared = lock(&self.shared);
                        shared.waiting += answer.body.len();
                        shared.answers.push_back(answer);
                        shared.waker.take()
                    };
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
                Ok(None) => break,
                Err(_) => return false,
            }
        }
        open
    }
}
