//! Machines of threads: start, stop, and results.

use std::{
    ffi::{CStr, c_char, c_int},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use ebb_runtime::{CoreId, Machine, core_main};

use crate::{parker::Parker, platform};

/// How to make a machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of cores, 1 to 64.
    pub cores: usize,
    /// Pin each core's thread to a CPU of its own.
    pub pin: bool,
}

impl Config {
    /// What the environment says: `EBB_CORES`, else one core for each CPU that this process may
    /// use.
    ///
    /// # Errors
    /// When `EBB_CORES` is not a number from 1 to 64, or `EBB_IDLE_POLL` not one of microseconds; the text says so.
    pub fn from_environment() -> Result<Self, String> {
        let available = thread::available_parallelism().map_or(1, usize::from);
        let cores = match std::env::var("EBB_CORES") {
            Err(std::env::VarError::NotPresent) => available.min(64),
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err("EBB_CORES is not text; it is a number from 1 to 64".to_owned());
            }
            Ok(text) => match text.trim().parse() {
                Ok(cores @ 1..=64) => cores,
                _ => {
                    return Err(format!(
                        "EBB_CORES is `{text}`; it is a number from 1 to 64"
                    ));
                }
            },
        };
        idle_poll_ns()?;
        Ok(Self {
            cores,
            pin: cores <= available,
        })
    }

    /// For how long its cores look for work before they sleep: not at all where one would take another's CPU.
    fn look_ns(&self) -> u64 {
        let available = thread::available_parallelism().map_or(1, usize::from);
        if self.cores > available {
            return 0;
        }
        idle_poll_ns().unwrap_or_else(|error| panic!("ebb: {error}"))
    }
}

/// The longest look for work, in microseconds.
const LONGEST_LOOK_US: u64 = 1000;

/// What `EBB_IDLE_POLL` says, which is in microseconds.
fn idle_poll_ns() -> Result<u64, String> {
    let refused = |text: &str| {
        Err(format!(
            "EBB_IDLE_POLL is {text}; it is a number of microseconds from 0 to {LONGEST_LOOK_US}"
        ))
    };
    match std::env::var("EBB_IDLE_POLL") {
        Err(std::env::VarError::NotPresent) => Ok(0),
        Err(std::env::VarError::NotUnicode(_)) => refused("not text"),
        Ok(text) => match text.trim().parse::<u64>() {
            Ok(us @ 0..=LONGEST_LOOK_US) => Ok(us * 1000),
            _ => refused(&format!("`{text}`")),
        },
    }
}

/// The status of a program that was started with an option which it does not take (`EX_CONFIG`), as an image's.
const WRONG_OPTION: c_int = 78;

/// Runs a program: what `#[ebb::main]` makes of `main`. Gives the exit status.
///
/// # Safety
/// `argv` points to `argc` strings that live as long as the process, as the C runtime passes them.
#[doc(hidden)]
pub unsafe fn main(argc: c_int, argv: *const *const c_char, start: fn()) -> c_int {
    let arguments = (1..usize::try_from(argc).unwrap_or(0)).map(|n| {
        // SAFETY: the caller's promise.
        let argument = unsafe { CStr::from_ptr(*argv.add(n)) };
        argument.to_string_lossy().into_owned()
    });
    platform::set_arguments(arguments);
    if let Err(error) = platform::check_options() {
        eprintln!("ebb: {error}");
        return WRONG_OPTION;
    }
    let config = Config::from_environment();
    let config = match config.and_then(|config| crate::trace::check().map(|()| config)) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("ebb: {error}");
            return 2;
        }
    };
    let machine = launch(&config, Some(prepare), start);
    crate::trace::write(machine);
    machine.status()
}

/// Says why a program does not start, and gives the exit status. What `#[ebb::main]` makes of `main` where it cannot be right.
#[doc(hidden)]
pub fn refuse(message: &str) -> c_int {
    eprint!("{message}");
    2
}

/// Before the cores of a program run.
fn prepare(machine: &'static Machine) {
    crate::trace::start(machine);
    stop_on_signals(machine);
}

/// Ctrl-C and `kill` ask the program to end; a second one ends it at once.
fn stop_on_signals(machine: &'static Machine) {
    use signal_hook::consts::{SIGINT, SIGTERM};
    // Without the handler the signals end the process, which is no worse than before.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else {
        return;
    };
    let _ = thread::Builder::new()
        .name("ebb signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                machine.request_shutdown(128 + signal);
            }
        });
}

/// Stops the machine when a core's thread is lost to a panic outside of any event.
struct StopOthers(&'static Machine);

impl Drop for StopOthers {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop(ebb_runtime::PANIC_STATUS);
        }
    }
}

/// Starts a machine whose first event is `start`, and waits for its end. Gives the machine.
fn launch(
    config: &Config,
    prepare: Option<fn(&'static Machine)>,
    start: impl FnOnce() + Send + 'static,
) -> &'static Machine {
    let parkers: Vec<&'static Parker> = (0..config.cores).map(|_| Parker::get()).collect();
    let tokens: Vec<usize> = parkers.iter().map(|p| p.token()).collect();
    let machine = Machine::new(&tokens);
    machine.start(start);
    if let Some(prepare) = prepare {
        prepare(machine);
    }
    let pin = config.pin;
    let look_ns = config.look_ns();
    let threads: Vec<_> = parkers
        .iter()
        .enumerate()
        .map(|(n, &parker)| {
            thread::Builder::new()
                .name(format!("ebb core {n}"))
                .stack_size(8 << 20)
                .spawn(move || {
                    let _others = StopOthers(machine);
                    parker.enter(look_ns);
                    if pin {
                        platform::pin_to_cpu(n);
                    }
                    // SAFETY: once for each core, on a new thread of this program.
                    unsafe { core_main(machine, CoreId::new(n)) };
                })
                .unwrap_or_else(|e| panic!("starting the thread of core {n}: {e}"))
        })
        .collect();
    for thread in threads {
        // One that panicked has stopped the machine, and its message is out.
        let _ = thread.join();
    }
    parkers.iter().for_each(|parker| parker.retire());
    machine
}

/// Runs a future as a task on core 0 of a machine of its own, and gives its result when the machine
/// has stopped. `make` runs on core 0, so the future need not be `Send`:
/// `run(&config, || async { .. })`.
///
/// # Panics
/// On a thread that is a core, and when the future panics.
pub fn run<F>(config: &Config, make: impl FnOnce() -> F + Send + 'static) -> F::Output
where
    F: Future + 'static,
    F::Output: Send,
{
    assert!(
        ebb_runtime::try_current_core().is_none(),
        "this thread is a core, which would wait for another machine; spawn a task instead"
    );
    let place = Arc::new(Mutex::new(None));
    let result = Arc::clone(&place);
    launch(config, None, move || {
        let task = ebb_runtime::spawn(async move { make().await });
        ebb_runtime::spawn(async move {
            let outcome = task.await;
            *result.lock().expect("only locked here and after the end") = Some(outcome);
            ebb_runtime::exit(0);
        });
    });
    let outcome = place.lock().expect("the machine has ended").take();
    match outcome {
        Some(Ok(value)) => value,
        Some(Err(ebb_runtime::JoinError::Panicked(payload))) => std::panic::resume_unwind(payload),
        Some(Err(ebb_runtime::JoinError::Cancelled)) | None => {
            panic!("the machine stopped before its future was ready")
        }
    }
}

/// Runs a test on a machine of `cores` (default 2) cores; what `#[ebb::test]` calls.
#[doc(hidden)]
pub fn test<F>(cores: Option<usize>, make: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = ()> + 'static,
{
    run(
        &Config {
            cores: cores.unwrap_or(2),
            pin: false,
        },
        make,
    );
}

/// Waits for a future on a thread that is not a core: for example a handle on a core's task.
///
/// # Panics
/// On a thread that is a core: it would stop the core's events.
pub fn block_on<F: Future>(future: F) -> F::Output {
    assert!(
        ebb_runtime::try_current_core().is_none(),
        "block_on would stop the events of this core; await the future instead"
    );
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}
