//! What is promised about calls of distributed Ebbs, by an Ebb as users write it, on 2 to 20 nodes whose network and machines fail at random:
//! no call runs twice, none gets another's answer, what a failure says about having run is true, and when all is well again, all works.

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use ebb::{EbbRef, ebb, spawn, time::sleep};
use ebb_distributed::{
    Blob, Failure, Items, Limits, NodeId, NotSent, RemoteRef, Sink, join_by_options, remote,
};
use ebb_sim::{Faults, Simulation, below, seeds, this_node};

/// What really happened to a call, as only somebody outside the nodes can know.
struct Record {
    /// On which node and life it was called, and of which.
    caller: (usize, u64),
    to: NodeId,
    runs: u32,
    /// Nothing more is heard of it.
    is_oneway: bool,
    outcome: Option<Result<(), Failure>>,
}

std::thread_local! {
    static BOOK: RefCell<Vec<Record>> = const { RefCell::new(Vec::new()) };
}

fn begin(to: NodeId) -> u64 {
    BOOK.with_borrow_mut(|book| {
        let caller = this_node().expect("a node calls");
        book.push(Record {
            caller,
            to,
            runs: 0,
            is_oneway: false,
            outcome: None,
        });
        book.len() as u64 - 1
    })
}

/// A method runs for a call.
fn runs(call: u64) {
    BOOK.with_borrow_mut(|book| {
        let record = &mut book[call as usize];
        record.runs += 1;
        assert_eq!(record.runs, 1, "call {call} runs again");
        let told = matches!(record.outcome, Some(Err(failure)) if !failure.may_have_run());
        assert!(!told, "call {call} was said not to run, and runs");
    });
}

fn over(call: u64, outcome: Result<(), Failure>) {
    BOOK.with_borrow_mut(|book| {
        let record = &mut book[call as usize];
        assert!(record.outcome.is_none(), "call {call} has two outcomes");
        assert_eq!(Some(record.caller), this_node(), "another was answered");
        match outcome {
            Ok(()) => assert_eq!(record.runs, 1, "call {call} was answered and has not run"),
            Err(failure) if !failure.may_have_run() => {
                assert_eq!(record.runs, 0, "call {call} has run: {failure:?}");
            }
            Err(_) => {}
        }
        record.outcome = Some(outcome);
    });
}

#[ebb(distributed)]
#[derive(Default)]
struct Echo;

#[remote(name = "calls.Echo")]
impl Echo {
    async fn answer(&self, call: u64, value: Blob) -> (u64, Blob) {
        runs(call);
        sleep(Duration::from_micros(below(300_000))).await;
        (call, value)
    }

    #[remote(oneway)]
    async fn hint(&self, call: u64) {
        runs(call);
    }

    #[remote(stream)]
    async fn count(&self, call: u64, to: u64, out: Sink<(u64, u64)>) {
        runs(call);
        for n in 0..to {
            if out.send((call, n)).await.is_err() {
                return;
            }
        }
    }

    async fn sum(&self, call: u64, mut items: Items<u64>) -> (u64, u64) {
        runs(call);
        let mut sum = 0;
        while let Ok(Some(item)) = items.next().await {
            sum += item;
        }
        (call, sum)
    }
}

/// Calls a node in one of the ways that there are.
async fn call(to: NodeId) -> Result<(), Failure> {
    let mut echo = EbbRef::<Echo>::new().at(to);
    if below(2) == 0 {
        echo = echo.within(Duration::from_millis(1 + below(1500)));
    }
    let call = begin(to);
    let outcome = match below(6) {
        0 => match echo.hint(call) {
            Ok(()) => {
                BOOK.with_borrow_mut(|book| book[call as usize].is_oneway = true);
                return Ok(());
            }
            Err(failure) => Err(failure),
        },
        1 => counted(call, echo.count(call, call % 50)).await,
        2 => {
            let mut sum = echo.sum(call);
            let mut sent = Ok(());
            for n in 0..call % 40 {
                sent = sent.and(sum.send(n).await.map_err(|_| ()));
            }
            sum.finish().await.map(|answer| {
                let n = call % 40;
                assert_eq!(answer, (call, n * n.saturating_sub(1) / 2));
                assert_eq!(sent, Ok(()));
            })
        }
        _ => {
            let size = [0, 10, 1000, 50_000][below(4) as usize];
            let value = vec![call as u8; size];
            let answer = echo.answer(call, value.clone().into()).await;
            answer.map(|(answered, blob)| {
                assert_eq!((answered, &*blob), (call, &*value));
            })
        }
    };
    over(call, outcome);
    outcome
}

async fn counted(
    call: u64,
    mut stream: ebb_distributed::Stream<(u64, u64)>,
) -> Result<(), Failure> {
    let mut seen = 0;
    while let Some(item) = stream.next().await {
        assert_eq!(item?, (call, seen));
        seen += 1;
    }
    assert_eq!(seen, call % 50);
    Ok(())
}

/// What each node runs: it serves, and a few tasks call.
async fn program(nodes: usize) -> Result<(), String> {
    EbbRef::<Echo>::new().serve();
    let server = join_by_options(Limits::default()).await?;
    for _ in 0..3 {
        spawn(async move {
            loop {
                sleep(Duration::from_micros(below(200_000))).await;
                let _ = call(NodeId(below(nodes as u64))).await;
            }
        });
    }
    server.failed().await.map_err(|error| error.to_string())
}

#[test]
fn calls_run_at_most_once_and_are_answered_to_who_called_whatever_fails() {
    let (mut faults, mut calls, mut failed) = (0, 0, BTreeSet::new());
    let runs = seeds(6, |seed| {
        BOOK.take();
        let nodes = 2 + (seed as usize * 7) % 19;
        let mut sim = Simulation::new(seed, nodes, Faults::wild(), async move |_| {
            program(nodes).await
        });
        sim.cores(1 + seed as usize % 3);
        sim.run_for(Duration::from_secs(10));
        faults += sim.faults();
        sim.calm();
        let calm = BOOK.with_borrow(Vec::len);
        // Who was paused goes on, silence is found out, connections are made anew.
        sim.run_for(Duration::from_secs(8));
        let before = BOOK.with_borrow(Vec::len);
        sim.run_for(Duration::from_secs(2));
        BOOK.with_borrow(|book| {
            calls += book.len();
            // Each call has an outcome, unless who called is no more.
            for (call, record) in book[..calm].iter().enumerate() {
                let (node, life) = record.caller;
                let waits = record.outcome.is_none() && !record.is_oneway;
                assert!(!waits || sim.life(node) != life, "call {call} waits");
            }
            for record in &book[before..] {
                // A millisecond may be less than a call takes.
                let is_late = |failure| {
                    failure == Failure::Late || failure == Failure::NotSent(NotSent::Deadline)
                };
                if let Some(Err(failure)) = record.outcome {
                    let (by, to) = (record.caller, record.to);
                    assert!(is_late(failure), "{by:?} calls {to:?}: {failure:?}");
                }
            }
            assert!(book.len() > before + nodes, "nobody calls any more");
            failed.extend(book.iter().filter_map(|record| match record.outcome {
                Some(Err(failure)) => Some(format!("{failure:?}")),
                _ => None,
            }));
        });
    });
    println!("{faults} faults, {calls} calls, which failed as {failed:?}");
    if runs >= 6 {
        assert!(faults > 1000 && calls > 1000);
        assert!(failed.contains("NoAnswer") && failed.contains("Late"));
    }
}
