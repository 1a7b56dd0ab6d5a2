//! The cost of runs: time multiplied by devices and price. Used by run-report, by run-status if a price is
//! known, and by the record of an attempt.

use crate::error::Error;
use crate::fsio::read::{read_argument, read_small};
use crate::rundir::attempts::{Attempt, AttemptStart, Attempts};
use crate::rundir::observe::Observed;
use crate::rundir::status::{Outcome, Status};
use crate::time::Timestamp;
use serde_json::{Map, Value};
use std::env;
use std::io;
use std::path::Path;

/// Prices of devices in US dollars an hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates(Vec<(String, f64)>);

/// The name that matches every device.
const ANY: &str = "*";

impl Rates {
    /// Creates a single price for every device.
    pub fn one(usd: f64) -> Self {
        Self(vec![(ANY.to_owned(), usd)])
    }

    /// Reads a file with a device and its price in each line, such as `H100 2.49`; `*` is any device, `#`
    /// begins a comment.
    ///
    /// Errors: the file cannot be read, or a line has no price.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::from_bytes(path, read_argument(path))
    }

    fn from_bytes(path: &Path, read: io::Result<Vec<u8>>) -> Result<Self, Error> {
        let bytes = read.map_err(|error| Error::io("read", path, error))?;
        Self::parse(&String::from_utf8_lossy(&bytes)).map_err(|line| {
            Error::usage(format!("cannot use '{}'", path.display()))
                .because(format!("line {line} is not a device and its price"))
                .hint("write lines such as 'H100 2.49': a device and its price in dollars per hour")
        })
    }

    /// Reads the lines; the error is the number of a wrong line.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut rates = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (name, usd) = line.rsplit_once(char::is_whitespace).ok_or(number + 1)?;
            let usd = price(usd).ok_or(number + 1)?;
            rates.push((name.trim_end_matches(['=', ':', ' ', '\t']).to_lowercase(), usd));
        }
        Ok(Self(rates))
    }

    /// Returns the prices of the environment: `RUN_RATE`, a single price, else `RUN_RATES`, a file.
    ///
    /// Errors: the value is not a price.
    pub fn from_environment() -> Result<Option<Self>, Error> {
        let variable = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        if let Some(rate) = variable("RUN_RATE") {
            let usd = price(&rate)
                .ok_or_else(|| Error::usage(format!("RUN_RATE is '{rate}', which is not a price")))?;
            return Ok(Some(Self::one(usd)));
        }
        let of_file = |path: String| {
            let path = Path::new(&path);
            Self::from_bytes(path, read_small(path)) // also called by a supervisor, which must not wait for a pipe
        };
        variable("RUN_RATES").map(of_file).transpose()
    }

    /// Returns the price of a device: that of the longest name that its own name contains.
    pub fn of(&self, device: &str) -> Option<f64> {
        let device = device.to_lowercase();
        let known = self.0.iter().filter(|(name, _)| name == ANY || device.contains(name.as_str()));
        known.max_by_key(|(name, _)| if name == ANY { 0 } else { name.len() }).map(|(_, usd)| *usd)
    }

    /// Returns the total hourly price of some devices; `None` if one has no price.
    pub fn of_all(&self, devices: &[String]) -> Option<f64> {
        devices.iter().map(|device| self.of(device)).sum()
    }
}

/// Reads a price in dollars.
pub fn price(text: &str) -> Option<f64> {
    text.trim().trim_start_matches('$').parse().ok().filter(|usd| (0.0..1e9).contains(usd))
}

/// Returns the devices of an attempt by name: the GPUs that were visible to it, else its device, else `cpu`.
pub fn devices(device: Option<&str>, gpus: &[String], visible: Option<&str>) -> Vec<String> {
    let device = device.unwrap_or(if gpus.is_empty() { "cpu" } else { "cuda" });
    if device == "cpu" {
        return vec![device.to_owned()];
    }
    let seen = match visible {
        Some(list) => {
            list.split(',').map(str::trim).take_while(|one| !one.is_empty() && *one != "-1").count()
        }
        None => gpus.len().max(1),
    };
    match seen {
        0 => vec!["cpu".to_owned()],
        // The index of a GPU does not matter: machines usually have one kind of GPU.
        seen => (0..seen)
            .map(|number| gpus.get(number).or(gpus.last()).cloned().unwrap_or_else(|| device.to_owned()))
            .collect(),
    }
}

/// Returns the cost of an attempt, if every price is known.
pub fn of_attempt(start: &AttemptStart, duration_s: f64, rates: &Rates) -> Option<f64> {
    let visible = start.cuda_visible_devices.as_deref();
    let hour = rates.of_all(&devices(start.device.as_deref(), &start.gpus, visible))?;
    Some(hour * duration_s / 3600.0)
}

/// Returns the cost of an attempt that has just ended, with the prices of the environment. Errors in the
/// prices are not reported at this point.
pub fn of_ended_attempt(start: &AttemptStart, duration_s: f64) -> Option<f64> {
    of_attempt(start, duration_s, &Rates::from_environment().ok()??)
}

/// Usage and cost of a run, over all attempts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spent {
    /// Number of attempts.
    pub attempts: u32,
    /// Number of attempts whose end or price is unknown; they are not in the sums.
    pub unknown: u32,
    /// Duration in seconds.
    pub duration_s: f64,
    /// Duration multiplied by the number of devices.
    pub device_s: f64,
    /// Duration multiplied by the number of GPUs on which processes of the run were seen, if known.
    pub gpu_s: Option<f64>,
    /// The devices of the last attempt.
    pub devices: Vec<String>,
    /// Cost in dollars; `None` without prices.
    pub usd: Option<f64>,
    /// Time of failed and dead attempts after the last complete checkpoint, in seconds.
    pub wasted_s: f64,
    /// Cost of this time, in dollars.
    pub wasted_usd: Option<f64>,
    /// Devices without a price.
    pub unpriced: Vec<String>,
}

/// Adds up the attempts of a run, given its attempts.jsonl and, if needed, the times of its complete
/// checkpoints. Without prices, the costs recorded at the end of each attempt count.
pub fn spent(
    run: &Observed,
    attempts: &Attempts,
    rates: Option<&Rates>,
    checkpoints: impl Fn() -> Vec<Timestamp>,
) -> Spent {
    let mut spent = Spent::default();
    let mut saved: Option<Vec<Timestamp>> = None;
    let mut unpriced = 0;
    for Attempt { start, end } in attempts.iter() {
        let is_current = start.attempt == run.recorded.attempts();
        let duration = match end {
            Some(end) => Some(end.duration_s),
            None if is_current => run.duration_s(),
            None => None,
        };
        spent.attempts += 1;
        let visible = start.cuda_visible_devices.as_deref();
        spent.devices = devices(start.device.as_deref(), &start.gpus, visible);
        let Some(duration) = duration else {
            spent.unknown += 1;
            continue;
        };
        let current = run.recorded.attempt().and_then(|attempt| attempt.resources);
        let used = end.as_ref().map(|end| end.resources).or(current.filter(|_| is_current));
        if let Some(gpu) = used.and_then(|used| used.gpu_seconds) {
            *spent.gpu_s.get_or_insert(0.0) += gpu;
        }
        #[expect(clippy::cast_precision_loss, reason = "there are few devices")]
        let count = spent.devices.len() as f64;
        spent.duration_s += duration;
        spent.device_s += duration * count;
        let usd = match rates {
            Some(rates) => rates.of_all(&spent.devices).map(|hour| hour * duration / 3600.0),
            None => end.as_ref().and_then(|end| end.cost_usd),
        };
        let failed = match end {
            Some(end) => end.status == Outcome::Failed,
            None => !is_current || run.status() == Status::Dead,
        };
        let wasted = if failed {
            let times = saved.get_or_insert_with(&checkpoints);
            wasted(start.start_time, duration, times)
        } else {
            0.0
        };
        spent.wasted_s += wasted;
        match (usd, rates) {
            (Some(usd), _) => {
                *spent.usd.get_or_insert(0.0) += usd;
                *spent.wasted_usd.get_or_insert(0.0) +=
                    if duration > 0.0 { usd * (wasted / duration) } else { 0.0 };
            }
            (None, Some(rates)) => {
                spent.unknown += 1;
                let unpriced = spent.devices.iter().filter(|device| rates.of(device).is_none());
                spent.unpriced.extend(unpriced.cloned().collect::<Vec<_>>());
            }
            (None, None) => unpriced += 1,
        }
    }
    if spent.usd.is_some() {
        spent.unknown += unpriced; // else no prices were given
    }
    spent.unpriced.sort();
    spent.unpriced.dedup();
    spent
}

/// An amount of dollars that a program logs, by the words of its name.
#[derive(Debug)]
struct Amount {
    /// The words of the name, without those that mark a sum.
    words: Vec<String>,
    /// Whether each value is the total so far.
    is_sum: bool,
}

impl Amount {
    fn of(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let (sum, words): (Vec<&str>, Vec<&str>) =
            words.partition(|word| ["total", "cumulative", "cum", "sum"].contains(word));
        let amount = Self { words: words.into_iter().map(str::to_owned).collect(), is_sum: !sum.is_empty() };
        amount.words.iter().any(|word| word == "usd").then_some(amount)
    }

    /// Returns whether another amount is part of this one: `total_usd` includes `api_usd`.
    fn has(&self, other: &Self) -> bool {
        self.is_sum && self.words.iter().all(|word| other.words.contains(word))
    }
}

/// Returns whether a metric is an amount of dollars, and whether each value is the total so far.
pub fn dollars(name: &str) -> Option<bool> {
    Amount::of(name).map(|amount| amount.is_sum)
}

/// Adds up amounts of different names. An amount counts once, however many sums include it.
pub fn add_up<'a>(spent: impl Iterator<Item = (&'a str, f64)>) -> Option<f64> {
    let spent: Vec<(Amount, f64)> = spent.filter_map(|(name, usd)| Some((Amount::of(name)?, usd))).collect();
    let is_counted = |number: usize, amount: &Amount| {
        // If two sums include each other, the first counts.
        let has = |(other, (sum, _)): (usize, &(Amount, f64))| {
            other != number && sum.has(amount) && (other < number || !amount.has(sum))
        };
        !spent.iter().enumerate().any(has)
    };
    let counted = spent.iter().enumerate().filter(|(number, (amount, _))| is_counted(*number, amount));
    counted.map(|(_, (_, usd))| *usd).reduce(|one, other| one + other)
}

/// Returns the money that the program has logged as spent, from the figures of its metrics: without rows that
/// a later attempt repeated.
pub fn logged(figures: &Map<String, Value>) -> Option<f64> {
    add_up(figures.iter().filter_map(|(name, of)| {
        let number = |figure: &str| of[figure].as_f64();
        let usd = if dollars(name)? { number("max")? } else { number("mean")? * number("count")? };
        Some((name.as_str(), usd))
    }))
}

/// Returns the time of an attempt after the last checkpoint that it wrote, in seconds; all of its time
/// without any.
fn wasted(start: Timestamp, duration: f64, checkpoints: &[Timestamp]) -> f64 {
    let at =
        checkpoints.iter().map(|time| time.seconds_since(start)).filter(|at| (0.0..=duration).contains(at));
    duration - at.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_that_fits_has_the_price() {
        let rates =
            Rates::parse("# a comment\nH100 2.49\nH100 80GB HBM3 = $3\n* 0.5 # else\ncpu: 0.04\n").unwrap();
        let prices =
            ["NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "cpu", "mps"].map(|device| rates.of(device));
        assert_eq!(prices, [Some(3.0), Some(2.49), Some(0.04), Some(0.5)]);
        assert_eq!(rates.of_all(&["H100".to_owned(), "mps".to_owned()]), Some(2.99));
        assert_eq!(Rates::parse("H100 1\nA100\n"), Err(2));
        assert_eq!(Rates::parse("H100 -1"), Err(1));
        assert_eq!(Rates::parse("").unwrap().of("cpu"), None);
    }

    #[test]
    fn dollars_are_known_by_their_name() {
        let names = ["cost_usd", "api/total_usd", "loss", "usdt", "USD", "cost"];
        let expected = [Some(false), Some(true), None, None, Some(false), None];
        assert_eq!(names.map(dollars), expected);
    }

    #[test]
    fn what_was_logged_is_added_up_once() {
        let figures = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let of = figures(
            r#"{"api_usd": {"mean": 0.25, "count": 4, "max": 1}, "total_gpu_usd": {"mean": 1, "count": 4, "max": 2}, "loss": {"mean": 3, "count": 4}}"#,
        );
        assert_eq!(logged(&of), Some(3.0));
        assert_eq!(logged(&figures(r#"{"loss": {"mean": 3, "count": 4}}"#)), None);
        let sum = |spent: &[(&str, f64)]| add_up(spent.iter().copied());
        assert_eq!(sum(&[("cost_usd", 1.0), ("total_cost_usd", 2.0)]), Some(2.0));
        assert_eq!(sum(&[("cost/api_usd", 1.0), ("total_usd", 4.0), ("cum_api_usd", 2.0)]), Some(4.0));
        assert_eq!(sum(&[("api_usd", 1.0), ("total_gpu_usd", 4.0), ("gpu_usd", 3.0)]), Some(5.0));
        assert_eq!(sum(&[("total_usd", 4.0), ("usd", 3.0), ("cum_usd", 4.5)]), Some(4.0));
        assert_eq!(sum(&[("loss", 1.0)]), None);
    }

    #[test]
    fn devices_are_those_that_could_be_seen() {
        let gpus = ["A100".to_owned(), "A100".to_owned()];
        let count = |device, gpus: &[String], visible| devices(device, gpus, visible).join(" ");
        assert_eq!(count(Some("cuda"), &gpus, None), "A100 A100");
        assert_eq!(count(Some("cuda:1"), &gpus, Some("1")), "A100");
        assert_eq!(count(None, &gpus, Some("-1")), "cpu");
        assert_eq!(count(Some("cpu"), &gpus, None), "cpu");
        assert_eq!(count(Some("cuda"), &[], Some("0,1,2")), "cuda cuda cuda");
        assert_eq!(count(None, &[], None), "cpu");
    }

    #[test]
    fn what_follows_the_last_checkpoint_is_lost() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000).unwrap();
        let lost =
            |times: &[i64]| wasted(at(100), 50.0, &times.iter().map(|time| at(*time)).collect::<Vec<_>>());
        assert!((lost(&[]) - 50.0).abs() < 1e-9);
        assert!((lost(&[90, 110, 130, 160]) - 20.0).abs() < 1e-9);
    }
}
