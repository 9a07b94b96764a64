//! One value from any core to a waiting task on any core: join handles and remote calls return through this.
//!
//! A pair costs one allocation; to send costs one atomic operation (two if the receiver is already waiting), and to
//! receive a value that is there costs none. The two sides share a word of flags, and the last to leave frees the
//! allocation; neither ever waits for the other (which is why the `oneshot` crate, whose receiver spins while a sender is
//! taking the waker, is not used here).
//!
//! What must hold: the sender alone writes the value, before it sets `VALUE`; the waker's place belongs to the receiver
//! while `WAKER` is clear, and to the sender once it finds `WAKER` set while it sets `VALUE` or `CLOSED`.

use alloc::boxed::Box;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, RawWakerVTable, Waker};

use super::atomic::{AtomicU32, Ordering, UnsafeCell};

/// The sender has left, and left a value.
const VALUE: u32 = 1;
/// The sender has left without a value.
const CLOSED: u32 = 2;
/// The receiver's waker is in place. Never set after `VALUE` or `CLOSED`.
const WAKER: u32 = 4;
/// The receiver has left.
const RX_GONE: u32 = 8;
/// A sender that found `WAKER` has taken the waker and left for good.
const TX_GONE: u32 = 16;

/// Whether the sender will not touch the allocation again.
fn sender_is_gone(state: u32) -> bool {
    state & TX_GONE != 0 || (state & (VALUE | CLOSED) != 0 && state & WAKER == 0)
}

struct Inner<T> {
    state: AtomicU32,
    waker: UnsafeCell<Option<Waker>>,
    value: UnsafeCell<Option<T>>,
}

/// Makes a pair. One allocation.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let inner = NonNull::from(Box::leak(Box::new(Inner {
        state: AtomicU32::new(0),
        waker: UnsafeCell::new(None),
        value: UnsafeCell::new(None),
    })));
    (
        Sender {
            inner,
            _owns: PhantomData,
        },
        Receiver {
            inner: Some(inner),
            waiting: None,
            _owns: PhantomData,
        },
    )
}

/// Frees the allocation with whatever is in it.
///
/// # Safety
/// The other side has left, and the caller does not use `inner` again.
unsafe fn free<T>(inner: NonNull<Inner<T>>) {
    // SAFETY: it came from `Box::leak` in `channel`; the caller is its last user.
    drop(unsafe { Box::from_raw(inner.as_ptr()) });
}

/// Sends the value, once. Dropped instead, it tells the receiver [`Closed`].
pub struct Sender<T> {
    inner: NonNull<Inner<T>>,
    _owns: PhantomData<T>,
}

// SAFETY: the value moves from the sender's thread to the receiver's; everything else is handed over by the protocol
// above, and wakers may go anywhere.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: `&Sender` only reads the atomic word.
unsafe impl<T: Send> Sync for Sender<T> {}

impl<T> Sender<T> {
    /// Sends `value` and wakes the receiver, or gives the value back if the receiver is gone. Never waits: at most two
    /// atomic operations.
    pub fn send(self, value: T) -> Result<(), T> {
        let inner = self.inner;
        core::mem::forget(self);
        // SAFETY: until `finish` this side has not left; the receiver does not touch `value` before `VALUE` is set.
        unsafe { inner.as_ref() }
            .value
            .with_mut(|place| unsafe { *place = Some(value) });
        // SAFETY: `self` is forgotten, so this is the sender's last use.
        match unsafe { finish(inner, VALUE) } {
            None => Ok(()),
            Some(value) => Err(value),
        }
    }

    /// Whether the receiver is gone, so that nobody wants the value. One atomic load.
    pub fn is_closed(&self) -> bool {
        // SAFETY: this side has not left, so the allocation is there.
        let state = unsafe { self.inner.as_ref() }.state.load(Ordering::Relaxed);
        state & RX_GONE != 0
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // SAFETY: the sender is being dropped, so this is its last use; there is no value to come back.
        unsafe { finish(self.inner, CLOSED) };
    }
}

/// Ends the sender's side. Returns the value if the receiver had left before.
///
/// # Safety
/// The sender is not used afterwards.
unsafe fn finish<T>(inner: NonNull<Inner<T>>, flag: u32) -> Option<T> {
    // SAFETY: the sender has not left yet, so the allocation is there up to the operation that says it has.
    let this = unsafe { inner.as_ref() };
    // Release: the value goes out with the flag. Acquire: the waker comes in, or the end of the receiver's use.
    let state = this.state.fetch_or(flag, Ordering::AcqRel);
    if state & RX_GONE != 0 {
        // SAFETY: the receiver left before the flag was set, so the sender is the last user.
        let value = this.value.with_mut(|place| unsafe { (*place).take() });
        // SAFETY: as above.
        unsafe { free(inner) };
        return value;
    }
    if state & WAKER != 0 {
        // SAFETY: `WAKER` was set when the flag was: the waker is the sender's now.
        let waker = this.waker.with_mut(|place| unsafe { (*place).take() });
        if this.state.fetch_or(TX_GONE, Ordering::AcqRel) & RX_GONE != 0 {
            // SAFETY: the receiver left in the meantime and saw the sender still at work.
            unsafe { free(inner) };
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
    None
}

/// Waits for the value. A future: `receiver.await`.
///
/// Cancellation: dropping the receiver drops a value that has arrived, and makes [`Sender::send`] give back one that has
/// not. After it has been ready, a receiver answers [`Closed`].
pub struct Receiver<T> {
    /// `None` once the receiver has left.
    inner: Option<NonNull<Inner<T>>>,
    /// Which waker is in place, by its address and table, so that polling again need not ask the shared word.
    waiting: Option<(*const (), &'static RawWakerVTable)>,
    _owns: PhantomData<T>,
}

// SAFETY: as for `Sender`; the address in `waiting` is only compared.
unsafe impl<T: Send> Send for Receiver<T> {}
// SAFETY: `&Receiver` offers nothing.
unsafe impl<T: Send> Sync for Receiver<T> {}

/// The sender was dropped without sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sender was dropped without sending a value")
    }
}

impl core::error::Error for Closed {}

impl<T> Receiver<T> {
    /// The value if it has arrived, `Ok(None)` if it may still come. One atomic load.
    pub fn try_recv(&mut self) -> Result<Option<T>, Closed> {
        let inner = self.inner.ok_or(Closed)?;
        // SAFETY: this side has not left.
        let this = unsafe { inner.as_ref() };
        let state = this.state.load(Ordering::Acquire);
        if state & (VALUE | CLOSED) == 0 {
            return Ok(None);
        }
        let value = if state & VALUE != 0 {
            // SAFETY: `VALUE` was seen: the value is written, and the sender does not come back to it unless this side
            // had left before, which it has not.
            this.value.with_mut(|place| unsafe { (*place).take() })
        } else {
            None
        };
        self.leave(state);
        value.map(Some).ok_or(Closed)
    }

    /// Ends the receiver's side; `state` is what it last saw.
    fn leave(&mut self, mut state: u32) {
        let Some(inner) = self.inner.take() else {
            return;
        };
        if !sender_is_gone(state) {
            // SAFETY: this side has not left up to this operation.
            let this = unsafe { inner.as_ref() };
            // Release: this side's use of the value ends before. Acquire: so has the sender's use of the waker.
            state = this.state.fetch_or(RX_GONE, Ordering::AcqRel);
        }
        if sender_is_gone(state) {
            // SAFETY: the sender has left.
            unsafe { free(inner) };
        }
    }

    /// Puts the waker in place. Says `false` if the sender has left instead.
    fn wait(&mut self, waker: &Waker) -> bool {
        let identity = (waker.data(), waker.vtable() as &'static RawWakerVTable);
        if self
            .waiting
            .is_some_and(|(data, table)| data == identity.0 && core::ptr::eq(table, identity.1))
        {
            return true;
        }
        let Some(inner) = self.inner else {
            return false;
        };
        // SAFETY: this side has not left.
        let this = unsafe { inner.as_ref() };
        if self.waiting.take().is_some()
            && this
                .state
                .compare_exchange(WAKER, 0, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return false;
        }
        let old = this
            .waker
            // SAFETY: `WAKER` is clear, so the place is the receiver's.
            .with_mut(|place| unsafe { (*place).replace(waker.clone()) });
        let waiting = this
            .state
            .compare_exchange(0, WAKER, Ordering::Release, Ordering::Relaxed)
            .is_ok();
        if waiting {
            self.waiting = Some(identity);
        }
        drop(old);
        waiting
    }
}

impl<T> Unpin for Receiver<T> {}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        for _ in 0..2 {
            match self.try_recv() {
                Ok(None) => {}
                Ok(Some(value)) => return Poll::Ready(Ok(value)),
                Err(closed) => return Poll::Ready(Err(closed)),
            }
            if self.wait(cx.waker()) {
                return Poll::Pending;
            }
        }
        // `wait` says no only when the sender has left, and then `try_recv` answers.
        unreachable!("a oneshot's sender has left without a trace")
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.leave(0);
    }
}

#[cfg(all(test, not(ebb_loom)))]
mod tests {
    extern crate std;

    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<T>(receiver: &mut Receiver<T>, waker: &Waker) -> Poll<Result<T, Closed>> {
        Pin::new(receiver).poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn a_waiting_receiver_is_woken_once_and_gets_the_value() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let (tx, mut rx) = channel();
        assert!(poll(&mut rx, &waker).is_pending());
        assert!(poll(&mut rx, &waker).is_pending());
        assert!(tx.send(7).is_ok());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut rx, &waker), Poll::Ready(Ok(7)));
        assert_eq!(poll(&mut rx, &waker), Poll::Ready(Err(Closed)));
    }

    #[test]
    fn only_the_last_waker_is_woken() {
        let counts = [(); 2].map(|()| Arc::new(Count(AtomicUsize::new(0))));
        let (tx, mut rx) = channel::<u8>();
        for count in &counts {
            assert!(poll(&mut rx, &Waker::from(count.clone())).is_pending());
        }
        assert_eq!(
            Arc::strong_count(&counts[0]),
            1,
            "the first waker is let go of"
        );
        drop(tx);
        assert_eq!(
            counts.each_ref().map(|c| c.0.load(Ordering::Relaxed)),
            [0, 1]
        );
        assert_eq!(poll(&mut rx, Waker::noop()), Poll::Ready(Err(Closed)));
    }

    #[test]
    fn a_dropped_receiver_gives_the_value_back_and_nothing_leaks() {
        let value = Rc::new(());
        let (tx, rx) = channel();
        assert!(!tx.is_closed());
        drop(rx);
        assert!(tx.is_closed());
        assert!(tx.send(value.clone()).is_err());
        assert_eq!(Rc::strong_count(&value), 1);
        let (tx, rx) = channel();
        tx.send(value.clone()).unwrap();
        drop(rx);
        assert_eq!(Rc::strong_count(&value), 1);
    }
}
