//! Many small pieces of work at once: a listing that waits for a disk or a network file system waits
//! for many files at a time. Used by discovery and by listings.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Pieces that a thread takes at a time.
const CHUNK: usize = 32;

/// Threads at first, which is enough where all that is read is in memory.
const FIRST: usize = 2;

/// Threads at most: a cold disk serves so many readers better than fewer.
const MOST: usize = 32;

/// Finished chunks that wait at most while the taker is slow, so that they do not grow with the number of items.
const AHEAD: usize = 64;

/// How long the next result is waited for before there is one thread more.
const PATIENCE: Duration = Duration::from_millis(1);

/// Does `work` for every item, by several threads where there are many, and hands the results to
/// `take`, in the order of the items, until it fails.
pub fn in_order<T: Send, R: Send, E>(
    items: Vec<T>,
    work: impl Fn(T) -> R + Sync,
    take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    by_chunks(items, CHUNK, MOST, work, take)
}

/// Like [`in_order`] for items that are much work each: by two threads, one item at a time.
pub fn few_in_order<T: Send, R: Send, E>(
    items: Vec<T>,
    work: impl Fn(T) -> R + Sync,
    take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    by_chunks(items, 1, FIRST, work, take)
}

fn by_chunks<T: Send, R: Send, E>(
    items: Vec<T>,
    size: usize,
    most: usize,
    work: impl Fn(T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    if items.len() <= size {
        return items.into_iter().try_for_each(|item| take(work(item)));
    }
    let chunks = chunks(items, size);
    let next = AtomicUsize::new(0);
    let (send, results) = sync_channel(AHEAD);
    thread::scope(|scope| {
        let results = results; // whoever waits to send is let go when it is dropped
        let start = || {
            let (send, next, chunks, work) = (send.clone(), &next, &chunks, &work);
            let body = move || {
                while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if send.send((chunk.number, chunk.finish(work))).is_err() {
                        return; // nobody wants more
                    }
                }
            };
            thread::Builder::new().spawn_scoped(scope, body).is_ok()
        };
        let mut threads = (0..FIRST).take_while(|_| start()).count();
        let mut early: Vec<Option<Vec<R>>> = chunks.iter().map(|_| None).collect();
        for due in 0..chunks.len() {
            let done = loop {
                if let Some(done) = early[due].take() {
                    break done;
                }
                match results.recv_timeout(PATIENCE) {
                    Ok((number, done)) => early[number] = Some(done),
                    Err(_) if threads == 0 => break chunks[due].finish(&work),
                    Err(_) => {
                        if threads < most && next.load(Ordering::Relaxed) < chunks.len() {
                            threads += usize::from(start());
                        }
                    }
                }
            };
            if let Err(error) = done.into_iter().try_for_each(&mut take) {
                next.store(chunks.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    })
}

/// Items that one thread takes at once.
struct Chunk<T> {
    number: usize,
    items: Mutex<Vec<T>>,
}

impl<T> Chunk<T> {
    fn finish<R>(&self, work: impl Fn(T) -> R) -> Vec<R> {
        let items = mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner));
        items.into_iter().map(work).collect()
    }
}

fn chunks<T>(items: Vec<T>, size: usize) -> Vec<Chunk<T>> {
    let count = items.len().div_ceil(size);
    let mut rest = items.into_iter();
    (0..count).map(|number| Chunk { number, items: Mutex::new(rest.by_ref().take(size).collect()) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn results_come_in_order_and_all_of_them() {
        for count in [0, 1, 31, 32, 33, 5000] {
            let items: Vec<usize> = (0..count).collect();
            let mut seen = Vec::new();
            let take = |twice| -> Result<(), Infallible> {
                seen.push(twice);
                Ok(())
            };
            let Ok(()) = in_order(items.clone(), |item| item * 2, take);
            assert_eq!(seen, items.iter().map(|item| item * 2).collect::<Vec<_>>());
            let mut singly = Vec::new();
            let take = |twice| -> Result<(), Infallible> {
                singly.push(twice);
                Ok(())
            };
            let Ok(()) = few_in_order(items.clone(), |item| item * 2, take);
            assert_eq!(singly, seen);
        }
    }

    #[test]
    fn a_failure_ends_it() {
        let items: Vec<usize> = (0..5000).collect();
        let failed = in_order(items, |item| item, |item| if item == 100 { Err(item) } else { Ok(()) });
        assert_eq!(failed, Err(100));
        // Also while others wait to hand in what they have done.
        let done = AtomicUsize::new(0);
        let work = |item| {
            done.fetch_add(1, Ordering::Relaxed);
            item
        };
        let take = |item: usize| {
            while done.load(Ordering::Relaxed) < AHEAD + FIRST {
                thread::yield_now();
            }
            Err(item)
        };
        assert_eq!(few_in_order((0..5000).collect(), work, take), Err(0));
    }
}
