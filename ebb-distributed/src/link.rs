//! A connection over a socket: the task that moves bytes and time into the state machine and out of it, calls of this node that
//! wait, and calls of the peer that run. Everything of a link is on one core.

mod driver;

use alloc::{boxed::Box, collections::VecDeque, rc::Rc};
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use ebb_net::tcp::TcpStream;
use ebb_runtime::{EbbRef, JoinHandle, platform::Unwind, spawn, time::Instant};

use self::driver::Driver;
use crate::{
    channel::Channel,
    connection::{Closed, Connection, Event, ItemError, Request},
    failure::Failure,
    frame::{Payload, STREAM_DOWN, STREAM_UP, Status},
    ids::Ids,
    service::{self, Answering, GiveItems, Incoming, TakeItems},
};

/// An own call that waits.
#[derive(Default)]
struct Waiting {
    result: Option<Result<Payload, Failure>>,
    items: VecDeque<Payload>,
    waker: Option<Waker>,
    /// Waits for credits, to give an item.
    giver: Option<Waker>,
}

/// A call of the peer that runs.
#[derive(Default)]
struct Handler {
    task: Option<JoinHandle<()>>,
    /// Waits for credits.
    sender: Option<Waker>,
    /// Items of the caller that the method has not taken.
    given: VecDeque<Payload>,
    /// There will be no more.
    given_ended: bool,
    /// Waits for one.
    taker: Option<Waker>,
}

/// See the module.
pub struct Link {
    connection: RefCell<Connection>,
    waiting: RefCell<Ids<Box<Waiting>>>,
    handlers: RefCell<Ids<Handler>>,
    waker: RefCell<Option<Waker>>,
    /// There while the link's task is.
    driver: RefCell<Option<Driver>>,
    peer: Cell<Option<(u64, u64)>>,
    /// Methods that may still run in this event.
    at_once: Cell<u32>,
    /// Methods whose tasks have not begun: none that was called later runs before them.
    unbegun: Cell<u32>,
}

impl Link {
    /// Over a transport that is coming up.
    pub fn new(connection: Connection) -> Rc<Self> {
        Rc::new(Self {
            connection: RefCell::new(connection),
            waiting: RefCell::default(),
            handlers: RefCell::default(),
            waker: RefCell::default(),
            driver: RefCell::default(),
            peer: Cell::new(None),
            at_once: Cell::new(0),
            unbegun: Cell::new(0),
        })
    }

    /// The peer's number and incarnation, once it has greeted.
    pub fn peer(&self) -> Option<(u64, u64)> {
        self.peer.get()
    }

    /// Ends it.
    pub fn close(&self, why: Closed) {
        self.connection.borrow_mut().close(why);
        self.kick();
    }

    /// Makes the link's task run.
    fn kick(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Sends a call that is alone in this event. With others under way it waits for the link's task, and shares their record.
    fn send_now(&self) {
        if self.connection.borrow().is_single()
            // The task itself calls: it sends, too.
            && let Ok(mut driver) = self.driver.try_borrow_mut()
            && let Some(driver) = &mut *driver
            && driver.sends_alone(self)
        {
            return;
        }
        self.kick();
    }

    /// Calls a method of the peer.
    pub fn call(self: &Rc<Self>, request: Request) -> Result<Call, Failure> {
        let now_ns = Instant::now().as_nanos();
        let id = self
            .connection
            .borrow_mut()
            .call(now_ns, request)
            .map_err(Failure::NotSent)?;
        self.waiting.borrow_mut().insert(id, Box::default());
        self.send_now();
        Ok(Call {
            link: Rc::clone(self),
            id,
            over: false,
        })
    }

    /// Tells tasks what has happened; whether anything has.
    fn settle(self: &Rc<Self>) -> bool {
        let mut any = false;
        loop {
            let event = self.connection.borrow_mut().poll_event();
            let Some(event) = event else { return any };
            any = true;
            match event {
                Event::Ready { node, incarnation } => self.peer.set(Some((node, incarnation))),
                Event::Answered { id, result } => {
                    let wakers = self.waiting.borrow_mut().get_mut(id).map(|w| {
                        w.result = Some(result);
                        [w.waker.take(), w.giver.take()]
                    });
                    for waker in wakers.into_iter().flatten().flatten() {
                        waker.wake();
                    }
                }
                Event::Down(id, payload) => self.waiting_for(id, |w| w.items.push_back(payload)),
                Event::Called {
                    id,
                    ebb,
                    method,
                    flags,
                    payload,
                    ..
                } => {
                    let items = (flags & STREAM_DOWN != 0).then(|| {
                        Rc::new(Items {
                            link: Rc::clone(self),
                            id,
                        }) as Rc<dyn TakeItems>
                    });
                    let given = (flags & STREAM_UP != 0).then(|| {
                        Rc::new(Given {
                            link: Rc::clone(self),
                            id,
                        }) as Rc<dyn GiveItems>
                    });
                    self.start(
                        id,
                        ebb,
                        Incoming {
                            method,
                            payload,
                            items,
                            given,
                        },
                    );
                }
                Event::Cancelled(id) => {
                    let handler = self.handlers.borrow_mut().remove(id);
                    if let Some(task) = handler.and_then(|h| h.task) {
                        task.cancel();
                    }
                }
                Event::DownWritable(id) => {
                    let waker = self
                        .handlers
                        .borrow_mut()
                        .get_mut(id)
                        .and_then(|h| h.sender.take());
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
                Event::Up(id, payload) => self.given_to(id, |h| h.given.push_back(payload)),
                Event::UpEnd(id) => self.given_to(id, |h| h.given_ended = true),
                Event::UpWritable(id) => self.wake_giver(id),
                // The end of a connection is the end of its task.
                Event::Closed(_) => {}
            }
        }
    }

    fn waiting_for(&self, id: u64, change: impl FnOnce(&mut Waiting)) {
        let waker = {
            let mut waiting = self.waiting.borrow_mut();
            let Some(waiting) = waiting.get_mut(id) else {
                return;
            };
            change(waiting);
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wake_giver(&self, id: u64) {
        let mut waiting = self.waiting.borrow_mut();
        let giver = waiting.get_mut(id).and_then(|w| w.giver.take());
        drop(waiting);
        if let Some(giver) = giver {
            giver.wake();
        }
    }

    fn given_to(&self, id: u64, change: impl FnOnce(&mut Handler)) {
        let taker = {
            let mut handlers = self.handlers.borrow_mut();
            let Some(handler) = handlers.get_mut(id) else {
                return;
            };
            change(handler);
            handler.taker.take()
        };
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    fn start(self: &Rc<Self>, id: u64, ebb: u64, call: Incoming) {
        let takes_items = call.given.is_some();
        let has_items = takes_items || call.items.is_some();
        let mut answering = match service::start(ebb, call) {
            Ok(answering) => answering,
            Err(status) => {
                self.connection.borrow_mut().answer(id, Err(status));
                return;
            }
        };
        let at_once = self.at_once.get();
        if at_once > 0 && !has_items && self.unbegun.get() == 0 {
            self.at_once.set(at_once - 1);
            if let Poll::Ready(result) = begin(&mut answering) {
                self.connection.borrow_mut().answer(id, result);
                return;
            }
        }
        self.handlers.borrow_mut().insert(id, Handler::default());
        if takes_items {
            let mut connection = self.connection.borrow_mut();
            let items = connection.stream_items();
            connection.grant_up(id, items);
        }
        let mut answer = Answer {
            link: Rc::clone(self),
            id,
            result: Err(Status::NoAnswer),
        };
        let unbegun = Unbegun::on(self);
        let task = spawn(async move {
            drop(unbegun);
            answer.result = answering.await;
            drop(answer);
        });
        if let Some(handler) = self.handlers.borrow_mut().get_mut(id) {
            handler.task = Some(task);
        }
    }

    /// No task drives it any more: each call has its outcome.
    pub fn end(self: &Rc<Self>) {
        self.connection.borrow_mut().close(Closed::Transport);
        self.settle();
    }

    /// Moves bytes and time until the connection has ended. `on_ready` is called once the peer has greeted.
    pub async fn drive(self: Rc<Self>, stream: TcpStream, channel: Channel, on_ready: impl Fn()) {
        *self.driver.borrow_mut() = Some(Driver::new(stream, channel));
        let _driven = Driven(&self);
        let mut ready = false;
        poll_fn(|cx| {
            let mut driver = self.driver.borrow_mut();
            let poll = driver
                .as_mut()
                .map_or(Poll::Ready(()), |driver| driver.poll(&self, cx));
            drop(driver);
            if !ready && self.peer().is_some() {
                ready = true;
                on_ready();
            }
            poll
        })
        .await;
    }
}

/// The link's task; with it the socket goes, whoever else has the link.
struct Driven<'a>(&'a Link);

impl Drop for Driven<'_> {
    fn drop(&mut self) {
        let (driver, waker) = (self.0.driver.take(), self.0.waker.take());
        drop((driver, waker));
    }
}

/// Runs a method until it waits for the first time. It is then polled again by a task of its own, so nobody is woken for what happens before
/// that. A panic ends the method, not the connection.
fn begin(answering: &mut Answering) -> Poll<Result<Payload, Status>> {
    let mut polled = Poll::Ready(Err(Status::NoAnswer));
    let mut cx = Context::from_waker(Waker::noop());
    // The hook has said what it was.
    let _ = EbbRef::<dyn Unwind>::get().catch(&mut || polled = answering.as_mut().poll(&mut cx));
    polled
}

/// Counts a task that has not begun; one that is cancelled before ends so, too.
struct Unbegun(Rc<Link>);

impl Unbegun {
    fn on(link: &Rc<Link>) -> Self {
        link.unbegun.set(link.unbegun.get() + 1);
        Self(Rc::clone(link))
    }
}

impl Drop for Unbegun {
    fn drop(&mut self) {
        self.0.unbegun.set(self.0.unbegun.get() - 1);
    }
}

/// Answers a call of the peer when it is dropped, whatever ended the method: an answer, a panic, the end of its task.
struct Answer {
    link: Rc<Link>,
    id: u64,
    result: Result<Payload, Status>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.link.handlers.borrow_mut().remove(self.id);
        let result = mem::replace(&mut self.result, Err(Status::NoAnswer));
        self.link.connection.borrow_mut().answer(self.id, result);
        self.link.kick();
    }
}

/// Where the items of an answer go.
struct Items {
    link: Rc<Link>,
    id: u64,
}

impl TakeItems for Items {
    fn take(&self, item: Payload, waker: &Waker) -> Result<(), ItemError> {
        let result = self.link.connection.borrow_mut().send_down(self.id, item);
        match result {
            Ok(()) => self.link.kick(),
            Err(ItemError::Full) => {
                if let Some(handler) = self.link.handlers.borrow_mut().get_mut(self.id) {
                    handler.sender = Some(waker.clone());
                }
            }
            Err(_) => {}
        }
        result
    }
}

/// Where the items of a peer's call come from.
struct Given {
    link: Rc<Link>,
    id: u64,
}

impl GiveItems for Given {
    fn poll_item(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Payload>, ItemError>> {
        let mut handlers = self.link.handlers.borrow_mut();
        let Some(handler) = handlers.get_mut(self.id) else {
            return Poll::Ready(Err(ItemError::Over));
        };
        if let Some(item) = handler.given.pop_front() {
            drop(handlers);
            self.link.connection.borrow_mut().grant_up(self.id, 1);
            self.link.kick();
            return Poll::Ready(Ok(Some(item)));
        }
        if handler.given_ended {
            return Poll::Ready(Ok(None));
        }
        handler.taker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Gives items to an own call. Dropped before the end, it gives the call up.
pub struct Giving {
    link: Rc<Link>,
    id: u64,
    ended: bool,
}

impl Giving {
    /// What an item meets, or (`None`) the end.
    pub fn poll_give(
        &mut self,
        item: Option<&Payload>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ItemError>> {
        let given = {
            let mut connection = self.link.connection.borrow_mut();
            match item {
                Some(item) => connection.send_up(self.id, item.clone()),
                None => connection.end_up(self.id),
            }
        };
        match given {
            Err(ItemError::Full) => {
                if let Some(waiting) = self.link.waiting.borrow_mut().get_mut(self.id) {
                    waiting.giver = Some(cx.waker().clone());
                }
                return Poll::Pending;
            }
            Ok(()) => self.link.kick(),
            Err(_) => {}
        }
        self.ended |= item.is_none();
        Poll::Ready(given)
    }
}

impl Drop for Giving {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Whoever waits for the answer waits for nothing.
        let unfinished = |w: &mut Waiting| {
            w.result.get_or_insert(Err(Failure::NoAnswer));
        };
        if self.link.waiting.borrow().contains(self.id) {
            self.link.connection.borrow_mut().cancel(self.id);
            self.link.waiting_for(self.id, unfinished);
            self.link.kick();
        }
    }
}

/// An own call. Dropping it cancels it at the other end.
pub struct Call {
    link: Rc<Link>,
    id: u64,
    over: bool,
}

impl Call {
    /// Nobody waits for the outcome, and the method is not to be stopped.
    pub fn detach(mut self) {
        self.over = true;
        self.link.waiting.borrow_mut().remove(self.id);
    }

    /// What gives the call its items.
    pub fn giving(&self) -> Giving {
        Giving {
            link: Rc::clone(&self.link),
            id: self.id,
            ended: false,
        }
    }

    /// The next item of the answer, or the outcome.
    pub fn poll_item(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Payload, Result<Payload, Failure>>> {
        let mut all = self.link.waiting.borrow_mut();
        let waiting = all.get_mut(self.id).expect("it is there until it is over");
        if let Some(item) = waiting.items.pop_front() {
            drop(all);
            self.link.connection.borrow_mut().grant_down(self.id, 1);
            self.link.kick();
            return Poll::Ready(Ok(item));
        }
        if let Some(result) = waiting.result.take() {
            all.remove(self.id);
            self.over = true;
            return Poll::Ready(Err(result));
        }
        waiting.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Future for Call {
    type Output = Result<Payload, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.poll_item(cx) {
                // The method is not a stream here, whatever the peer thinks.
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(result)) => return Poll::Ready(result),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.over {
            self.link.waiting.borrow_mut().remove(self.id);
            self.link.connection.borrow_mut().cancel(self.id);
            self.link.kick();
        }
    }
}
