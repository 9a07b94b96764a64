//! Clones and records that go the way that chance has them; the same seed gives the same way.

use alloc::{format, rc::Rc, string::String, vec::Vec};

use ebb::println;
use ebb_block::sim::Random;
use ebb_linux::snapshot::{CloneOptions, Restoring};
use ebb_linux::{Snapshot, Uc};

use super::{PAGES, ask, end, hash, rewritten};

/// Numbers below what is asked for.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut random = Random::new(seed);
    move |n| random.below(n as u64) as usize
}

/// Reads a record 1,000 times with other bits in it, and makes a clone of what can be read; how many were refused.
pub async fn damaged(record: &[u8], pages: &[u8], root: Option<&Snapshot>) -> usize {
    let mut below = numbers(20_261_128);
    let mut refused = 0;
    for _ in 0..1000 {
        let mut wrong = record.to_vec();
        for _ in 0..=below(3) {
            let bit = below(wrong.len() * 8);
            wrong[bit / 8] ^= 1 << (bit % 8);
        }
        if below(8) == 0 {
            wrong.truncate(below(record.len()));
        }
        let read = Restoring::new(&wrong).and_then(|mut restoring| {
            match root {
                Some(_) => restoring.put_lines(pages)?,
                None => restoring.put(0, pages.as_chunks().0)?,
            }
            restoring.finish(root)
        });
        match read {
            // Nothing of it runs, for that may be an endless loop as well as anything else.
            Ok(snapshot) if root.is_some() => {
                if let Ok(uc) = snapshot.start_clone(CloneOptions::default()) {
                    end(uc).await;
                }
            }
            Ok(_) => {}
            Err(_) => refused += 1,
        }
    }
    refused
}

/// Clones, and snapshots of clones, that write at random; each has a model of its own. With `store`, half of the snapshots are
/// written down and read before they are used.
pub async fn isolated(snapshot: &Snapshot, seed: u64, count: usize, store: bool) {
    let mut below = numbers(seed);
    let first: Vec<u8> = (0..PAGES).map(|i| i as u8).collect();
    let mut snapshots = Vec::from([(snapshot.clone(), first)]);
    let mut clones: Vec<(Rc<Uc>, Vec<u8>)> = Vec::new();
    let mut made = 0;
    while made < count {
        match below(12) {
            0..3 if clones.len() < 24 => {
                let (from, model) = &snapshots[below(snapshots.len())];
                let uc = from
                    .start_clone(CloneOptions::default())
                    .expect("there is memory");
                clones.push((uc, model.clone()));
                made += 1;
            }
            3 | 4 if clones.len() > 8 => {
                let (uc, model) = clones.swap_remove(below(clones.len()));
                assert_eq!(ask(&uc, "hash").await, format!("{}", hash(&model)));
                end(uc).await;
            }
            5 if !clones.is_empty() && snapshots.len() < 6 => {
                let (uc, model) = &clones[below(clones.len())];
                // It answers, so what it was told has been done.
                assert_eq!(ask(uc, "hash").await, format!("{}", hash(model)));
                uc.parked().await;
                let taken = if below(2) == 0 {
                    Snapshot::capture(uc)
                } else {
                    Snapshot::capture_delta(uc)
                };
                let mut taken = taken.expect("it can be captured");
                if store && below(2) == 0 {
                    taken = rewritten(&taken);
                }
                snapshots.push((taken, model.clone()));
            }
            6 if snapshots.len() > 3 => {
                let gone = 1 + below(snapshots.len() - 1);
                snapshots.swap_remove(gone);
            }
            7 if !clones.is_empty() => {
                let (uc, _) = &clones[below(clones.len())];
                // At any moment, waiting or not: it must not see anything of it.
                match below(5) {
                    0 => uc.rest(below(2) == 0),
                    1 | 2 => uc.rest_long(),
                    3 => uc.wake(),
                    _ => {
                        if let Some(origin) = uc.origin() {
                            origin.learn_needed(uc);
                        }
                    }
                }
            }
            _ if !clones.is_empty() => {
                let which = below(clones.len());
                let (uc, model) = &mut clones[which];
                let mut lines = String::new();
                for _ in 0..below(30) {
                    let (page, value) = (below(PAGES), below(256));
                    model[page] = value as u8;
                    lines += &format!("write {page} {value}\n");
                }
                uc.give(lines.as_bytes()).expect("it reads");
                if below(4) == 0 {
                    assert_eq!(ask(uc, "hash").await, format!("{}", hash(model)));
                }
            }
            _ => {}
        }
    }
    for (uc, model) in &clones {
        assert_eq!(ask(uc, "hash").await, format!("{}", hash(model)));
    }
    for (uc, _) in clones {
        end(uc).await;
    }
    println!("isolated: {made} clones wrote at random, seed {seed}");
}
