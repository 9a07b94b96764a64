//! Telling controllers what became of an activation.
//!
//! Which acknowledgements there are is `initializeAndRun` of `core/invoker/.../containerpool/ContainerProxy.scala`, with log
//! collection where the action's limit allows logs: blocking, a result, then a completion; not blocking, a completion; without logs
//! one combined message (blocking) or a completion. What cannot be run is acknowledged with a combined message
//! (`InvokerReactive.scala`).
//!
//! What must hold:
//! - An activation has ended when the bus has its last acknowledgement, or will never have it.
//! - Nothing but its end waits for the bus, while there is room in the book. When there is none, whoever acknowledges to a topic that
//!   takes what it gets waits for room; where none is to be expected goes the id alone, and if that finds no room either, nothing: the
//!   controller frees the slot when its time is up.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ebb::sync::Notify;
use ebb::time::Instant;
use ebb::{println, spawn};
use ebb_openwhisk::json::Json;

use crate::book::{Book, Place};
use crate::counts::Counts;
use crate::message::acknowledgement::Acknowledgement;
use crate::message::activation::ActivationMessage;
use crate::message::instance::InvokerId;
use crate::message::record::Record;
use crate::seam::{Bus, SendError};

/// An activation, from being taken to the bus having its last acknowledgement: when it is dropped.
pub(crate) struct UnderWay {
    counts: Arc<Counts>,
    ended: Rc<Notify>,
    /// When its message had been read.
    read: Cell<Option<Instant>>,
    /// When it had been run.
    ran: Cell<Option<Instant>>,
}

impl UnderWay {
    /// Its message could be read.
    pub(crate) fn is_read(&self) {
        self.read.set(Some(Instant::now()));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let us = |since: Instant| u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Some(read) = self.read.get() {
            self.counts.has_taken(us(read));
        }
        if let Some(ran) = self.ran.get() {
            self.counts.acknowledging.record(us(ran));
        }
        self.counts.running.fetch_sub(1, Ordering::Relaxed);
        self.ended.notify_one();
    }
}

/// Two acknowledgements of which the first is no longer than this are sent without waiting for the first to arrive. No topic takes less, and
/// one that the broker refuses for its size is sent anew, which must not be after the second.
const TOGETHER: usize = 32 << 10;

/// Acknowledgements on their way.
struct OnTheirWay {
    activation: String,
    topic: String,
    /// In their order; beside each what goes if it is too large.
    messages: Vec<(Json, Acknowledgement)>,
    place: Place,
}

/// Who tells controllers.
pub(crate) struct Acknowledger<B> {
    pub(crate) bus: B,
    counts: Arc<Counts>,
    book: Book,
    /// Told when an activation has been acknowledged for the last time.
    ended: Rc<Notify>,
    /// What controllers' topics begin with.
    topics: String,
    id: InvokerId,
}

impl<B: Bus + 'static> Acknowledger<B> {
    pub(crate) fn new(
        bus: B,
        counts: &Arc<Counts>,
        topic_prefix: &str,
        id: &InvokerId,
    ) -> Rc<Self> {
        Rc::new(Self {
            bus,
            counts: Arc::clone(counts),
            book: Book::default(),
            ended: Rc::default(),
            topics: format!("{topic_prefix}completed"),
            id: id.clone(),
        })
    }

    /// An activation that begins now.
    pub(crate) fn begin(&self) -> Rc<UnderWay> {
        self.counts.running.fetch_add(1, Ordering::Relaxed);
        Rc::new(UnderWay {
            counts: Arc::clone(&self.counts),
            ended: Rc::clone(&self.ended),
            read: Cell::new(None),
            ran: Cell::new(None),
        })
    }

    /// Ready when all activations that have begun have been acknowledged.
    pub(crate) async fn all_ended(&self) {
        while self.counts.running() > 0 {
            self.ended.notified().await;
        }
    }

    /// Acknowledges what was not run; with its result if somebody waits for it.
    pub(crate) async fn refused(
        self: &Rc<Self>,
        message: &ActivationMessage,
        record: &Record,
        in_full: bool,
        under_way: &Rc<UnderWay>,
    ) {
        let combined = Acknowledgement::combined(&message.transaction, record, &self.id);
        let combined = match in_full {
            true => combined,
            false => combined.shrunk(),
        };
        self.enter(message, vec![combined], under_way).await;
    }

    /// Acknowledges what was run.
    pub(crate) async fn ran(
        self: &Rc<Self>,
        message: &ActivationMessage,
        record: &Record,
        has_logs: bool,
        under_way: &Rc<UnderWay>,
    ) {
        under_way.ran.set(Some(Instant::now()));
        let (transaction, invoker) = (&message.transaction, &self.id);
        let acknowledgements = match (message.blocking, has_logs) {
            (true, false) => vec![Acknowledgement::combined(transaction, record, invoker)],
            (true, true) => vec![
                Acknowledgement::result(transaction, record, invoker),
                Acknowledgement::completion(transaction, record, invoker),
            ],
            (false, _) => vec![Acknowledgement::completion(transaction, record, invoker)],
        };
        self.enter(message, acknowledgements, under_way).await;
    }

    /// Enters the acknowledgements of an activation into the book, from where they go to the bus in their order.
    async fn enter(
        self: &Rc<Self>,
        message: &ActivationMessage,
        acknowledgements: Vec<Acknowledgement>,
        under_way: &Rc<UnderWay>,
    ) {
        let topic = format!("{}{}", self.topics, message.controller);
        let with_text = |acknowledgement: Acknowledgement| {
            (acknowledgement.to_json(), acknowledgement.shrunk())
        };
        let bytes = |messages: &[(Json, Acknowledgement)]| -> usize {
            messages.iter().map(|(text, _)| text.as_str().len()).sum()
        };
        let mut messages: Vec<_> = acknowledgements.into_iter().map(with_text).collect();
        let mut place = self.book.wait(&topic, bytes(&messages)).await;
        if place.is_none() {
            let shrunk = messages.into_iter().map(|(_, shrunk)| with_text(shrunk));
            messages = shrunk.collect();
            place = self.book.place(&topic, bytes(&messages));
        }
        let Some(place) = place else {
            messages
                .iter()
                .for_each(|_| self.counts.unacknowledged.increment());
            println!(
                "whisk-invoker: {}: {topic} takes nothing, and too many acknowledgements wait for it already",
                message.id
            );
            return;
        };
        self.show_size();
        let on_their_way = OnTheirWay {
            activation: message.id.clone(),
            topic,
            messages,
            place,
        };
        let (acknowledger, under_way) = (Rc::clone(self), Rc::clone(under_way));
        drop(spawn(async move {
            acknowledger.send(&on_their_way).await;
            drop(on_their_way);
            acknowledger.show_size();
            drop(under_way);
        }));
    }

    fn show_size(&self) {
        self.counts.unsent_bytes.set(self.book.bytes() as u64);
    }

    async fn send(&self, on_their_way: &OnTheirWay) {
        let topic = &on_their_way.topic;
        let mut rest = &on_their_way.messages[..];
        if let [(first, if_first), (second, if_second)] = rest
            && first.as_str().len() <= TOGETHER
        {
            let (one, other) = self.bus.send_both(topic, [first, second]).await;
            self.settle(on_their_way, one, (first, if_first)).await;
            rest = &rest[1..];
            if let Some(other) = other {
                self.settle(on_their_way, other, (second, if_second)).await;
                return;
            }
        }
        for (message, if_too_large) in rest {
            let sent = self.bus.send(topic, message).await;
            self.settle(on_their_way, sent, (message, if_too_large))
                .await;
        }
    }

    /// Counts what became of an acknowledgement, and sends the shrunk one if the bus found it too large (`MessagingActiveAck.scala`).
    async fn settle(
        &self,
        on_their_way: &OnTheirWay,
        mut sent: Result<(), SendError>,
        (message, if_too_large): (&Json, &Acknowledgement),
    ) {
        let (topic, counts) = (&on_their_way.topic, &self.counts);
        if sent == Err(SendError::TooLarge) {
            let shrunk = if_too_large.to_json();
            // A completion is no shorter; it was refused for what went with it.
            if shrunk != *message {
                counts.shrunk.increment();
            }
            sent = self.bus.send(topic, &shrunk).await;
        }
        match sent {
            Ok(()) => {
                on_their_way.place.taken();
                counts.acknowledged.increment();
            }
            Err(why) => {
                counts.unacknowledged.increment();
                println!(
                    "whisk-invoker: {}: {topic} did not take its acknowledgement: {why}",
                    on_their_way.activation
                );
            }
        }
    }
}
