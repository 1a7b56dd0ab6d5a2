//! Pieces of files, worked on by several threads and taken in their order.

use super::reader::Reader;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Threads that read.
const THREADS: usize = 2;

/// Parts that a thread may be ahead of what was taken.
const AHEAD: usize = 8;

/// A part of the work: a piece of a file of lines, or all rows of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Number of the run.
    pub(super) input: usize,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Rows of the run before the piece; none, when they were not counted.
    pub(super) rows_before: Option<u64>,
}

/// Does `work` for every piece, by several threads, and hands what it sends, and what it returns, to
/// `take` in the order of the pieces, until that has enough.
pub(super) fn in_turn<T: Send>(
    pieces: &[Piece],
    work: impl Fn(&Piece, &mut Reader, &mut dyn FnMut(T)) -> T + Sync,
    mut take: impl FnMut(T, &Piece) -> bool,
) {
    thread::scope(|scope| {
        let start = |thread: usize| -> Receiver<(T, bool)> {
            let (send, receive): (SyncSender<(T, bool)>, _) = sync_channel(AHEAD);
            let work = &work;
            scope.spawn(move || {
                let mut reader = Reader::default();
                for piece in pieces.iter().skip(thread).step_by(THREADS) {
                    let mut more = |part| {
                        let _nobody_wants_it = send.send((part, false)); // which is seen at the last part
                    };
                    let last = work(piece, &mut reader, &mut more);
                    if send.send((last, true)).is_err() {
                        return; // nobody wants more
                    }
                }
            });
            receive
        };
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        for (number, piece) in pieces.iter().enumerate() {
            while let Ok((part, is_last)) = threads[number % THREADS].recv() {
                if !take(part, piece) {
                    return;
                }
                if is_last {
                    break;
                }
            }
        }
    });
}
