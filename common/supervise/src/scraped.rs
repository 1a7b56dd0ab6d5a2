//! Writes scraped.jsonl: the metric rows in the command's output. The file is created with its first row; a
//! failure to write is reported once and has no other effect.

use super::combined::Stream;
use super::task::Task;
use run_common::error::plain;
use run_common::fsio::append::ends_whole;
use run_common::fsio::write::open_append;
use run_common::message::warn;
use run_metrics::scrape::Scraper;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// Looks for rows in both streams and appends them to the file.
#[derive(Debug)]
pub(super) struct Scraped {
    path: PathBuf,
    file: Option<File>,
    stdout: Scraper,
    stderr: Scraper,
    rows: Vec<u8>,
    /// Whether a failure to write was reported.
    fails: bool,
}

impl Scraped {
    /// Prepares the patterns of the task; `None` if there are none.
    pub(super) fn new(task: &Task) -> Option<Self> {
        let scraper = || Scraper::new(task.scrape.clone());
        (!task.scrape.is_none()).then(|| Self {
            path: task.layout.scraped(),
            file: None,
            stdout: scraper(),
            stderr: scraper(),
            rows: Vec::new(),
            fails: false,
        })
    }

    /// Returns the set of first bytes of lines it wants.
    pub(super) fn wanted(&self, stream: Stream) -> &'static [bool; 256] {
        match stream {
            Stream::Stdout => self.stdout.wanted(),
            Stream::Stderr => self.stderr.wanted(),
        }
    }

    /// Adds a whole line of a stream; returns the set of first bytes of lines it wants next.
    #[inline]
    pub(super) fn line(&mut self, stream: Stream, line: &[u8]) -> &'static [bool; 256] {
        let scraper = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if let Some(row) = scraper.line(line) {
            row.write_line(&mut self.rows);
        }
        scraper.wanted()
    }

    /// Appends the found rows.
    pub(super) fn write(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        if let Err(error) = self.append() {
            self.file = None; // the end of the file is checked when it is opened again
            if !std::mem::replace(&mut self.fails, true) {
                warn(&format!("cannot write scraped.jsonl: {}; metrics are lost", plain(&error)));
            }
        }
        self.rows.clear();
    }

    fn append(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = open_append(&self.path)?;
                if !ends_whole(&mut file)? {
                    self.rows.insert(0, b'\n');
                }
                none.insert(file)
            }
        };
        file.write_all(&self.rows)
    }
}
