//! Writes combined.log and, from the same lines, scraped.jsonl. A trickle of output is written by the thread
//! that reads it, so that no line waits for another thread; a flood is written by a thread of its own, to use a
//! second core.

use super::combined::{Combined, Out, Stream};
use super::log::Log;
use super::scraped::Scraped;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Minimum size of a block that is passed to the second thread, in bytes.
const LARGE: usize = 32 << 10;

/// Maximum number of blocks that wait for the second thread. With only a few, the threads wait for each other,
/// and the kernel comes to execute both on one core while the command's core is idle.
const QUEUE: usize = 8;

/// Bytes of combined.log to gather before a write.
const GATHER: usize = 512 << 10;

/// Bytes of output to convert at a time: the shortest lines grow by a factor of forty.
const PART: usize = 8 << 10;

/// A block of output that a stream delivered, with its time in microseconds since 1970.
pub(super) struct Brought {
    pub(super) stream: Stream,
    pub(super) block: Arc<Vec<u8>>,
    pub(super) length: usize,
    pub(super) now: i64,
}

/// combined.log, and the unfinished lines.
#[derive(Debug)]
struct Writer {
    log: Log,
    lines: Combined,
    gathered: Out,
    scraped: Option<Scraped>,
}

impl Writer {
    fn add(&mut self, brought: &Brought) {
        let stream = brought.stream;
        let mut wanted = self.scraped.as_ref().map_or(&[false; 256], |scraped| scraped.wanted(stream));
        for part in brought.block[..brought.length].chunks(PART) {
            let mut each = |line: &[u8]| {
                if let Some(scraped) = &mut self.scraped
                    && line.first().is_some_and(|&first| wanted[usize::from(first)])
                {
                    wanted = scraped.line(stream, line);
                }
            };
            self.lines.push(stream, part, brought.now, &mut self.gathered, &mut each);
            if self.gathered.text().len() >= GATHER {
                self.write();
            }
        }
        self.write();
        if let Some(scraped) = &mut self.scraped
            && !self.log.is_muted()
        {
            scraped.write();
        }
    }

    fn write(&mut self) {
        self.log.append(self.gathered.text());
        self.gathered.clear();
    }
}

/// combined.log, written by one thread at a time.
#[derive(Debug)]
pub(super) struct CombinedLog {
    writer: Arc<Mutex<Writer>>,
    queue: Option<SyncSender<Brought>>,
    second: Option<JoinHandle<()>>,
    under_way: Arc<AtomicUsize>,
}

impl CombinedLog {
    pub(super) fn new(log: Log, scraped: Option<Scraped>) -> Self {
        let writer = Writer { log, lines: Combined::default(), gathered: Out::default(), scraped };
        Self { writer: Arc::new(Mutex::new(writer)), queue: None, second: None, under_way: Arc::default() }
    }

    /// Adds a block of output. The caller may continue to read the block meanwhile.
    pub(super) fn add(&mut self, brought: Brought) {
        let is_idle = self.under_way.load(Ordering::Acquire) == 0;
        if is_idle && brought.length < LARGE {
            return self.add_here(&brought);
        }
        if self.queue.is_none() {
            self.start_second();
        }
        match &self.queue {
            None => self.add_here(&brought), // no second thread can be started
            Some(queue) => {
                self.under_way.fetch_add(1, Ordering::Relaxed);
                if let Err(SendError(brought)) = queue.send(brought) {
                    self.add_here(&brought);
                }
            }
        }
    }

    fn add_here(&self, brought: &Brought) {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).add(brought);
    }

    fn start_second(&mut self) {
        let (queue, blocks) = sync_channel::<Brought>(QUEUE);
        let (writer, under_way) = (Arc::clone(&self.writer), Arc::clone(&self.under_way));
        let work = move || {
            for brought in blocks {
                writer.lock().unwrap_or_else(PoisonError::into_inner).add(&brought);
                drop(brought);
                under_way.fetch_sub(1, Ordering::Release);
            }
        };
        if let Ok(thread) = thread::Builder::new().name("combine".to_owned()).spawn(work) {
            (self.queue, self.second) = (Some(queue), Some(thread));
        }
    }

    /// Writes the rest after the streams have ended.
    pub(super) fn finish(&mut self, now: i64) {
        self.queue = None;
        if let Some(second) = self.second.take() {
            let _ = second.join(); // a panic aborts the process
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Writer { lines, gathered, .. } = &mut *writer;
        lines.finish(now, gathered);
        writer.write();
    }
}
