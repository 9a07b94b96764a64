//! Signals of descriptors that have become ready (`O_ASYNC`): a task of the UC, which is there from the first such
//! descriptor on.

use super::send::{Sent, send_process, send_thread};
use crate::abi::signal::{SI_KERNEL, SIGIO, SigInfo};
use crate::object::ops::poll::Registration;
use crate::object::ops::ready::ReadySignal;
use crate::object::table::Owner;
use crate::object::wait::Events;
use crate::uc::{Task, Uc};
use alloc::rc::{Rc, Weak};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use ebb_runtime::spawn;

/// Sees to it that signals are sent for what becomes ready.
pub fn start(uc: &Rc<Uc>) {
    let mut task = uc.telling.borrow_mut();
    if task.is_none() {
        *task = Some(Task(spawn(tell(Rc::downgrade(uc)))));
    }
}

async fn tell(uc: Weak<Uc>) {
    let mut registration = Registration::default();
    poll_fn(|task| match uc.upgrade() {
        Some(uc) => {
            send_all(&uc, &mut registration, task.waker());
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
}

/// Sends what there is to send, and has the waker woken when there is more.
fn send_all(uc: &Uc, registration: &mut Registration, waker: &Waker) {
    let signals = {
        let mut objects = uc.objects.borrow_mut();
        let queue = objects.signalling_queue();
        objects.register_queue(queue, Events::READ, registration, waker);
        objects.take_signals(&uc.world())
    };
    for ready in signals {
        let info = info(&ready);
        send_to(uc, ready.owner, &info);
    }
}

/// Sends a signal to whoever a description's owner is.
pub fn send_to(uc: &Uc, owner: Owner, info: &SigInfo) {
    let live = uc.processes.borrow().live.clone();
    match owner {
        Owner::Nobody => {}
        Owner::Thread(tid) => {
            let _ = live
                .iter()
                .any(|process| send_thread(uc, process, tid, info.clone()) != Sent::Nobody);
        }
        Owner::Process(pid) => {
            if let Some(process) = live.iter().find(|p| p.pid() == pid) {
                let _ = send_process(uc, process, info.clone());
            }
        }
        Owner::Group(group) => {
            for process in live.iter().filter(|p| p.state.borrow().group == group) {
                let _ = send_process(uc, process, info.clone());
            }
        }
    }
}

/// `SIGIO` says nothing of the descriptor; a signal chosen by `F_SETSIG` does, in `si_code`, `si_band` and `si_fd`.
fn info(ready: &ReadySignal) -> SigInfo {
    const POLL_IN: i32 = 1;
    const POLL_OUT: i32 = 2;
    if ready.signal == 0 {
        return SigInfo::new(SIGIO, SI_KERNEL);
    }
    let code = match ready.events.contains(Events::IN) {
        true => POLL_IN,
        false => POLL_OUT,
    };
    let mut info = SigInfo::new(ready.signal, code);
    info.0[16..24].copy_from_slice(&u64::from(ready.events.bits()).to_le_bytes());
    info.0[24..28].copy_from_slice(&ready.fd.to_le_bytes());
    info
}
