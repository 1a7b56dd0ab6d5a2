//! Threads that share work.

use run_common::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Processes all items with several threads, starting in their order. After the first error, no other item
/// starts.
pub(crate) fn each<T: Sync>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let failed = Mutex::new(None);
    let worker = || {
        while !is_over.load(Ordering::Relaxed)
            && let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed))
        {
            if let Err(error) = work(item) {
                is_over.store(true, Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Like [`each`], but returns the results, in the order of the items.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let pairs: Vec<_> = items.iter().zip(&results).collect();
    let done = each(&pairs, threads, |(item, result)| {
        *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(work(item));
        Ok(())
    });
    debug_assert!(done.is_ok());
    results
        .into_iter()
        .filter_map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_common::error::Exit;

    #[test]
    fn results_come_in_the_order_of_the_items_and_an_error_ends_the_work() {
        let items: Vec<u32> = (0..100).collect();
        for threads in [1, 7, 256] {
            assert_eq!(
                map(&items, threads, |item| item * 2),
                (0..100).map(|item| item * 2).collect::<Vec<_>>()
            );
            let begun = AtomicUsize::new(0);
            let failed = each(&items, threads, |_| {
                begun.fetch_add(1, Ordering::Relaxed);
                Err(Error::new(Exit::System, "no"))
            });
            assert_eq!(failed.unwrap_err().to_string(), "no");
            assert!(begun.into_inner() <= threads);
        }
        assert!(each(&[] as &[u8], 4, |_| Err(Error::usage("x"))).is_ok());
    }
}
