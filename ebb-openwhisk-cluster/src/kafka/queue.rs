//! librdkafka's queues from a core's view: what comes into one wakes a task, and what became of commits comes out of one.
//!
//! librdkafka tells of a queue that something comes into when it was empty. Whoever waits for that has emptied it before.
//!
//! What must hold for the unsafe code:
//! - The client of a queue lives as long as the queue, which has a share of it.
//! - librdkafka calls [`call`] with a pointer to a [`Signal`] of which the queue has a share, too. Before it gives that up it has librdkafka
//!   call nothing any more; librdkafka sets and calls under one lock.

use std::ffi::c_void;
use std::future::poll_fn;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{IsError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;

/// Tells one task that there is something to look at. A word that comes while nobody waits is kept. Any thread may tell.
#[derive(Default)]
pub(super) struct Signal(Mutex<SignalState>);

#[derive(Default)]
struct SignalState {
    is_told: bool,
    waits: Option<Waker>,
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, SignalState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells.
    pub(super) fn tell(&self) {
        let mut state = self.state();
        state.is_told = true;
        let waits = state.waits.take();
        drop(state);
        if let Some(waker) = waits {
            waker.wake();
        }
    }

    /// Whether it has been told since it was asked last.
    pub(super) fn take(&self) -> bool {
        std::mem::take(&mut self.state().is_told)
    }

    /// Waits for a word.
    pub(super) async fn told(&self) {
        poll_fn(|context| {
            let mut state = self.state();
            if std::mem::take(&mut state.is_told) {
                return Poll::Ready(());
            }
            state.waits = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What has queues.
pub(super) trait Client {
    /// librdkafka's handle, which is good as long as this is.
    fn native(&self) -> *mut native::rd_kafka_t;
}

impl<C: ConsumerContext> Client for BaseConsumer<C> {
    fn native(&self) -> *mut native::rd_kafka_t {
        self.client().native_ptr()
    }
}

impl<C: ProducerContext + 'static> Client for BaseProducer<C> {
    fn native(&self) -> *mut native::rd_kafka_t {
        self.client().native_ptr()
    }
}

/// A queue.
pub(super) struct Queue<T: Client> {
    queue: NonNull<native::rd_kafka_queue_t>,
    client: Arc<T>,
    signal: Arc<Signal>,
}

/// Called by a thread of librdkafka that holds the queue's lock.
unsafe extern "C" fn call(_: *mut native::rd_kafka_t, signal: *mut c_void) {
    // SAFETY: `Queue` gave this pointer to a signal that it keeps until this is not called any more.
    unsafe { &*signal.cast_const().cast::<Signal>() }.tell();
}

impl<T: Client> Queue<T> {
    /// # Safety
    /// The queue is one of the client's, and this is to destroy it.
    unsafe fn with(
        queue: *mut native::rd_kafka_queue_t,
        client: &Arc<T>,
        signal: &Arc<Signal>,
    ) -> Option<Self> {
        let this = Self {
            queue: NonNull::new(queue)?,
            client: Arc::clone(client),
            signal: Arc::clone(signal),
        };
        let signal = Arc::as_ptr(&this.signal).cast_mut().cast();
        // SAFETY: the queue has just been made. `this` keeps the signal, and its `drop` takes this back before.
        unsafe { native::rd_kafka_queue_cb_event_enable(this.queue.as_ptr(), Some(call), signal) };
        Some(this)
    }

    /// The one of all that a producer tells.
    pub(super) fn main(client: &Arc<T>, signal: &Arc<Signal>) -> Option<Self> {
        // SAFETY: the client is alive, and what this returns is its caller's.
        unsafe {
            Self::with(
                native::rd_kafka_queue_get_main(client.native()),
                client,
                signal,
            )
        }
    }

    /// The one of all that a consumer tells, messages and other things. `None` without a group.
    pub(super) fn consumer(client: &Arc<T>, signal: &Arc<Signal>) -> Option<Self> {
        let queue = client.native();
        // SAFETY: as above.
        unsafe { Self::with(native::rd_kafka_queue_get_consumer(queue), client, signal) }
    }

    /// One for what becomes of commits.
    pub(super) fn commits(client: &Arc<T>, signal: &Arc<Signal>) -> Option<Self> {
        // SAFETY: as above.
        unsafe { Self::with(native::rd_kafka_queue_new(client.native()), client, signal) }
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        // SAFETY: the queue is alive.
        unsafe { native::rd_kafka_queue_length(self.queue.as_ptr()) == 0 }
    }

    /// Begins to commit offsets; [`Self::committed`] says what became of it.
    ///
    /// # Errors
    /// It has not begun.
    pub(super) fn commit(&self, offsets: &TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
        let (client, queue) = (self.client.native(), self.queue.as_ptr());
        // SAFETY: all three are alive, and the offsets are copied.
        let error = unsafe {
            native::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, ptr::null_mut())
        };
        result(error)
    }

    /// What became of the commit that began first of those whose end is not known; `None` while it is on its way.
    pub(super) fn committed(&self) -> Option<Result<(), RDKafkaErrorCode>> {
        // SAFETY: the queue is alive. What comes out is this function's until it destroys it.
        unsafe {
            let event = native::rd_kafka_queue_poll(self.queue.as_ptr(), 0);
            let error = (!event.is_null()).then(|| native::rd_kafka_event_error(event));
            native::rd_kafka_event_destroy(event);
            error.map(result)
        }
    }
}

fn result(error: native::rd_kafka_resp_err_t) -> Result<(), RDKafkaErrorCode> {
    match error.is_error() {
        true => Err(error.into()),
        false => Ok(()),
    }
}

impl<T: Client> Drop for Queue<T> {
    fn drop(&mut self) {
        // SAFETY: the queue is alive, and so is its client, which goes after this.
        unsafe {
            native::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            native::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}
