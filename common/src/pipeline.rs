//! The ordered pipeline: several threads process many items, and a single consumer ("taker") gets the results
//! in the order of the items. The work ahead of the taker is bounded, and the taker's first failure ends the
//! pipeline. Used by discovery, listings, submissions, curves and consolidation.

use std::collections::VecDeque;
use std::iter;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Number of small items that a thread takes at a time.
const CHUNK: usize = 32;

/// For small items, which are read from a disk or a network file system: two threads are enough if all of
/// them are in memory; a cold disk serves many readers better than few.
const SMALL: Limits = Limits { threads: 2..=32, ahead: 64, room: 1 };

/// For items that keep a CPU busy.
const LARGE: Limits = Limits { threads: 2..=2, ahead: 64, room: 1 };

/// For items with results in parts, each of which may need much memory.
const IN_PARTS: Limits = Limits { threads: 2..=2, ahead: 4, room: 8 };

/// How long the taker waits for the next result before it starts another thread.
const PATIENCE: Duration = Duration::from_millis(1);

/// Bounds of a pipeline.
struct Limits {
    /// Initial and maximum number of threads.
    threads: RangeInclusive<usize>,
    /// Maximum number of jobs ahead of the first unfinished one.
    ahead: usize,
    /// Maximum number of parts of a job that wait for the taker.
    room: usize,
}

/// Calls `work` for every item, in several threads if there are many items, and passes the results to `take`,
/// in the order of the items, until `take` fails.
pub fn in_order<T: Send, R: Send, E>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let work = |(): &mut (), chunk: Vec<T>, _: &mut dyn FnMut(Vec<R>)| chunk.into_iter().map(&work).collect();
    let take = |results: Vec<R>| results.into_iter().try_for_each(&mut take);
    run(&SMALL, chunks(items, CHUNK), || (), work, take)
}

/// Like [`in_order`], for expensive items: two threads take a single item at a time.
pub fn large_in_order<T: Send, R: Send, E>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
    take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    run(&LARGE, items, || (), |(): &mut (), item: T, _: &mut dyn FnMut(R)| work(item), take)
}

/// Like [`in_order`], for expensive items with results in parts: `work` passes each part on, and returns the
/// last one. Each thread has a state of its own, such as buffers.
pub fn parts_in_order<T: Send, S, P: Send, E>(
    items: impl IntoIterator<Item = T>,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T, &mut dyn FnMut(P)) -> P + Sync,
    take: impl FnMut(P) -> Result<(), E>,
) -> Result<(), E> {
    run(&IN_PARTS, items, state, work, take)
}

/// A part of a job's result, and whether it is the last part.
type Part<P> = (P, bool);

/// Every job comes with a channel of its own for its parts. The taker keeps the receivers in the order of the
/// jobs.
fn run<T: Send, S, P: Send, E>(
    limits: &Limits,
    jobs: impl IntoIterator<Item = T>,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T, &mut dyn FnMut(P)) -> P + Sync,
    mut take: impl FnMut(P) -> Result<(), E>,
) -> Result<(), E> {
    let mut jobs = jobs.into_iter().fuse().peekable();
    let first = jobs.next();
    if jobs.peek().is_none() {
        return here(first, state, work, take);
    }
    let mut jobs = first.into_iter().chain(jobs);
    let (hand_out, queue) = channel::<(T, SyncSender<Part<P>>)>();
    let (queue, begun, has_failed) = (Mutex::new(queue), AtomicUsize::new(0), AtomicBool::new(false));
    let body = || {
        let mut state = state();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((job, parts)) = next else { return };
            begun.fetch_add(1, Ordering::Relaxed);
            if has_failed.load(Ordering::Relaxed) {
                return;
            }
            let hand_on = |part, is_last| {
                let _nobody_wants_it = parts.send((part, is_last)); // the taker has failed
            };
            hand_on(work(&mut state, job, &mut |part| hand_on(part, false)), true);
        }
    };
    thread::scope(|scope| {
        let hand_out = hand_out; // the threads end when the channel is dropped
        let start = || thread::Builder::new().spawn_scoped(scope, body).is_ok();
        let mut threads = (0..*limits.threads.start()).take_while(|_| start()).count();
        if threads == 0 {
            return here(jobs, &state, &work, take);
        }
        let mut due: VecDeque<Receiver<Part<P>>> = VecDeque::new();
        let mut handed_out = 0;
        loop {
            for job in jobs.by_ref().take(limits.ahead - due.len()) {
                let (send, parts) = sync_channel(limits.room);
                let _the_threads_wait_for_it = hand_out.send((job, send));
                due.push_back(parts);
                handed_out += 1;
            }
            let Some(parts) = due.pop_front() else { return Ok(()) };
            loop {
                let may_grow = threads < *limits.threads.end();
                match parts.recv_timeout(if may_grow { PATIENCE } else { Duration::MAX }) {
                    Ok((part, is_last)) => {
                        take(part).inspect_err(|_| has_failed.store(true, Ordering::Relaxed))?;
                        if is_last {
                            break;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        let has_work = begun.load(Ordering::Relaxed) < handed_out;
                        threads += usize::from(may_grow && has_work && start());
                    }
                    Err(RecvTimeoutError::Disconnected) => break, // the thread has panicked
                }
            }
        }
    })
}

/// Processes everything in this thread: there is a single job, or no thread can be started.
fn here<T, S, P, E>(
    jobs: impl IntoIterator<Item = T>,
    state: impl Fn() -> S,
    work: impl Fn(&mut S, T, &mut dyn FnMut(P)) -> P,
    mut take: impl FnMut(P) -> Result<(), E>,
) -> Result<(), E> {
    let mut state = state();
    jobs.into_iter().try_for_each(|job| {
        let mut taken = Ok(());
        let last = work(&mut state, job, &mut |part| {
            if taken.is_ok() {
                taken = take(part);
            }
        });
        taken?;
        take(last)
    })
}

fn chunks<T>(items: impl IntoIterator<Item = T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter().fuse();
    iter::from_fn(move || {
        Some(items.by_ref().take(size).collect()).filter(|chunk: &Vec<T>| !chunk.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;
    use std::time::Instant;

    /// Collects results in a list, and never fails.
    fn into<R>(list: &mut Vec<R>) -> impl FnMut(R) -> Result<(), Infallible> {
        |result| {
            list.push(result);
            Ok(())
        }
    }

    #[test]
    fn results_come_in_order_and_all_of_them() {
        for count in [0, 1, 31, 32, 33, 5000] {
            let doubled: Vec<usize> = (0..count).map(|item| item * 2).collect();
            let (mut small, mut large) = (Vec::new(), Vec::new());
            let Ok(()) = in_order(0..count, |item| item * 2, into(&mut small));
            let Ok(()) = large_in_order(0..count, |item| item * 2, into(&mut large));
            assert_eq!((&small, &large), (&doubled, &doubled));
        }
    }

    #[test]
    fn a_failure_ends_it_also_while_others_wait_to_hand_on_what_they_have_done() {
        let failed = in_order(0..5000, |item| item, |item| if item == 100 { Err(item) } else { Ok(()) });
        assert_eq!(failed, Err(100));
        let made = AtomicUsize::new(0);
        let work = |(): &mut (), item: usize, hand_on: &mut dyn FnMut(usize)| {
            for _ in 0..100 {
                made.fetch_add(1, Ordering::Relaxed);
                hand_on(item);
            }
            item
        };
        let take = |item: usize| {
            while made.load(Ordering::Relaxed) <= IN_PARTS.room + 1 {
                thread::yield_now();
            }
            Err(item)
        };
        assert_eq!(parts_in_order(0..5000, || (), work, take), Err(0));
        assert!(made.load(Ordering::Relaxed) <= 101 * IN_PARTS.ahead);
    }

    #[test]
    fn more_threads_help_while_all_of_them_wait() {
        let (begun, deadline) = (AtomicUsize::new(0), Instant::now() + Duration::from_secs(60));
        let work = |()| {
            begun.fetch_add(1, Ordering::Relaxed);
            while begun.load(Ordering::Relaxed) < 5 && Instant::now() < deadline {
                thread::yield_now();
            }
            begun.load(Ordering::Relaxed) >= 5
        };
        let mut together = Vec::new();
        let Ok(()) = in_order([(); 5 * CHUNK], work, into(&mut together));
        assert!(together.into_iter().all(|were_five| were_five));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_part_is_taken_once_in_order_and_bounded_until_one_is_refused(
            parts in prop::collection::vec(1_usize..5, 0..30),
            (first, more, ahead, room) in (0_usize..4, 0_usize..4, 1_usize..6, 0_usize..4),
            refused in prop::option::of(0_usize..60),
            pauses in prop::collection::vec(0_u32..3, 8),
        ) {
            let limits = Limits { threads: first..=first + more, ahead, room };
            let pause = |number: usize| (0..pauses[number % pauses.len()]).for_each(|_| thread::yield_now());
            let (states, begun, made) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
            let state = || states.fetch_add(1, Ordering::Relaxed);
            let work = |_: &mut usize, job: usize, hand_on: &mut dyn FnMut((usize, usize))| {
                begun.fetch_add(1, Ordering::Relaxed);
                let make = |part| {
                    pause(job + part);
                    made.fetch_add(1, Ordering::Relaxed);
                    (job, part)
                };
                (1..parts[job]).for_each(|part| hand_on(make(part - 1)));
                make(parts[job] - 1)
            };
            let mut taken = Vec::new();
            let (mut most_begun, mut most_made) = (0, 0);
            let take = |(job, part)| {
                most_begun = most_begun.max(begun.load(Ordering::Relaxed).saturating_sub(job));
                most_made = most_made.max(made.load(Ordering::Relaxed) - taken.len());
                pause(taken.len());
                if refused == Some(taken.len()) {
                    return Err(());
                }
                taken.push((job, part));
                Ok(())
            };
            let ended = run(&limits, 0..parts.len(), state, work, take);
            let all: Vec<_> = parts.iter().enumerate().flat_map(|(job, &count)| (0..count).map(move |part| (job, part))).collect();
            match refused.filter(|&refused| refused < all.len()) {
                Some(refused) => prop_assert!(ended == Err(()) && taken == all[..refused]),
                None => prop_assert!(ended == Ok(()) && taken == all),
            }
            // A thread holds one part that must wait, and the taker holds one.
            let most = ahead * room + first + more + 1;
            prop_assert!(most_begun <= ahead && most_made <= most, "{} {}", most_begun, most_made);
            prop_assert!(states.load(Ordering::Relaxed) <= (first + more).max(1));
        }
    }
}
