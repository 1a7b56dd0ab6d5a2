//! The runs to execute, read when needed, because a pipe may stay open for days.

use crate::options::Options;
use nix::errno::Errno;
use nix::unistd::read;
use run_common::cli::listed::Listed;
use run_common::cli::names::Names;
use run_common::cli::operands::{Operand, check_stdin};
use run_common::error::{Error, Exit};
use run_common::rundir::open::RunDir;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Bytes of names to read before they are needed; a program that writes runs without end is not outrun.
const AHEAD: usize = 1 << 20;

/// The queue of operands.
#[derive(Debug)]
pub(crate) struct Queue {
    operands: VecDeque<String>,
    names: Names,
    /// Whether names on stdin end with NUL.
    null: bool,
    /// Remaining runs of the last opened batch.
    runs: VecDeque<RunDir>,
    /// The runs named so far.
    known: HashSet<PathBuf>,
    /// What was read from stdin, while its operand is processed.
    stdin: Option<Listed>,
    stdin_ended: bool,
}

/// The next item of the queue.
#[derive(Debug)]
pub(crate) enum Next {
    Run(RunDir),
    Failed(Error),
    /// Runs that were named before are skipped, with this message.
    Again(String),
    /// Stdin must be read first.
    Awaited,
    End,
}

/// Returns the run, if a single one is named.
pub(crate) fn single(options: &Options) -> Result<Option<RunDir>, Error> {
    match options.operands.as_slice() {
        [name] if name != "-" => match Names::below(options.runs_dir.clone()).open(name)? {
            Operand::Run(run) => Ok(Some(run)),
            Operand::Batch(_) | Operand::Others(..) => Ok(None),
        },
        _ => Ok(None),
    }
}

impl Queue {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            operands: options.operands.iter().cloned().collect(),
            names: Names::below(options.runs_dir.clone()),
            null: options.null,
            runs: VecDeque::new(),
            known: HashSet::new(),
            stdin: None,
            stdin_ended: false,
        }
    }

    /// Removes and returns the next run.
    pub(crate) fn next(&mut self) -> Next {
        loop {
            if let Some(run) = self.runs.pop_front() {
                return Next::Run(run);
            }
            let name = match &mut self.stdin {
                Some(read) => match read.take_next(self.stdin_ended) {
                    Some(Ok(name)) => name,
                    Some(Err(error)) => return Next::Failed(error),
                    None if self.stdin_ended => {
                        self.stdin = None;
                        continue;
                    }
                    None => return Next::Awaited,
                },
                None => match self.operands.pop_front() {
                    Some(operand) if operand == "-" => {
                        if let Err(error) = check_stdin() {
                            return Next::Failed(error);
                        }
                        self.stdin = Some(Listed::new(self.null));
                        continue;
                    }
                    Some(operand) => operand,
                    None => return Next::End,
                },
            };
            match self.names.open(&name) {
                Ok(Operand::Run(run)) if self.known.insert(real(&run)) => return Next::Run(run),
                Ok(Operand::Run(run)) => {
                    let shown = run.layout().root().display();
                    return Next::Again(format!("'{shown}' is named several times; executing it once"));
                }
                Ok(Operand::Batch(batch)) => {
                    let mut runs = match batch.runs_as_created() {
                        Ok(runs) => runs,
                        Err(error) => return Next::Failed(error),
                    };
                    let all = runs.len();
                    runs.retain(|run| self.known.insert(real(run)));
                    let (shown, again) = (batch.layout().root().display(), all - runs.len());
                    self.runs.extend(runs);
                    if again > 0 {
                        return Next::Again(format!(
                            "{again} of the {all} runs of '{shown}' are named several times; executing each once"
                        ));
                    }
                }
                Ok(Operand::Others(_, runs)) => self.runs.extend(runs), // each is refused
                Err(error) => return Next::Failed(error),
            }
        }
    }

    /// Returns whether stdin may name more runs.
    pub(crate) fn may_grow(&self) -> bool {
        self.stdin.is_some() && !self.stdin_ended
    }

    /// Returns whether stdin should be read although the names that were read are not consumed yet: only its end shows
    /// how many runs are left.
    pub(crate) fn reads_ahead(&self) -> bool {
        self.may_grow() && self.stdin.as_ref().is_some_and(|read| read.length() < AHEAD)
    }

    /// Returns the number of remaining runs, if known.
    pub(crate) fn left(&self) -> Option<usize> {
        let is_known = !self.may_grow() && !self.operands.iter().any(|operand| operand == "-");
        let read = self.stdin.as_ref().map_or(0, Listed::count);
        is_known.then(|| self.runs.len() + self.operands.len() + read)
    }

    /// Reads what is available on stdin.
    pub(crate) fn fill(&mut self) -> Result<(), Error> {
        let mut block = [0; 8 << 10];
        match read(io::stdin().as_fd(), &mut block) {
            Ok(0) => self.stdin_ended = true,
            Ok(count) => self.stdin.get_or_insert_with(|| Listed::new(self.null)).push(&block[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => {
                self.stdin_ended = true;
                return Err(Error::new(Exit::System, "cannot read stdin").because(io::Error::from(error)));
            }
        }
        Ok(())
    }
}

/// Returns the path of a run with all links resolved.
fn real(run: &RunDir) -> PathBuf {
    let path = run.absolute();
    path.canonicalize().unwrap_or(path)
}
