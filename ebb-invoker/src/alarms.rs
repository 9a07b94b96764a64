//! Fires triggers whose alarms are due ([`ebb_openwhisk::alarm`] says when that is).
//!
//! What must hold: an alarm counts as fired when what comes of it has begun, and that it counts is kept at once. A machine that ends
//! between the two fires it once more at the next start; nothing that is due gets lost.

use alloc::vec;
use core::time::Duration;

use ebb::{EbbRef, println, time};
use ebb_openwhisk::Step;
use ebb_openwhisk::entity::absent::Sought;
use ebb_openwhisk::failure::Failure;
use ebb_openwhisk::name::FullName;

use crate::books::{Books, epoch_ms};
use crate::{dispatch, state};

/// How long nobody looks at the clock at most. It is the clock of the day, which may be set, and stands still while a machine sleeps.
const LOOK: Duration = Duration::from_secs(1);
/// Set back by less, a clock is only a little inexact.
const SET_BACK_MS: u64 = 5_000;

/// Fires what is due for as long as the platform runs.
pub(crate) async fn run() {
    let books = EbbRef::<Books>::get();
    // Which triggers have alarms only they know.
    state::bring(vec![Sought::Below("".into())]).await;
    let mut last_ms = epoch_ms();
    // The machine that kept the alarms may have been ahead.
    set_back(last_ms).await;
    loop {
        let now_ms = epoch_ms();
        if now_ms + SET_BACK_MS < last_ms {
            println!(
                "invoker: the clock was set back by {} s",
                (last_ms - now_ms) / 1000
            );
            set_back(now_ms).await;
        }
        last_ms = now_ms;
        let due = books.controller(|c| c.due_alarms(now_ms));
        for name in &due {
            if let Err(failure) = fire(name, now_ms).await {
                println!("invoker: the alarm of /{name} is late: {}", failure.text);
            }
        }
        let next_ms = books.controller(|c| c.next_alarm_ms());
        let wait = next_ms.map(|next| Duration::from_millis(next.saturating_sub(epoch_ms())));
        // One that could not fire is due still.
        let wait = wait.filter(|wait| !wait.is_zero()).unwrap_or(LOOK);
        time::sleep(wait.min(LOOK)).await;
    }
}

async fn set_back(now_ms: u64) {
    let done = state::change(|c| c.clock_was_set_back(now_ms)).await;
    if let Err(failure) = done {
        println!("invoker: {}", failure.text);
    }
}

/// Fires one trigger.
async fn fire(name: &FullName, now_ms: u64) -> Result<(), Failure> {
    let books = EbbRef::<Books>::get();
    match books.controller(|c| c.fire_alarm(name, now_ms))? {
        Step::Invoke(plan, reply) => drop(dispatch::start(plan, &reply)?),
        // Nobody wants to know of it.
        Step::Respond(_) | Step::Document(_) | Step::Later(_) => {}
    }
    state::change(|c| c.alarm_passed(name, now_ms)).await
}
